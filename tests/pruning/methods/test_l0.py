"""L0: hard concrete gates by their formulas, the expected number of open ones, and what is off."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Steps
from sparsity.pruning.methods.l0 import L0, drawn, probability_open, settled
from tests.training.tiny_bart import tiny_bart

KNOBS: dict[str, Any] = {
    "granularity": "group",
    "l0_lambda": 0.5,
    "layer_lambdas": {},
    "weight_decay": 0.0,
    "initial_drop": 0.5,
    "gate_rate": None,
}
STEPS = Steps(total=100, per_epoch=10, per_evaluation=4, num_examples=40)
NOTHING = torch.zeros(())


def network() -> nn.Module:
    """A convolution of 3 maps, normalised, and a linear layer of 12 inputs, in double precision."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4)).double()


def method(model: nn.Module, **changes: Any) -> L0:
    return L0(model, Masks(dict(model.named_parameters())), STEPS, seed=0, **KNOBS | changes)


def set_gates(subject: L0, **log_alphas: list[float]) -> None:
    """Set log alpha of the convolution's maps and of the linear layer's inputs."""
    of = {"conv": ("0.weight", (3, 1, 1, 1)), "linear": ("3.weight", (1, 12))}
    subject.load_state_dict(
        {
            of[name][0]: torch.tensor(values, dtype=torch.float64).view(of[name][1])
            for name, values in log_alphas.items()
        }
    )


def by_the_formula(log_alpha: float, uniform: float) -> tuple[float, float]:
    """A drawn gate and its derivative by log alpha, in plain Python."""
    s = 1 / (1 + math.exp(-(math.log(uniform / (1 - uniform)) + log_alpha) / (2 / 3)))
    z = 1.2 * s - 0.1
    return min(1.0, max(0.0, z)), 1.2 * s * (1 - s) / (2 / 3) if 0 < z < 1 else 0.0


@pytest.mark.parametrize("log_alpha", [-3.0, -1.0, 0.5, 4.0])
def test_the_probability_of_an_open_gate_is_that_of_a_million_drawn(log_alpha: float) -> None:
    torch.manual_seed(0)
    found = (drawn(torch.full((1_000_000,), log_alpha)) != 0).double().mean().item()
    expected = probability_open(torch.tensor(log_alpha, dtype=torch.float64)).item()
    assert found == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / 1e6))


def test_a_gate_far_below_is_exactly_shut_and_one_far_above_exactly_open() -> None:
    for gates in (drawn, settled):
        assert gates(torch.tensor([-100.0, 100.0])).tolist() == [0.0, 1.0]


def test_drawn_gates_and_their_gradient_are_the_formula_in_double_precision() -> None:
    log_alpha = torch.linspace(-4, 4, 50, dtype=torch.float64).requires_grad_()
    torch.manual_seed(3)
    uniform = torch.rand(50, dtype=torch.float64)
    torch.manual_seed(3)
    gates = drawn(log_alpha)
    (gradient,) = torch.autograd.grad(gates.sum(), log_alpha)
    expected = [by_the_formula(*pair) for pair in zip(log_alpha.tolist(), uniform.tolist(), strict=True)]
    assert gates.tolist() == pytest.approx([z for z, _ in expected], abs=1e-12)
    assert gradient.tolist() == pytest.approx([slope for _, slope in expected], abs=1e-12)


