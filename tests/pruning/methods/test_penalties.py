"""The pull of each penalty is autograd's gradient of its term, eq. 5 with I held constant, in one backward pass."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.pruning import scores
from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Steps
from sparsity.pruning.methods.l1 import L1
from sparsity.pruning.methods.l2 import L2
from sparsity.pruning.methods.lobster import Lobster
from sparsity.pruning.methods.relevance import Relevance
from sparsity.pruning.penalty import Penalty, Strength
from sparsity.pruning.scores import Irrelevance
from sparsity.settings import PenaltySettings
from tests.training.fakes import SHAPE, gradients, network

STRENGTH = 0.125  # exact in float32, in which lambda is held
KINDS = [
    pytest.param({"kind": "relevance"}, id="relevance"),
    pytest.param({"kind": "relevance", "alpha": 0.05}, id="alpha"),
    pytest.param({"kind": "relevance", "irrelevance": "hyperbolic", "alpha": 0.3}, id="hyperbolic"),
    pytest.param({"kind": "relevance", "scale_free": True, "alpha": 2.0}, id="scale-free"),
    pytest.param({"kind": "l2"}, id="l2"),
    pytest.param({"kind": "l1"}, id="l1"),
]
BUILDERS: dict[str, Callable[[Strength, Irrelevance, Masks], Penalty]] = {
    "relevance": Relevance,
    "l1": lambda strength, *_: L1(strength),
    "l2": lambda strength, *_: L2(strength),
    "lobster": lambda strength, *_: Lobster(strength),
    "squares": lambda strength, *_: Squares(strength),
}


@pytest.fixture(params=["cpu", "gpu"])
def operations(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations of a kind of device, on a CPU."""
    monkeypatch.setattr(scores, "BY_TENSOR_DEVICES", ("cpu",) if request.param == "cpu" else ())


