"""The one answer whether this torch can use a CUDA GPU and, if not, why and what helps: for scale and device alike.

The driver is asked itself, which takes no import of torch; torch is asked where the driver reports a GPU.
"""

import ctypes
import warnings
from dataclasses import dataclass
from typing import Any

ABSENT = "there is no CUDA GPU"
# of cuda.h: what cuInit says where there is no GPU, or a library in the driver's place
_NO_GPU_ERRORS = (34, 100)
_MAJOR, _MINOR = 75, 76  # attributes of a device: its compute capability
# CUDA's major version -> the first driver that runs programs built for any of its minor ones (NVIDIA's release notes)
_FIRST_DRIVERS = {12: 525, 13: 580}
# The builds of torch for CUDA 12.6 are the last with kernels for cards below 7.5; those end with 2.14 (its RELEASE.md).
_OLD_BUILD = "a torch up to 2.14 built for CUDA 12.6 (cu126 at pytorch.org)"
_OLDEST_CARD, _NEWER_CARD = (5, 0), (7, 5)


@dataclass(frozen=True)
class Report:
    """What the driver says.

    num_gpus: that CUDA_VISIBLE_DEVICES leaves visible. error: why it does not start. version: the newest CUDA it knows,
    major and minor. capability: of the first GPU, the one that a run takes.
    """

    num_gpus: int = 0
    error: str = ""
    version: tuple[int, int] = (0, 0)
    capability: tuple[int, int] = (0, 0)


def count_gpus() -> int:
    """GPUs that the driver reports, whether torch can use them or not."""
    return ask_driver().num_gpus


def ask_driver() -> Report:
    """What the driver says, without torch."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Report()
    status = driver.cuInit(0)
    if status != 0:
        return Report() if status in _NO_GPU_ERRORS else Report(error=_error_name(driver, status))
    num_gpus = _number(driver.cuDeviceGetCount)
    if num_gpus == 0:
        return Report()
    first, version = _number(driver.cuDeviceGet, 0), _number(driver.cuDriverGetVersion)
    major, minor = (_number(driver.cuDeviceGetAttribute, attribute, first) for attribute in (_MAJOR, _MINOR))
    return Report(num_gpus, "", (version // 1000, version % 1000 // 10), (major, minor))


def obstacle() -> str:
    """Why no CUDA GPU can be used here and what helps, without a full stop; nothing if one can."""
    report = ask_driver()
    if report.error:
        return f"the NVIDIA driver does not start ({report.error}): restart the machine, or install the driver anew"
    if report.num_gpus == 0:
        return ABSENT
    import torch

    built_for = torch.version.cuda
    if built_for is None:
        return f"torch {torch.__version__} is built without CUDA: install {_fitting_build(report)}"
    refusal = _refusal()
    if refusal:
        return f"torch {torch.__version__} cannot use the GPU ({refusal}): {_newer_driver(report, int(built_for[:2]))}"
    kernels = torch.cuda.get_arch_list()
    if kernels and not any(serves(kernel, report.capability) for kernel in kernels):
        card = f"compute capability {_dotted(report.capability)}"
        return f"torch {torch.__version__} has no kernels for a GPU of {card}: {_other_build(report.capability)}"
    return ""


def serves(kernel: str, capability: tuple[int, int]) -> bool:
    """Whether code for an architecture, such as sm_86, sm_90a or compute_90, runs on a GPU of a compute capability."""
    kind, _, number = kernel.partition("_")
    code = divmod(int(number.rstrip("af")), 10)
    if number.endswith("a"):
        return code == capability
    return code <= capability if kind == "compute" else code[0] == capability[0] and code <= capability


def _refusal() -> str:
    """Why torch cannot use the GPUs that the driver reports, in torch's words; nothing if it can."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says it by a warning too
        if torch.cuda.is_available():
            return ""
        try:
            torch.cuda.init()
        except Exception as error:  # a driver fails in many ways, and each is a reason
            return " ".join(str(error).split()).partition(". Please")[0].rstrip(".")
    return "torch sees none"


def _newer_driver(report: Report, major: int) -> str:
    if report.version >= (major, 0):
        return "restart the machine, or install the driver anew"
    needed = _FIRST_DRIVERS.get(major)
    update = f"update the driver{f' to {needed} or newer' if needed else ''}"
    if report.version >= (12, 0):
        return f"{update}, or install {_OLD_BUILD}, which runs with drivers from {_FIRST_DRIVERS[12]} on"
    return update


def _other_build(capability: tuple[int, int]) -> str:
    if capability >= _NEWER_CARD:
        return "install the newest torch"
    if capability >= _OLDEST_CARD:
        return f"install {_OLD_BUILD}, as none for CUDA 13 has kernels for cards below {_dotted(_NEWER_CARD)}"
    return "no torch that these programs run with has any"


def _fitting_build(report: Report) -> str:
    is_old = report.capability < _NEWER_CARD or report.version < (13, 0)
    return _OLD_BUILD if is_old else "one for CUDA 13 (pytorch.org says how)"


def _number(function: Any, *arguments: int) -> int:
    """What a function of the driver puts into its first argument; 0 if it fails."""
    number = ctypes.c_int(0)
    return number.value if function(ctypes.byref(number), *arguments) == 0 else 0


def _error_name(driver: Any, status: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(status, ctypes.byref(name))
    return name.value.decode() if name.value else f"error {status}"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
