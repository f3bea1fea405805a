"""Which weights lie on a path from the input to the output: the others can be cut away without changing the function.

A weight that is kept but whose unit gets nothing, or leads nowhere, does nothing. One pass forward and one backward
find them all, as SynFlow does (Tanaka et al. 2020, arXiv 2006.05467): with every kept weight 1 and no biases, what a
unit holds is the number of paths to it, and its gradient the number of those from it on.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def traced(
    build_model: Callable[[], nn.Module], weights: Mapping[str, Tensor], input_shape: tuple[int, ...]
) -> dict[str, Tensor] | None:
    """`on_a_path` of a network; None where nothing is traced through its kind: it fails, or its dense twin has none.

    Args:
        build_model: makes another of its kind, on the CPU.
        weights: its state_dict, pruned weights zero.
        input_shape: as of `on_a_path`.
    """
    with torch.random.fork_rng(devices=()):
        model, twin = build_model(), build_model()
    model.load_state_dict(weights)
    with suppress(Exception):  # which the forward pass of anybody's network may raise of float64 or of one example
        found = on_a_path(model, input_shape)
        return found if has_any(found) or has_any(on_a_path(twin, input_shape)) else None
    return None


def has_any(masks: Mapping[str, Tensor]) -> bool:
    """Whether any weight lies on a path."""
    return any(bool(mask.any()) for mask in masks.values())


def on_a_path(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Name -> boolean mask of the weights that lie on a path; biases are left out, which no path needs.

    For networks of convolutions, linear layers, batch normalisation, sums, pooling and ReLU; nothing is traced through
    attention or layer normalisation.

    Args:
        model: a copy of the network on the CPU, its pruned weights zero; the copy is used up.
        input_shape: of one example, such as (1, 28, 28).
    """
    model.to(torch.float64).requires_grad_().eval()  # which holds 1e300 paths; they lead through frozen weights too
    _count_paths_in(model)
    weights = {name: p for name, p in model.named_parameters() if not name.endswith("bias")}
    with _averaging():
        scores = model(torch.ones(1, *input_shape, dtype=torch.float64))
    gradients = torch.autograd.grad(scores.sum(), list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros_like(weight, dtype=torch.bool) if gradient is None else (weight != 0) & (gradient > 0)
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }


@torch.no_grad()
def _count_paths_in(model: nn.Module) -> None:
    """Set every kept weight to 1, every bias to 0, and let normalisation shift nothing."""
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.zeros_like(parameter) if name.endswith("bias") else parameter != 0)
    for module in model.modules():
        if isinstance(module, NORMS):
            module.reset_running_stats()


@contextmanager
def _averaging() -> Iterator[None]:
    """While it lasts, pooling averages: the maximum would follow one of several paths."""
    plain = F.max_pool2d

    def average(
        inputs: Tensor,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        dilation: int = 1,
        **options: bool,
    ) -> Tensor:
        return F.avg_pool2d(inputs, kernel_size, stride, padding)

    F.max_pool2d = average  # type: ignore[assignment]
    try:
        yield
    finally:
        F.max_pool2d = plain
