"""Runs in progress may be resumed by newer code: the penalty's rounding is part of what it promises."""

import pytest
import torch
from torch import Tensor

from sparsity.pruning.regularizers import Penalty
from sparsity.settings import PenaltySettings

STEPS_PER_EPOCH = 550
SHAPES = ((20, 1, 5, 5), (50, 20, 5, 5), (50,), (33, 801))


def tensors(seed: int, scale_decades: float) -> list[Tensor]:
    """Values of both signs over many orders of magnitude, an eighth of them zero, convolutions channels_last."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for shape in SHAPES:
        sizes = 10 ** (-scale_decades * torch.rand(shape, generator=generator))
        value = sizes * torch.randn(shape, generator=generator)
        value[torch.rand(shape, generator=generator) < 0.125] = 0
        made.append(value.to(memory_format=torch.channels_last) if len(shape) == 4 else value)
    return made


def expected(
    kind: str, weights: list[Tensor], gradients: list[Tensor], strength: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The edited gradients and the penalty's value, in the order of operations that the first runs were made with."""
    if kind == "l1":
        pulls = [weight.sign() for weight in weights]
    elif kind == "l2":
        pulls = [weight * 2.0 for weight in weights]
    else:
        pulls = [
            torch.exp(gradient.abs() * -1.0) * weight * 2.0 for weight, gradient in zip(weights, gradients, strict=True)
        ]
    pairs = zip(pulls, weights, strict=True)
    dots = [torch.dot(p.as_strided((p.numel(),), (1,)), w.as_strided((w.numel(),), (1,))) for p, w in pairs]
    value = torch.stack(dots).sum() * strength / (1 if kind == "l1" else 2)
    return [gradient + pull * strength for gradient, pull in zip(gradients, pulls, strict=True)], value


@pytest.mark.parametrize("kind", ["relevance", "l2", "l1"])
def test_the_penalty_keeps_its_arithmetic_bit_for_bit(kind: str) -> None:
    settings = PenaltySettings(kind=kind, strength=1e-3)
    penalty = Penalty(settings, STEPS_PER_EPOCH, 250, [torch.ones(shape) for shape in SHAPES])
    for step in range(7):
        weights, gradients = tensors(2 * step, 6), tensors(2 * step + 1, 12)
        strength = (1 - torch.tensor(float(step)) / STEPS_PER_EPOCH).clamp_min(0.0) * 1e-3
        wanted, value = expected(kind, weights, gradients, strength)
        penalty.edit(weights, gradients)
        assert all(torch.equal(got, want) for got, want in zip(gradients, wanted, strict=True))
        assert torch.equal(penalty.recorded["penalty/value"], value)
