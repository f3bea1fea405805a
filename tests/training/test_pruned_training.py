"""The laws of pruning, through the real loop: eq. 5 in one backward pass, exact zeros under momentum and Adam."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.pruning.pruner import Pruner
from sparsity.settings import OptimizerSettings
from sparsity.training.extensions import Extensions
from sparsity.training.loop import Trainer
from tests.training.fakes import (
    ADAM,
    MOMENTUM,
    FakeBatches,
    finish,
    gradients,
    network,
    phase,
    prune_at,
    pruner,
    trainer,
    weights,
)

OPTIMIZERS = [pytest.param(ADAM, id="adam"), pytest.param(MOMENTUM, id="momentum")]
PRUNE_STEP = 14


def by_two_backward_passes(kind: str, num_steps: int) -> list[Tensor]:
    """Plain float64 SGD on eq. 5: one pass for I, another for the loss with the penalty added to it."""
    model, batches = network(dtype=torch.float64), FakeBatches(dtype=torch.float64)
    for step in range(num_steps):
        batch = batches.batch(*divmod(step, 10))
        constants = [
            torch.exp(-g.abs()) if kind == "relevance" else torch.ones_like(g) for g in gradients(model, batch)
        ]
        terms = [(i * w**2).sum() for i, w in zip(constants, model.parameters(), strict=True)]
        strength = 0.125 * (1 - step / 10)
        loss = F.cross_entropy(model(batch[0]), batch[1]) + strength * torch.stack(terms).sum()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                p.sub_(0.5 * p.grad)
    return weights(model)


@pytest.mark.parametrize("kind", ["relevance", "l2"])
def test_one_backward_pass_trains_as_two_do(kind: str) -> None:
    model = network(dtype=torch.float64)
    settings = phase(1, optimizer=OptimizerSettings("sgd", lr=0.5), max_steps=6)
    finish(trainer(model, settings, pruner(model, kind), FakeBatches(dtype=torch.float64)))
    for found, expected in zip(weights(model), by_two_backward_passes(kind, 6), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)  # lambda is held in float32


@pytest.mark.parametrize("kind", ["relevance", "l2", "l1"])
def test_lambda_is_on_record_and_the_value_of_the_penalty_observed(kind: str) -> None:
    model = network()
    method = pruner(model, kind)
    row = next(trainer(model, phase(1, every=1), method).run()).rows[0]
    start = network()
    pairs = zip(weights(start), gradients(start, FakeBatches().batch(0, 0)), strict=True)
    terms = {
        "relevance": lambda w, g: (torch.exp(-g.abs()) * w**2).sum(),
        "l2": lambda w, g: (w**2).sum(),
        "l1": lambda w, g: w.abs().sum(),
    }
    assert row["penalty/lambda"] == 0.125
    expected = 0.125 * sum(float(terms[kind](w, g)) for w, g in pairs)
    assert method.observed()["penalty/value"] == pytest.approx(expected, rel=1e-5)


def test_a_method_without_penalty_has_no_penalty_on_record_either() -> None:
    model = network()
    row = next(trainer(model, phase(1, every=1), pruner(model, "dense")).run()).rows[0]
    assert set(row) == {"step", "train/loss", "train/learning_rate"}


# Exact zeros. Two guards stand one behind the other, a cleared optimiser and masked weights.


def train_on(
    settings: OptimizerSettings, kind: str = "relevance", num_steps: int = 40, **changes: Any
) -> tuple[Trainer, Pruner]:
    model = network()
    method = pruner(model, kind, **changes)
    return trainer(model, phase(30, every=4, optimizer=settings, max_steps=num_steps), method), method


def num_alive(method: Pruner, model: nn.Module) -> int:
    """Pruned weights that are not exactly zero."""
    return sum(int(((p != 0) & ~method.masks.kept[name]).sum()) for name, p in model.named_parameters())


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize("decoupled", [False, True])
def test_pruned_weights_are_exactly_zero_through_200_steps(settings: OptimizerSettings, decoupled: bool) -> None:
    loop, method = train_on(settings, num_steps=PRUNE_STEP + 200, decoupled=decoupled)
    alive = [num_alive(method, loop.model) for step in prune_at(loop, method, PRUNE_STEP) if step >= PRUNE_STEP]
    assert len(alive) > 40 and set(alive) == {0}
    assert method.sparsity == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("settings", OPTIMIZERS)
def test_pruned_weights_stay_zero_although_the_momentum_of_before_was_not_cleared(settings: OptimizerSettings) -> None:
    loop, method = train_on(settings)
    alive = []
    for evaluation in loop.run():
        if evaluation.step == PRUNE_STEP:
            method.prune()
        alive.append(num_alive(method, loop.model))
    assert set(alive) == {0} and method.sparsity > 0.4


class MaskedGradients:
    """An edit that zeroes the gradients of pruned weights."""

    def __init__(self, method: Pruner) -> None:
        self.masks = method.masks

    def edit(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        torch._foreach_mul_(gradients, list(self.masks.multipliers.values()))


@pytest.mark.parametrize("settings", OPTIMIZERS)
def test_masking_gradients_alone_would_revive_pruned_weights(settings: OptimizerSettings) -> None:
    model = network()
    method = pruner(model)
    loop = trainer(model, phase(2, every=4, optimizer=settings), Extensions(gradient_edits=(MaskedGradients(method),)))
    for evaluation in loop.run():
        if evaluation.step == PRUNE_STEP:
            method.prune()
    assert num_alive(method, model) > 0


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["relevance", "l2", "l1"])
def test_masking_gradients_too_would_change_no_weight(settings: OptimizerSettings, kind: str) -> None:
    trained = []
    for has_both in (False, True):
        model = network()
        method = pruner(model, kind)
        ours = Extensions.of(method.parts)
        edits = (MaskedGradients(method), *ours.gradient_edits) if has_both else ours.gradient_edits
        schedule = phase(30, every=4, optimizer=settings, max_steps=40)
        loop = trainer(model, schedule, replace(ours, gradient_edits=edits))
        list(prune_at(loop, method, PRUNE_STEP))
        trained.append(weights(model))
    assert all(torch.equal(plain, both) for plain, both in zip(*trained, strict=True))


def test_the_kept_weights_go_on_learning() -> None:
    loop, method = train_on(MOMENTUM, "dense")
    steps = prune_at(loop, method, PRUNE_STEP)
    while next(steps) < PRUNE_STEP:
        pass
    before = weights(loop.model)
    next(steps)
    moved = [old != new for old, new in zip(before, weights(loop.model), strict=True)]
    assert all(bool(m.any()) for m in moved)


def test_pruned_weights_add_nothing_to_the_penalty() -> None:
    model = network()
    method = pruner(model, "l2", fraction=1.0)
    method.prune()
    next(trainer(model, phase(1, every=1), method).run())
    assert method.observed()["penalty/value"] == 0.0


def test_the_probe_sees_gradients_without_penalty_and_without_masks() -> None:
    model = network()
    method = pruner(model, "l2", strength=1000.0)
    order = Extensions.of(method.parts)
    assert [*map(id, order.observers)] == [id(method.method), id(method.probe)]
    next(trainer(model, phase(1, every=1), method).run())
    expected = {name: torch.exp(-g.abs()).mean() for (name, _), g in named_gradients()}
    figures = method.probe.values()
    for name, mean in expected.items():
        assert figures[f"irrelevance/layer/{name}/mean"] == pytest.approx(float(mean))


def named_gradients() -> Any:
    start = network()
    return zip(start.named_parameters(), gradients(start, FakeBatches().batch(0, 0)), strict=True)


# The optimiser's state at a cut


@pytest.mark.parametrize("settings", OPTIMIZERS)
def test_the_state_of_pruned_weights_alone_is_cleared(settings: OptimizerSettings) -> None:
    loop, method = train_on(settings, "dense")
    next(loop.run())
    before = copy.deepcopy({name: loop.optimizer.state[p] for name, p in loop.model.named_parameters()})
    method.prune()
    loop.reset_state(method.masks.multipliers)
    for name, parameter in loop.model.named_parameters():
        kept = method.masks.kept[name]
        for key, value in loop.optimizer.state[parameter].items():
            expected = before[name][key] * kept if value.shape == parameter.shape else before[name][key]
            assert torch.equal(value, expected), (name, key)


def test_any_state_of_the_parameters_shape_is_cleared_and_nothing_else() -> None:
    model = network()
    loop = trainer(model)
    first = next(model.parameters())
    loop.optimizer.state[first] = {"curvature": torch.ones_like(first), "count": torch.tensor(3.0), "note": "kept"}
    keep = torch.zeros_like(first)
    keep[0] = 1
    loop.reset_state({"0.weight": keep})
    state = loop.optimizer.state[first]
    assert torch.equal(state["curvature"], keep) and float(state["count"]) == 3.0 and state["note"] == "kept"


def test_a_boolean_mask_clears_as_well() -> None:
    loop, _ = train_on(ADAM, "dense")
    next(loop.run())
    loop.reset_state({name: torch.zeros(p.shape, dtype=torch.bool) for name, p in loop.model.named_parameters()})
    assert not any(state["exp_avg"].any() for state in loop.optimizer.state.values())
