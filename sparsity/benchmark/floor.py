"""The least time that a step could take here: its arithmetic at the measured peak, its bytes at the measured bandwidth.

Both peaks are measured on the spot, in the precision and with the threads of the step: what stands on a data sheet is
no bound of one thread. Activations are left out of the bytes: how often they leave the cache is up to the kernels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sparsity.benchmark.timing import Contestant, time_block
from sparsity.run.workspace import Workspace
from sparsity.training.loop import Trainer

WIDTH = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product gives the peak
NUM_ELEMENTS = {"cpu": 1 << 24, "cuda": 1 << 28}  # of the vectors whose sum gives the bandwidth: beyond any cache
NUM_REPEATS = 5


def operations_of_a_step(trainer: Trainer) -> int:
    """Additions and multiplications, counted in one step: before any is captured as a CUDA graph, which shows none."""
    with FlopCounterMode(display=False) as counter:
        trainer.train_step()
    trainer.drain()
    return counter.get_total_flops()


def floor(work: Workspace, trainer: Trainer, num_operations: int) -> dict[str, Any]:
    """Operations and bytes of a step, the measured peaks, and the seconds that follow from them."""
    num_bytes = bytes_of_an_update(trainer)
    peak, bandwidth = peak_operations(work), peak_bandwidth(work.device)
    return {
        "measured": "floor",
        "gigaflop": num_operations / 1e9,
        "megabytes": num_bytes / 1e6,
        "peak_gigaflop_per_second": round(peak / 1e9, 1),
        "peak_gigabytes_per_second": round(bandwidth / 1e9, 1),
        "seconds": num_operations / peak + num_bytes / bandwidth,
    }


def bytes_of_an_update(trainer: Trainer) -> int:
    """Bytes that an update must move: weight and moments read and written, gradient and mask read, each once."""
    optimizer = trainer.settings.optimizer
    num_moments = 2 if optimizer.name == "adam" else int(optimizer.momentum > 0)
    return sum(p.numel() * p.element_size() for p in trainer.parameters) * (2 * (1 + num_moments) + 2)


def peak_operations(work: Workspace) -> float:
    """Operations a second of a product of large matrices, as the step's precision computes it."""
    width, device = WIDTH[work.device.type], work.device
    with torch.no_grad(), work.execution.precision(device):
        dtype = torch.bfloat16 if work.execution.bf16 else torch.float32
        a, b = (torch.rand(width, width, device=device).to(dtype) for _ in range(2))
        return 2 * width**3 / _fastest(lambda: a @ b, device)


def peak_bandwidth(device: torch.device) -> float:
    """Bytes a second of a sum of two vectors into a third."""
    a, b, c = (torch.ones(NUM_ELEMENTS[device.type], device=device) for _ in range(3))
    return 3 * 4 * len(a) / _fastest(lambda: torch.add(a, b, out=c), device)


def _fastest(act: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of some calls: other programs can only add to it."""
    return min(time_block(Contestant(act), 1, device) for _ in range(NUM_REPEATS))
