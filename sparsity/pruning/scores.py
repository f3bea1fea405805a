"""How irrelevant is a weight? Pure functions of weights and gradients, one tensor at a time."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Score: TypeAlias = Callable[[Tensor], Tensor]
"""Of each weight of one parameter: at least 0, of its shape and type; the smallest of the whole network go first."""


def irrelevance(
    gradient: Tensor,
    alpha: float = 1.0,
    kind: str = "exponential",
    scale_free: bool = False,
    multiplier: Tensor | None = None,
) -> Tensor:
    """The coefficient of irrelevance I of each weight: near 1 where the loss hardly depends on the weight.

    exponential: exp(-|g| / alpha) in (0, 1], PAPER eq. 4 with alpha = 1.
    hyperbolic: 1 / (1 - alpha |g|), the authors' follow-up code. It has a pole at |g| = 1 / alpha and grows with |g|
    below it: kept to reproduce that work, not recommended.
    scale_free: g is first divided by its mean magnitude in the tensor: alpha is then free of the loss's scale. The mean
    goes over the weights still kept, else the zeros of pruned weights would dilute it more and more.

    Args:
        gradient: dL/dw of one parameter, any shape.
        alpha: scale of the gradient, > 0.
        multiplier: 0/1 mask of the same shape, 1 = kept; None keeps all. Only `scale_free` looks at it.
    """
    size = gradient.abs()
    if scale_free:
        mean = size.mean() if multiplier is None else (size * multiplier).sum() / multiplier.sum().clamp_min(1)
        size = size / mean.clamp_min(torch.finfo(size.dtype).tiny)
    if kind == "hyperbolic":
        return 1 / (1 - alpha * size)
    return torch.exp(-size / alpha)


def insensitivity(gradient: Tensor) -> Tensor:
    """max(0, 1 - |g|): LOBSTER's coefficient, 1 where the loss does not depend on the weight (arXiv 2011.09905)."""
    return (1 - gradient.abs()).clamp_min(0.0)


def magnitude(weight: Tensor) -> Tensor:
    """|w|: what is small goes first (Han et al. 2015; PAPER section 4)."""
    return weight.detach().abs()
