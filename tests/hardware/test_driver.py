"""Can torch use the GPU that is here? Asked of fake drivers and of torch's own words; what helps stands beside each."""

import ctypes
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sparsity.hardware import driver
from sparsity.hardware.driver import Report

NEW, OLD = (13, 0), (12, 4)
CU126 = "install a torch up to 2.14 built for CUDA 12.6 (cu126 at pytorch.org)"
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: "
    "https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver."
)
KERNELS = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


class FakeDriver:
    """What ctypes would load: functions that fill in what is pointed at."""

    def __init__(self, status: int = 0, gpus: tuple[tuple[int, int], ...] = (), version: int = 13000) -> None:
        self.status, self.gpus, self.version = status, gpus, version

    def __call__(self, name: str) -> "FakeDriver":
        assert name == "libcuda.so.1"
        return self

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:
        device._obj.value = number
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value._obj.value = self.gpus[device][attribute - 75]
        return 0

    def cuGetErrorName(self, status: int, name: Any) -> int:
        name._obj.value = {803: b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}.get(status)
        return 0


Ask = Callable[..., str]


@pytest.fixture
def obstacle(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """What is said of one GPU, given the driver's report and torch's words on it, if it has any."""

    def ask(
        version: tuple[int, int] = NEW,
        capability: tuple[int, int] = (8, 6),
        refusal: str = "",
        built_for: str | None = "13.0",
    ) -> str:
        def init() -> None:
            raise RuntimeError(refusal)

        def is_available() -> bool:
            if refusal:
                warnings.warn(f"CUDA initialization: {refusal}", stacklevel=2)
            return not refusal

        monkeypatch.setattr(driver, "ask_driver", lambda: Report(1, "", version, capability))
        monkeypatch.setattr(torch, "__version__", "2.14.1")
        monkeypatch.setattr(torch.version, "cuda", built_for)
        monkeypatch.setattr(torch.cuda, "is_available", is_available)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: KERNELS)
        return driver.obstacle()

    return ask


def test_a_gpu_that_torch_can_use_meets_no_obstacle(obstacle: Ask) -> None:
    assert obstacle() == ""


def test_a_driver_that_is_too_old_is_said_in_torchs_words_with_the_build_that_fits_it(obstacle: Ask) -> None:
    assert obstacle(version=OLD, refusal=TOO_OLD) == (
        "torch 2.14.1 cannot use the GPU (The NVIDIA driver on your system is too old (found version 12040)): "
        f"update the driver to 580 or newer, or {CU126}, which runs with drivers from 525 on"
    )


def test_a_driver_that_is_too_old_for_every_build_must_be_updated(obstacle: Ask) -> None:
    assert obstacle(version=(11, 4), refusal=TOO_OLD).endswith(": update the driver to 580 or newer")


def test_what_no_newer_driver_would_mend_asks_for_none(obstacle: Ask) -> None:
    found = obstacle(refusal="Unexpected error from cudaGetDeviceCount(). Error 804: forward\ncompatibility attempted")
    assert found == (
        "torch 2.14.1 cannot use the GPU (Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility "
        "attempted): restart the machine, or install the driver anew"
    )


@pytest.mark.parametrize(
    ("capability", "remedy"),
    [
        ((6, 1), f"{CU126}, as none for CUDA 13 has kernels for cards below 7.5"),
        ((7, 0), f"{CU126}, as none for CUDA 13 has kernels for cards below 7.5"),
        ((3, 7), "no torch that these programs run with has any"),
        ((13, 0), "install the newest torch"),
    ],
)
def test_a_card_without_kernels_is_said_with_the_build_that_has_them(
    obstacle: Ask, capability: tuple[int, int], remedy: str
) -> None:
    card = ".".join(map(str, capability))
    assert obstacle(capability=capability) == (
        f"torch 2.14.1 has no kernels for a GPU of compute capability {card}: {remedy}"
    )


@pytest.mark.parametrize(
    ("version", "capability", "build"),
    [
        (NEW, (8, 6), "install one for CUDA 13 (pytorch.org says how)"),
        (OLD, (8, 6), CU126),
        (NEW, (6, 1), CU126),
    ],
)
def test_a_torch_without_cuda_is_said_with_the_build_that_fits(
    obstacle: Ask, version: tuple[int, int], capability: tuple[int, int], build: str
) -> None:
    assert obstacle(version, capability, built_for=None) == f"torch 2.14.1 is built without CUDA: {build}"


@pytest.mark.parametrize(
    ("kernel", "capability", "is_served"),
    [
        ("sm_86", (8, 6), True),
        ("sm_86", (8, 9), True),
        ("sm_86", (8, 0), False),
        ("sm_90", (10, 0), False),
        ("sm_120", (12, 1), True),
        ("sm_90a", (9, 0), True),
        ("sm_100a", (10, 3), False),
        ("sm_100f", (10, 3), True),
        ("compute_90", (12, 0), True),
        ("compute_120", (9, 0), False),
    ],
)
def test_code_serves_the_cards_that_nvidia_says(kernel: str, capability: tuple[int, int], is_served: bool) -> None:
    assert driver.serves(kernel, capability) == is_served


def test_every_kernel_of_the_installed_torch_is_understood() -> None:
    for kernel in torch.cuda.get_arch_list():
        capability = divmod(int(re.sub(r"\D", "", kernel)), 10)
        assert driver.serves(kernel, capability)


def test_the_driver_reports_its_version_and_the_first_gpus_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", FakeDriver(gpus=((8, 6), (7, 0)), version=12040))
    assert driver.ask_driver() == Report(2, "", (12, 4), (8, 6))


@pytest.mark.parametrize("fake", [FakeDriver(status=100), FakeDriver(status=34), FakeDriver()])
def test_a_driver_without_gpus_is_as_none(monkeypatch: pytest.MonkeyPatch, fake: FakeDriver) -> None:
    monkeypatch.setattr(ctypes, "CDLL", fake)
    assert (driver.count_gpus(), driver.obstacle()) == (0, "there is no CUDA GPU")


@pytest.mark.parametrize(("status", "name"), [(803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), (999, "error 999")])
def test_a_driver_that_does_not_start_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, status: int, name: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", FakeDriver(status))
    assert driver.obstacle() == (
        f"the NVIDIA driver does not start ({name}): restart the machine, or install the driver anew"
    )


def test_torch_is_not_imported_where_the_driver_reports_no_gpu() -> None:
    code = (
        "import sys; from sparsity.hardware import driver; driver.ask_driver = driver.Report; "
        "assert driver.obstacle() == driver.ABSENT; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
