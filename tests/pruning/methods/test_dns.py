"""Dynamic Network Surgery: masks with hysteresis over weights that go on training, thresholds that are fixed once."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Ramp
from sparsity.pruning.methods.dns import Dns
from sparsity.training.extensions import Extensions
from tests.training.fakes import MOMENTUM, FakeBatches, gradients, network, phase, trainer

ALWAYS = {"gamma": 0.0}  # each layer looks at each iteration


def surgery(weights: dict[str, Tensor], end: float = 1e9, **knobs: Any) -> tuple[Dns, Masks]:
    """The method on some parameters, begun."""
    masks = Masks(weights)
    method = Dns(weights, masks, Ramp(0.0, end, None), **knobs)
    method.begin()
    return method, masks


def kept(masks: Masks) -> dict[str, Any]:
    return {name: mask.tolist() for name, mask in masks.kept.items()}


def test_a_mask_follows_its_weight_with_hysteresis() -> None:
    weight = torch.tensor([[1.2, 0.6, 1.2]])  # mean 1, so that at c = 0 the threshold is 1
    method, masks = surgery({"a": weight}, c=0.0, **ALWAYS)
    found = [masks.kept["a"][0, 0].item()]
    for size in (0.95, 0.85, 0.95, 1.15):
        weight[0, 0] = size
        method.after_step([weight], torch.tensor(0.1))
        found.append(masks.kept["a"][0, 0].item())
    assert found == [True, True, False, False, True]


def test_the_edges_of_the_hysteresis_belong_to_what_stays() -> None:
    weight = torch.tensor([[1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    method, masks = surgery({"a": weight}, c=0.0, low=0.5, high=1.5, **ALWAYS)
    weight.copy_(torch.tensor([[0.5, 0.5, 0.51, 1.0]]))
    method.after_step([weight], torch.tensor(0.1))
    weight[0, :2] = torch.tensor([1.5, 1.51])
    method.after_step([weight], torch.tensor(0.1))
    assert kept(masks) == {"a": [[False, True, True, True]]}


def test_a_threshold_is_of_the_whole_layer_its_zeros_left_out_and_is_fixed_at_the_beginning() -> None:
    weights = {"a.weight": torch.tensor([[3.0, -1.0, 0.0]]).double(), "a.bias": torch.tensor([2.0]).double()}
    method, _ = surgery(weights, c=0.5)
    expected = 2 + 0.5 * math.sqrt(2 / 3)  # of 3, 1 and 2
    weights["a.weight"].mul_(100)
    method.after_step([], torch.tensor(0.1))
    found = [float(threshold) for threshold in method.state_dict()["thresholds"].values()]
    assert found == pytest.approx([expected, expected], rel=1e-12)


def test_a_negative_threshold_is_none_at_all() -> None:
    assert kept(surgery({"a": torch.tensor([[0.1, 5.0]])}, c=-100.0)[1]) == {"a": [[True, True]]}


def test_norms_are_never_masked_and_biases_are() -> None:
    weights = {
        "a.weight": torch.tensor([[4.0, 4.0]]),
        "a.bias": torch.tensor([0.1]),
        "norm.weight": torch.tensor([0.1]),
    }
    method, masks = surgery(weights, c=0.0, **ALWAYS)
    assert kept(masks) == {"a.weight": [[True, True]], "a.bias": [False], "norm.weight": [True]}
    assert method.effective("norm.weight", weights["norm.weight"], True) is weights["norm.weight"]


def test_c_is_a_parameters_own_where_a_pattern_says_so() -> None:
    weights = {"a.weight": torch.tensor([[1.0, 3.0]]), "b.weight": torch.tensor([[2.0, 4.0]])}
    method, _ = surgery(weights, c=0.0, c_of={"b.*": 0.5})
    assert [float(t) for t in method.state_dict()["thresholds"].values()] == [2.0, 3.5]


def test_a_layer_without_a_weight_above_its_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"No weight of a is above its threshold, .*: lower pruner\.method\.c"):
        surgery({"a": torch.ones(2, 2)}, c=0.0, low=1.0)


def test_the_probability_gives_the_number_of_looks_that_the_paper_code_expects() -> None:
    method, _ = surgery({"a": torch.ones(2, 2)}, c=-1.0, gamma=1e-4, power=1.0)
    expected = float(method.probability(torch.arange(14_000, dtype=torch.float64)).sum())
    assert expected == pytest.approx(1e4 * math.log(2.4), abs=1.0)  # 8,755


def looks(num_iterations: int, **knobs: Any) -> list[list[bool]]:
    """Of two layers, in which iterations it looked: its weight changes sides before each."""
    weights = {"a.weight": torch.full((1, 1), 1.2), "b.weight": torch.full((1, 1), 1.2)}
    method, masks = surgery(weights, c=0.0, **knobs)
    found: list[list[bool]] = [[], []]
    for _ in range(num_iterations):
        before = [bool(masks.kept[name]) for name in weights]
        for weight, is_on in zip(weights.values(), before, strict=True):
            weight.fill_(0.1 if is_on else 2.4)
        method.after_step([], torch.tensor(0.1))
        for of_layer, name, was_on in zip(found, weights, before, strict=True):
            of_layer.append(bool(masks.kept[name]) != was_on)
    return found


def test_each_layer_is_drawn_by_itself_with_the_probability_of_the_iteration() -> None:
    torch.manual_seed(0)
    found = looks(600, gamma=0.01)
    expected = sum(1 / (1 + 0.01 * i) for i in range(1, 601))  # 193.9, and a deviation of 9.8
    assert found[0] != found[1]
    assert [sum(of_layer) for of_layer in found] == pytest.approx([expected, expected], abs=30)


def test_after_the_stop_masks_stay() -> None:
    found = looks(20, end=10, gamma=0.0)  # iterations 1 to 9, and 0 at the beginning
    assert found == [[True] * 9 + [False] * 11] * 2


def test_iterations_go_on_where_they_were_after_a_resume() -> None:
    weight = torch.full((1, 1), 1.2)
    method, masks = surgery({"a.weight": weight}, c=0.0, end=10, **ALWAYS)
    method.load_state_dict(method.state_dict() | {"iteration": torch.tensor(9)})
    weight.fill_(0.1)
    method.after_step([], torch.tensor(0.1))
    assert kept(masks) == {"a.weight": [[True]]}, "the tenth iteration is behind the stop"


def test_an_update_is_that_of_a_plain_reference_through_the_real_loop_with_momentum() -> None:
    """SGD on w with the gradient at mask * w, in float64, written out."""
    model, reference = network(dtype=torch.float64), network(dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]
    masks = Masks(dict(model.named_parameters()))
    method = Dns(dict(model.named_parameters()), masks, Ramp(0.0, 100.0, None), **ALWAYS)
    method.begin()
    batches = FakeBatches(dtype=torch.float64)
    loop = trainer(model, phase(optimizer=MOMENTUM), Extensions.of([method, masks]), batches)
    weights = [p.detach().clone() for p in reference.parameters()]
    layers = [[i for i, name in enumerate(names) if name.startswith(f"{layer}.")] for layer in ("0", "4", "6")]
    thresholds = []
    for layer in layers:
        sizes = torch.cat([weights[i].abs().flatten() for i in layer])
        thresholds += [float(sizes.mean() + (sizes.square().mean() - sizes.mean() ** 2).sqrt())] * len(layer)
    momenta = [torch.zeros_like(weight) for weight in weights]
    on = [weight.abs() > 0.9 * limit for weight, limit in zip(weights, thresholds, strict=True)]
    has_returned = False
    for step in range(8):
        loop.train_step()
        with torch.no_grad():
            for parameter, weight, mask in zip(reference.parameters(), weights, on, strict=True):
                parameter.copy_(weight * mask)
        for i, gradient in enumerate(gradients(reference, batches.batch(0, step))):
            momenta[i] = 0.9 * momenta[i] + gradient
            weights[i] = weights[i] - MOMENTUM.lr * momenta[i]
            returns = ~on[i] & (weights[i].abs() > 1.1 * thresholds[i])
            on[i] = (on[i] & (weights[i].abs() > 0.9 * thresholds[i])) | returns
            has_returned |= bool(returns.any())
    assert has_returned
    for parameter, weight, mask, name in zip(model.parameters(), weights, on, names, strict=True):
        torch.testing.assert_close(parameter.detach(), weight, rtol=1e-9, atol=1e-12)
        assert torch.equal(masks.kept[name], mask)


def test_an_evaluation_sees_the_masked_weights() -> None:
    weight = torch.tensor([[1.2, 0.6, 1.2]])
    method, _ = surgery({"a": weight}, c=0.0)
    assert method.effective("a", weight, is_training=False)[0].tolist() == pytest.approx([1.2, 0.0, 1.2])