def test_an_evaluation_has_the_sigmoid_of_log_alpha_stretched_without_temperature() -> None:
    log_alpha = torch.tensor([-2.5, -2.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    expected = [min(1.0, max(0.0, 1.2 / (1 + math.exp(-value)) - 0.1)) for value in log_alpha.tolist()]
    assert settled(log_alpha).tolist() == pytest.approx(expected, abs=1e-12)
    assert expected[0] == 0 and expected[-1] == 1


def test_the_terms_gradient_by_log_alpha_is_lambda_over_n_times_p_times_not_p() -> None:
    subject = method(network(), granularity="weight")
    (own,) = subject.own_parameters()
    gradients = torch.autograd.grad(subject.term(NOTHING, NOTHING), own.parameters)
    for log_alpha, gradient in zip(own.parameters, gradients, strict=True):
        p = torch.sigmoid(log_alpha + (2 / 3) * math.log(11.0))
        torch.testing.assert_close(gradient, 0.5 / 40 * p * (1 - p), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("granularity", ["group", "weight"])
def test_the_term_is_the_sum_over_groups_of_what_their_weights_cost_while_they_are_open(granularity: str) -> None:
    model = network()
    subject = method(model, granularity=granularity, layer_lambdas={"3.*": 2.0}, weight_decay=0.3, initial_drop=0.7)
    conv, linear = model[0], model[3]  # type: ignore[index]
    groups: list[tuple[float, list[Tensor]]] = []  # lambda, members
    if granularity == "group":
        groups += [(0.5, [conv.weight[i], conv.bias[i]]) for i in range(3)]
        groups += [(2.0, [linear.weight[:, j]]) for j in range(12)]
    else:
        groups += [(0.5, [weight]) for weight in conv.weight.flatten()]
        groups += [(2.0, [weight]) for weight in linear.weight.flatten()]
    log_alphas = torch.cat([of.flatten() for of in subject.own_parameters()[0].parameters]).tolist()
    expected = 0.0
    for log_alpha, (price, members) in zip(log_alphas, groups, strict=True):
        is_open = 1 / (1 + math.exp(-(log_alpha + (2 / 3) * math.log(11))))
        cost = sum(price + 0.15 * weight**2 for member in members for weight in member.flatten().tolist())
        expected += is_open * cost / 40
    value = subject.term(NOTHING, NOTHING)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert subject.recorded["penalty/value"].item() == value.item()


def test_a_gradient_reaches_weights_through_their_gates_and_gates_through_their_weights() -> None:
    model = network()
    subject = method(model)
    linear = model[3]  # type: ignore[index]
    set_gates(subject, linear=[-0.3] * 12)
    torch.manual_seed(3)
    uniform = torch.rand(12, dtype=torch.float64).tolist()
    torch.manual_seed(3)
    effective = subject.effective("3.weight", linear.weight, is_training=True)
    gates = [by_the_formula(-0.3, of) for of in uniform]
    z, slopes = (torch.tensor(each, dtype=torch.float64) for each in zip(*gates, strict=True))
    torch.testing.assert_close(effective, linear.weight * z)
    factors = torch.randn(4, 12, dtype=torch.float64)
    log_alpha = subject.own_parameters()[0].parameters[1]
    by_weight, by_gate = torch.autograd.grad((factors * effective).sum(), [linear.weight, log_alpha])
    torch.testing.assert_close(by_weight, factors * z)
    torch.testing.assert_close(by_gate[0], (factors * linear.weight).sum(0) * slopes)


def test_a_map_that_is_off_is_off_with_its_bias_and_an_input_with_all_that_reads_it() -> None:
    model = network()
    subject = method(model)
    set_gates(subject, conv=[5.0, -5.0, 5.0], linear=[5.0] * 4 + [-5.0] * 8)
    expected = {"0.weight": torch.ones(3, 2, 2, 2), "0.bias": torch.tensor([1, 0, 1]), "3.weight": torch.ones(4, 12)}
    expected["0.weight"][1] = 0
    expected["3.weight"][:, 4:] = 0
    kept = subject.kept()
    assert kept.keys() == expected.keys()
    for name, parameter in model.named_parameters():
        effective = subject.effective(name, parameter, is_training=False)
        if name in expected:
            assert torch.equal(kept[name], expected[name] == 1)
            assert torch.equal(effective, parameter * expected[name])
        else:
            assert effective is parameter


def test_a_maps_bias_has_the_gate_that_was_drawn_for_its_weights() -> None:
    model = network()
    subject = method(model)
    conv = model[0]  # type: ignore[index]
    weight = subject.effective("0.weight", conv.weight, is_training=True)
    bias = subject.effective("0.bias", conv.bias, is_training=True)
    torch.testing.assert_close(weight / conv.weight, (bias / conv.bias).view(3, 1, 1, 1).expand(3, 2, 2, 2))


def test_the_record_says_which_share_is_expected_to_be_open() -> None:
    subject = method(network())
    set_gates(subject, conv=[40.0] * 3, linear=[40.0] * 3 + [-40.0] * 9)
    subject.term(NOTHING, NOTHING)
    assert subject.recorded["l0/expected_kept"].item() == pytest.approx((24 + 3 + 12) / (24 + 3 + 48))


def test_after_a_step_log_alpha_is_held_where_gates_can_still_move() -> None:
    subject = method(network())
    set_gates(subject, conv=[-9.0, 0.5, 9.0])
    with torch.no_grad():
        subject.after_step([], NOTHING)
    held = subject.own_parameters()[0].parameters[0].flatten().tolist()
    assert held == pytest.approx([math.log(0.01), 0.5, math.log(100)])


def test_gates_begin_near_the_drop_rate_and_are_of_the_seed_alone() -> None:
    first, again = (method(network(), initial_drop=0.2).own_parameters()[0].parameters for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[1].mean().item() == pytest.approx(math.log(4), abs=0.01)
    assert first[1].std().item() == pytest.approx(0.01, rel=0.8)


def test_gates_have_their_own_rate_and_no_decay() -> None:
    (own,) = method(network(), gate_rate=0.3).own_parameters()
    assert (own.learning_rate, own.weight_decay) == (0.3, 0.0)


def test_an_embedding_and_the_head_tied_to_it_have_no_gates() -> None:
    kept = method(tiny_bart()).kept()
    assert "model.encoder.layers.0.fc1.weight" in kept
    assert not any("shared" in name or "embed" in name or "lm_head" in name for name in kept)


@pytest.mark.parametrize(
    ("model", "knobs", "sentence"),
    [
        (network(), {"granularity": "layer"}, r"granularity=layer is unknown; choose one of group, weight\."),
        (network(), {"layer_lambdas": {"fc9": 1.0}}, "layer_lambdas names fc9, which fits no parameter"),
        (nn.BatchNorm2d(3), {}, "has gates for linear layers and convolutions, of which this network has none"),
    ],
)
def test_what_cannot_be_is_refused(model: nn.Module, knobs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        method(model, **knobs)