class Squares(Penalty):
    """A penalty of one's own, whose direction is w^2 + g."""

    def direction(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        return [weight.square() + gradient for weight, gradient in zip(weights, gradients, strict=True)]


def penalty(weights: Iterable[Tensor], kind: str, kept: Tensor | None = None, **changes: Any) -> Penalty:
    """A penalty on parameters of which all weights are kept, unless `kept` says otherwise"""
    settings = replace(PenaltySettings(strength=STRENGTH, decay="none"), **changes)
    masks = Masks({str(number): weight.detach() for number, weight in enumerate(weights)})
    if kept is not None:
        masks.shrink({"0": kept})
    strength = Strength(settings, Steps(total=100, per_epoch=10, per_evaluation=4), torch.device("cpu"))
    return BUILDERS[kind](strength, Irrelevance.of(settings), masks)


def case() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A float64 network and a batch."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(8, *SHAPE, generator=generator, dtype=torch.float64)
    return network(dtype=torch.float64), (inputs, torch.randint(3, (8,), generator=generator))


def settings_of(changes: dict[str, Any]) -> PenaltySettings:
    """The settings of a case."""
    return PenaltySettings(**{key: value for key, value in changes.items() if key != "kind"})


def irrelevance_by_formula(gradient: Tensor, settings: PenaltySettings) -> Tensor:
    size = gradient.abs() / (gradient.abs().mean() if settings.scale_free else 1.0)
    if settings.irrelevance == "hyperbolic":
        return 1 / (1 - settings.alpha * size)
    return torch.exp(-size / settings.alpha)


def term(kind: str, weight: Tensor, gradient: Tensor, settings: PenaltySettings) -> Tensor:
    """The penalty of one tensor over lambda, written as a loss term: the irrelevance is a constant in it."""
    if kind == "l1":
        return weight.abs().sum()
    if kind == "l2":
        return (weight**2).sum()
    return (irrelevance_by_formula(gradient.detach(), settings) * weight**2).sum()


def loss_with_penalty(
    kind: str, model: nn.Module, batch: tuple[Tensor, Tensor], settings: PenaltySettings
) -> tuple[Tensor, Tensor]:
    """Eq. 5 and its penalty term, with one backward pass for I and the graph kept for another."""
    constants = gradients(model, batch)
    pull = torch.stack([term(kind, w, g, settings) for w, g in zip(model.parameters(), constants, strict=True)]).sum()
    return F.cross_entropy(model(batch[0]), batch[1]) + STRENGTH * pull, STRENGTH * pull


@pytest.mark.usefixtures("operations")
@pytest.mark.parametrize("changes", KINDS)
def test_the_edited_gradient_is_autograds_of_the_regularised_loss(changes: dict[str, Any]) -> None:
    model, batch = case()
    subject = penalty(model.parameters(), **changes)
    expected = torch.autograd.grad(
        loss_with_penalty(changes["kind"], model, batch, settings_of(changes))[0], list(model.parameters())
    )
    edited = gradients(model, batch)
    with torch.no_grad():
        subject.edit(list(model.parameters()), edited)
    for found, gradient in zip(edited, expected, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("operations")
@pytest.mark.parametrize("changes", KINDS)
def test_the_observed_value_is_the_penalty_by_its_formula(changes: dict[str, Any]) -> None:
    model, batch = case()
    subject = penalty(model.parameters(), **changes)
    expected = loss_with_penalty(changes["kind"], model, batch, settings_of(changes))[1]
    found = gradients(model, batch)
    with torch.no_grad():
        subject.observe(list(model.parameters()), found)
    assert subject.observed()["penalty/value"] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("changes", KINDS)
def test_decoupled_leaves_the_gradient_and_moves_the_weights_instead(changes: dict[str, Any]) -> None:
    model, batch = case()
    subject, coupled = penalty(model.parameters(), **changes, decoupled=True), penalty(model.parameters(), **changes)
    parameters: list[Tensor] = list(model.parameters())
    before = [p.detach().clone() for p in parameters]
    plain, edited, regularised = (gradients(model, batch) for _ in range(3))
    with torch.no_grad():
        subject.edit(parameters, edited)
        coupled.edit(parameters, regularised)
        subject.after_step(parameters, torch.tensor(0.5, dtype=torch.float64))
    assert all(torch.equal(a, b) for a, b in zip(edited, plain, strict=True))
    for weight, old, with_pull, without in zip(parameters, before, regularised, plain, strict=True):
        torch.testing.assert_close(weight.detach(), old - 0.5 * (with_pull - without), rtol=1e-12, atol=1e-14)


def test_coupled_does_not_move_the_weights_after_the_step() -> None:
    model, batch = case()
    subject, before = penalty(model.parameters(), kind="l2"), [p.detach().clone() for p in model.parameters()]
    found = gradients(model, batch)
    with torch.no_grad():
        subject.edit(list(model.parameters()), found)
        subject.after_step(list(model.parameters()), torch.tensor(0.5))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("decoupled", [False, True])
def test_only_a_decoupled_penalty_says_that_it_moves_weights(decoupled: bool) -> None:
    assert penalty([torch.ones(2)], kind="l2", decoupled=decoupled).moves_weights is decoupled


def decaying() -> Penalty:
    """Lambda 1, down to 0 in ten steps."""
    return penalty([torch.ones(2)], kind="l2", decay="linear", strength=1.0)


def strengths(subject: Penalty, num_steps: int) -> list[float]:
    weight = [torch.ones(2)]
    found = []
    for _ in range(num_steps):
        subject.edit(weight, [torch.zeros(2)])
        found.append(float(subject.recorded["penalty/lambda"]))
    return found


def test_lambda_starts_in_full_and_falls_step_by_step() -> None:
    assert strengths(decaying(), 4) == pytest.approx([1.0, 0.9, 0.8, 0.7])


def test_a_restart_sets_lambda_back_in_full() -> None:
    subject = decaying()
    strengths(subject, 4)
    subject.after_prune()
    assert strengths(subject, 2) == pytest.approx([1.0, 0.9])


def test_lambdas_counter_may_move_before_its_use_also_after_a_prune() -> None:
    steps = Steps(total=100, per_epoch=10, per_evaluation=4)
    subject = L2(Strength(PenaltySettings(strength=1.0), steps, torch.device("cpu"), first_count=1))
    assert strengths(subject, 3) == pytest.approx([0.9, 0.8, 0.7])
    subject.after_prune()
    assert strengths(subject, 2) == pytest.approx([0.9, 0.8])


def test_lambda_weighs_the_pull_after_it_decayed() -> None:
    subject, gradient = decaying(), [torch.zeros(2)]
    strengths(subject, 5)
    subject.edit([torch.tensor([1.0, -2.0])], gradient)
    assert gradient[0].tolist() == pytest.approx([1.0, -2.0])


def test_a_restored_penalty_goes_on_counting() -> None:
    saved, restored = (decaying() for _ in range(2))
    strengths(saved, 4)
    state = saved.state_dict()
    strengths(saved, 1)
    restored.load_state_dict(state)
    assert strengths(restored, 1) == pytest.approx([0.6])


def test_the_scale_free_pull_takes_its_mean_over_the_kept_weights() -> None:
    kept = torch.tensor([1.0, 0.0, 0.0, 1.0])
    weight, gradient = kept.clone(), torch.tensor([1.0, 0.0, 0.0, 3.0])  # mean size over the two kept: 2
    penalty([weight], "relevance", kept=kept > 0, scale_free=True).edit([weight], [gradient])
    pull = [2 * STRENGTH * math.exp(-0.5), 2 * STRENGTH * math.exp(-1.5)]
    assert gradient.tolist() == pytest.approx([1 + pull[0], 0.0, 0.0, 3 + pull[1]])


def test_lobster_shrinks_what_the_loss_is_insensitive_to_whatever_the_rate() -> None:
    weight, gradient = torch.tensor([1.0, -2.0, 4.0]), torch.tensor([0.0, 0.5, -3.0])
    subject = penalty([weight], kind="lobster")
    edited = gradient.clone()
    subject.edit([weight], [edited])
    assert torch.equal(edited, gradient)
    subject.after_step([weight], torch.tensor(1e-9))
    assert weight.tolist() == [1.0 - STRENGTH, -2.0 + STRENGTH * 0.5 * 2.0, 4.0]


def test_lobster_may_shrink_the_weight_as_it_is_after_the_step() -> None:
    weight, gradient = torch.tensor([1.0, -2.0, 4.0]), torch.tensor([0.0, 0.5, -3.0])
    settings = PenaltySettings(strength=STRENGTH, decay="none")
    subject = Lobster(Strength(settings, Steps(100, 10, 4), torch.device("cpu")), of_new_weights=True)
    subject.edit([weight], [gradient])
    weight.copy_(torch.tensor([3.0, 5.0, 7.0]))
    subject.after_step([weight], torch.tensor(1e-9))
    assert weight.tolist() == [3.0 * (1 - STRENGTH), 5.0 * (1 - 0.5 * STRENGTH), 7.0]
    subject.after_step([weight], torch.tensor(0.0))
    assert weight.tolist() == [3.0 * (1 - STRENGTH), 5.0 * (1 - 0.5 * STRENGTH), 7.0], "the updates have stopped"


def test_lobster_stops_with_the_updates() -> None:
    weight = torch.tensor([1.0])
    subject = penalty([weight], kind="lobster")
    subject.edit([weight], [torch.tensor([0.0])])
    subject.after_step([weight], torch.tensor(0.0))
    assert weight.item() == 1.0


def test_a_pull_of_ones_own_is_weighed_by_lambda_and_added_to_the_gradient() -> None:
    weight, gradient = torch.tensor([2.0, -3.0]), torch.tensor([0.5, 1.0])
    penalty([weight], "squares").edit([weight], [gradient])
    assert gradient.tolist() == [0.5 + STRENGTH * 4.5, 1.0 + STRENGTH * 10.0]
