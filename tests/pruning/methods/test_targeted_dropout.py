"""Targeted dropout: which weights are candidates, how often they are dropped, and what an evaluation has."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Ramp
from sparsity.pruning.methods.targeted_dropout import TargetedDropout

RAMP = Ramp(begin=10.0, end=30.0, final_sparsity=None)


def weights() -> dict[str, Tensor]:
    """A convolution of 5 filters of 18 weights, a linear layer of 7 neurons of 20 inputs, and biases."""
    generator = torch.Generator().manual_seed(2)
    shapes = {"conv.weight": (5, 2, 3, 3), "fc.weight": (7, 20), "fc.bias": (7,)}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def method(
    of: dict[str, Tensor] | None = None, gamma: float = 0.3, alpha: float = 0.5, **knobs: Any
) -> TargetedDropout:
    of = weights() if of is None else of
    return TargetedDropout(of, Masks(of), RAMP, gamma, alpha, **knobs)


def candidates(weight: Tensor, gamma: float) -> Tensor:
    """By the rule, in plain Python."""
    found = torch.zeros(weight.shape, dtype=torch.bool)
    for column, of_column in zip(weight, found, strict=True):
        sizes = sorted((abs(value), place) for place, value in enumerate(column.flatten().tolist()))
        for _, place in sizes[: math.floor(gamma * len(sizes))]:
            of_column.view(-1)[place] = True
    return found


@pytest.mark.parametrize("gamma", [0.0, 0.05, 0.3, 0.99, 1.0])
@pytest.mark.parametrize("ramps", [False, True])
def test_every_column_has_its_smallest_weights_as_candidates_in_training_as_in_evaluation(
    gamma: float, ramps: bool
) -> None:
    subject = method(gamma=gamma, alpha=1.0, ramps=ramps)
    subject.load_state_dict({"count": torch.tensor(30.0)})
    kept = subject.kept()
    for name in ("conv.weight", "fc.weight"):
        weight = weights()[name]
        expected = candidates(weight, gamma)
        assert torch.equal(~kept[name], expected)
        for is_training in (False, True):
            assert torch.equal(subject.effective(name, weight, is_training), torch.where(expected, 0.0, weight))


def test_a_training_step_is_the_rule_in_double_precision() -> None:
    weight = weights()["fc.weight"]
    torch.manual_seed(4)
    is_drawn = torch.rand(7, 20, dtype=torch.float64) < 0.5
    torch.manual_seed(4)
    found = method().effective("fc.weight", weight, is_training=True)
    assert torch.equal(found, torch.where(candidates(weight, 0.3) & is_drawn, 0.0, weight))


def test_biases_are_left_alone() -> None:
    bias = weights()["fc.bias"]
    subject = method(gamma=1.0, alpha=1.0)
    assert subject.effective("fc.bias", bias, is_training=True) is bias
    assert "fc.bias" not in subject.kept()


def test_the_share_that_stays_is_one_minus_alpha_gamma() -> None:
    weight = torch.randn(100, 1000, generator=torch.Generator().manual_seed(1))
    subject = method({"w": weight}, gamma=0.4, alpha=0.7)
    torch.manual_seed(0)
    stays = int(torch.count_nonzero(subject.effective("w", weight, is_training=True)))
    three_sigma = 3 * math.sqrt(40_000 * 0.7 * 0.3)
    assert stays == pytest.approx(100_000 * (1 - 0.4 * 0.7), abs=three_sigma)


def test_a_dropped_weight_has_no_gradient_and_the_others_have_theirs() -> None:
    weight = weights()["fc.weight"].requires_grad_()
    effective = method().effective("fc.weight", weight, is_training=True)
    factors = torch.randn(7, 20, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((factors * effective).sum(), weight)
    assert torch.equal(gradient, torch.where(effective == 0, 0.0, factors))


def test_by_unit_whole_columns_are_candidates_those_of_the_smallest_norms() -> None:
    weight = weights()["conv.weight"]
    weight[0] = 0
    weight[0, 0, 0, 0] = 4.5  # small as a sum of magnitudes, but not as a norm
    norms = [column.square().sum().item() for column in weight]
    smallest = sorted(range(5), key=norms.__getitem__)[:2]
    subject = method({"conv.weight": weight}, gamma=0.5, alpha=1.0, unit="unit")
    expected = torch.ones_like(weight)
    expected[smallest] = 0
    assert torch.equal(subject.kept()["conv.weight"], expected != 0)
    for is_training in (False, True):
        assert torch.equal(subject.effective("conv.weight", weight, is_training), weight * expected)


def test_another_unit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pruner\.method\.unit=layer is unknown; choose one of weight, unit\."):
        method(unit="layer")


@pytest.mark.parametrize("knob", ["gamma", "alpha", "cut"])
def test_a_share_beyond_the_whole_is_refused(knob: str) -> None:
    with pytest.raises(ValueError, match=rf"pruner\.method\.{knob}=1\.5 is out of range; it must be between 0 and 1\."):
        method(**{knob: 1.5})


def test_ramping_alpha_rises_evenly_and_gamma_is_at_its_end_but_for_a_twentieth_after_half_of_it() -> None:
    subject = method(gamma=0.8, alpha=0.6, ramps=True)
    found = []
    for step in range(31):
        if step in (0, 10, 15, 20, 25, 30):
            found.append([round(float(subject.recorded[f"targeted_dropout/{name}"]), 9) for name in ("gamma", "alpha")])
        subject.after_step([], torch.tensor(0.1))
    assert found == [[0, 0], [0, 0], [0.38, 0.15], [0.76, 0.3], [0.78, 0.45], [0.8, 0.6]]


def test_while_it_ramps_an_evaluation_has_the_candidates_of_now() -> None:
    subject = method(gamma=0.8, alpha=1.0, ramps=True)
    subject.load_state_dict({"count": torch.tensor(20.0)})
    assert int((~subject.kept()["fc.weight"]).sum()) == 7 * math.floor(0.76 * 20)


def test_a_cut_of_its_own_says_what_an_evaluation_drops() -> None:
    subject = method(gamma=0.3, alpha=1.0, cut=0.8)
    weight = weights()["fc.weight"]
    assert torch.equal(subject.kept()["fc.weight"], ~candidates(weight, 0.8))
    assert torch.equal(subject.effective("fc.weight", weight, is_training=True) == 0, candidates(weight, 0.3))
