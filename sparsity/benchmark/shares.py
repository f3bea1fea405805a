"""Where a step's time goes: the share of each kind of operation, as torch's profiler counts them."""

from collections import Counter
from typing import Any

from torch.profiler import ProfilerActivity, profile

from sparsity.training.loop import Trainer

KINDS = {
    "convolutions": ("conv",),
    "pooling": ("pool",),
    "matrix products": ("mm", "matmul", "linear", "gemm"),
    "loss": ("log_softmax", "nll", "cross_entropy"),
    "attention": ("attention", "softmax"),
    "norms": ("norm",),
    "embeddings": ("embedding",),
    "optimiser": ("adam", "sgd", "optimizer"),
    "compiled by torch": ("compiled", "triton", "fused"),
    "copies and fills": ("copy", "fill", "zero", "index", "memcpy", "memset"),
}
"""A kind and what its operations' names hold, in any case; the first that fits counts."""
REST = "all else"


def shares(trainer: Trainer, num_steps: int) -> dict[str, Any]:
    """The share of each kind in `num_steps` steps, the largest first; on a CUDA device those of its kernels.

    Profiling slows what is small more than what is large.
    """
    on_gpu = trainer.parameters[0].device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU], acc_events=True) as profiler:
        for _ in range(num_steps):
            trainer.train_step()
        trainer.drain()
    seconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        seconds[kind_of(event.key)] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    total = sum(seconds.values())
    return {"measured": "shares", "of": {kind: round(took / total, 3) for kind, took in seconds.most_common()}}


def kind_of(operation: str) -> str:
    """The kind of an operation by its name."""
    name = operation.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), REST)
