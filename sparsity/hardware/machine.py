"""The device, the threads and the random state: the only place where torch is set globally."""

import ctypes
import functools
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sparsity.hardware import cpu, driver, ranks
from sparsity.settings import MachineSettings

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_KEPT_BLOCK = 32 << 20  # glibc allows no more
_MOST_KEPT_BYTES = 1 << 30
TENSOR_CORES_SINCE = 8  # compute capability whose tensor cores know bf16 and tf32


def has_cuda() -> bool:
    """Whether there is a GPU that torch can use; `prepare` takes it by the same answer."""
    return not driver.obstacle()


def prepare(settings: MachineSettings) -> "torch.device":
    """Set threads, determinism and denormals for this process and return the device.

    Raises:
        ValueError: if CUDA is asked for and cannot be used.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
    import torch

    # Adam's moments of pruned weights decay into denormals, which take many times longer on a CPU. The mode is
    # inherited by worker threads when they start: it must be set before the first parallel operation.
    torch.set_flush_denormal(True)
    _keep_freed_memory()
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    torch.use_deterministic_algorithms(True)
    # deterministic mode also fills every new tensor with NaN, 4 % of a LeNet step, to expose reads of unwritten memory
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    device = torch.device(_chosen(settings.device))
    if device.type == "cuda" and ranks.here().size > 1:
        device = torch.device("cuda", ranks.own_place(torch.cuda.device_count()))
        torch.cuda.set_device(device)
    return device


def _chosen(asked: str) -> str:
    """The name of the device; why the CPU is taken where nobody has asked for it is said."""
    obstacle = "" if asked == "cpu" else driver.obstacle()
    if obstacle and asked == "cuda":
        raise ValueError(f"machine.device=cuda, but {obstacle}; machine=cpu computes without one.")
    if obstacle:
        level = logging.INFO if obstacle == driver.ABSENT else logging.WARNING
        logger.log(level, "%sthe CPU is taken: %s.", "" if level == logging.INFO else "warning: ", obstacle)
    return "cpu" if obstacle or asked == "cpu" else "cuda"


def round_products(precision: str) -> None:
    """Whether tensor cores may round fp32 data to tf32, in products of matrices and in convolutions: not for fp32."""
    import torch

    has_tf32 = precision != "fp32"
    torch.set_float32_matmul_precision("high" if has_tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = has_tf32  # torch's own default is True


def precision_on(settings: MachineSettings, device: "torch.device", before: str | None) -> tuple[str, str]:
    """The precision of a run on this device, and why it is that one.

    Args:
        before: what the run had until now, if it is resumed.
    """
    import torch

    precision = settings.precision if settings.precision != "auto" else before
    if precision == "bf16" and device.type == "cpu" and not cpu.has_bf16_units():
        logger.warning("warning: machine.precision=bf16 on a CPU without units for it takes several times as long.")
    if settings.precision != "auto":
        changed = before not in (None, settings.precision)
        return settings.precision, f"as asked for; the run had {before}" if changed else "as asked for"
    if before is not None:
        return before, "of the run that is resumed; machine.precision changes it"
    if device.type != "cuda":
        return "fp32", "auto, on a CPU"
    major, minor = torch.cuda.get_device_capability(device)
    precision = settings.gpu_precision if major >= TENSOR_CORES_SINCE else "fp32"
    return precision, f"auto, on a GPU of compute capability {major}.{minor}"


def fusion_on(asked: str, device: "torch.device") -> str:
    """What torch.compile is to fuse on this device; of the edits a GPU's own kernels take all tensors at once."""
    if asked == "auto":
        return "none" if device.type == "cuda" else "edits"
    if asked == "edits" and device.type == "cuda":
        logger.warning(
            "warning: machine.compile=edits is for CPUs and does nothing on a GPU; machine.compile=all fuses there."
        )
        return "none"
    return asked


def _keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next one: a LeNet step on a CPU takes 0.8 to 0.93 of its time.

    By default glibc gives large blocks back at once, and the system maps and zeroes 4,000 pages anew in each step.
    """
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)


@contextmanager
def enough_memory() -> Iterator[None]:
    """Run a block that may need more memory than a GPU has.

    Raises:
        ValueError: if it does, with the ways out.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"The GPU ran out of memory ({said}): if other programs hold some, end them, and the same command goes on; "
            "if not, a phase needs less with more of its micro_batches (such as regularise.micro_batches=2) and a "
            "search with fewer task.num_beams, which is a run of its own."
        ) from error


@contextmanager
def free_kernels() -> Iterator[None]:
    """Run a block without the demand for deterministic kernels, which other people's code is not held to."""
    import torch

    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True)


@functools.cache
def can_compile(device_type: str) -> bool:
    """Whether torch.compile works on this machine, which takes a C++ compiler; where it does not, a warning says so."""
    import torch

    try:
        torch.compile(lambda x: x.abs() + 1)(torch.ones(8, device=device_type))
    except Exception as error:  # whatever the tool chain lacks, training goes on without it
        reason = str(error).strip().splitlines()[0]
        logger.warning("warning: machine.compile=none, because torch.compile does not work here (%s).", reason)
        return False
    return True


def describe(device: "torch.device", precision: str = "fp32") -> str:
    """The device in words, for the record; precision is named where it is not fp32.

    A processor's name may stand for several kinds ("AMD EPYC"), which round differently: the vector instructions that
    torch uses tell them apart.
    """
    import torch

    rounded = "" if precision == "fp32" else f", {precision}"
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}{rounded}"
    threads = torch.get_num_threads()
    kind = f"{cpu.name()} with {torch.backends.cpu.get_cpu_capability()}"
    return f"cpu: {kind}, {threads} thread{'s' if threads > 1 else ''}{rounded}"


@contextmanager
def seeded(seed: int, purpose: str, device: "torch.device") -> Iterator[None]:
    """Run a block (initialisation, say) under its own random state, derived from the seed and its purpose.

    The states of the CPU and of the run's device are put back afterwards. Other GPUs are left alone: torch would by
    default start every one of them, which takes memory of each, and where a run is on the CPU too.
    """
    import torch

    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(mixed_seed(seed, purpose))
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(mixed_seed(seed, purpose))
        yield


def seed_everything(seed: int, purpose: str) -> None:
    """Set the global random state (dropout) at a phase's start: no phase depends on the length of those before it."""
    import torch

    torch.manual_seed(mixed_seed(seed, purpose))


def mixed_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose; neighbouring run seeds give unrelated streams."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
