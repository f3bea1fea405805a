"""Irrelevance and magnitude: functions of weights and gradients."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from sparsity.settings import PenaltySettings

BY_TENSOR_DEVICES = ("cpu",)
"""Where tensors are worked through one by one; elsewhere each operation is a launch, and lists of tensors go in one."""

Score: TypeAlias = Callable[[Tensor], Tensor]
"""Of each weight of one parameter: at least 0, of its shape and type; the smallest of the whole network go first."""


@dataclass(frozen=True)
class Irrelevance:
    """The coefficient of irrelevance I of each weight: near 1 where the loss hardly depends on the weight.

    exponential: exp(-|g| / alpha) in (0, 1], eq. 4 of the paper with alpha = 1.
    hyperbolic: 1 / (1 - alpha |g|), the authors' follow-up code. It has a pole at |g| = 1 / alpha and grows with |g|
    below it: kept to reproduce that work, not recommended.
    scale_free: g is first divided by its mean magnitude in the tensor: alpha is then free of the loss's scale. The mean
    goes over the weights still kept, else the zeros of pruned weights would dilute it more and more.
    """

    alpha: float = 1.0
    form: str = "exponential"
    scale_free: bool = False

    @classmethod
    def of(cls, settings: PenaltySettings) -> "Irrelevance":
        """As the settings of a penalty say."""
        return cls(settings.alpha, settings.irrelevance, settings.scale_free)

    def __call__(self, gradients: Sequence[Tensor], multipliers: Sequence[Tensor]) -> list[Tensor]:
        """I of each weight, as new tensors.

        Args:
            gradients: dL/dw, one tensor a parameter.
            multipliers: 0/1 masks of the same shapes, 1 = kept; only `scale_free` looks at them.
        """
        sizes = list(torch._foreach_abs(list(gradients)))
        if self.scale_free:
            for size, multiplier in zip(sizes, multipliers, strict=True):
                mean = (size * multiplier).sum() / multiplier.sum().clamp_min(1)
                size.div_(mean.clamp_min(torch.finfo(size.dtype).tiny))
        if self.form == "hyperbolic":
            return [1 / (1 - self.alpha * size) for size in sizes]
        if sizes[0].device.type in BY_TENSOR_DEVICES:
            torch._foreach_mul_(sizes, -math.log2(math.e) / self.alpha)
            for size in sizes:  # takes half the time of exp, and is not there for lists
                size.exp2_()
        else:
            torch._foreach_mul_(sizes, -1 / self.alpha)
            torch._foreach_exp_(sizes)
        return sizes


def insensitivity(gradient: Tensor) -> Tensor:
    """max(0, 1 - |g|): LOBSTER's coefficient, 1 where the loss does not depend on the weight (arXiv 2011.09905)."""
    return (1 - gradient.abs()).clamp_min(0.0)


def magnitude(weight: Tensor) -> Tensor:
    """|w|: what is small goes first (Han et al. 2015; section 4 of the paper)."""
    return weight.detach().abs()
