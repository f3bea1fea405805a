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
    OPTIMIZERS,
    FakeBatches,
    finish,
    gradients,
    network,
    phase,
    prune_at,
    pruner,
    same,
    trainer,
    weights,
)

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


# Exact zeros. The loop masks gradients and the optimiser's state, and the weights where something else moves them.


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


class Push:
    """An after-step that moves every weight."""

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        torch._foreach_add_(parameters, 0.01)


def test_pruned_weights_stay_zero_although_an_after_step_moves_them() -> None:
    model = network()
    method = pruner(model)
    loop = trainer(model, phase(2, every=4), Extensions.of((*method.parts, Push())))
    alive = [num_alive(method, model) for step in prune_at(loop, method, PRUNE_STEP) if step >= PRUNE_STEP]
    assert set(alive) == {0} and method.sparsity > 0.4


def test_a_checkpoint_with_momentum_of_pruned_weights_does_not_revive_them() -> None:
    loop, method = train_on(ADAM)
    next(loop.run())
    saved = copy.deepcopy(loop.state_dict())  # as early versions left it, which masked weights instead
    method.prune()
    loop.load_state_dict(saved)
    for _ in range(3):
        loop.train_step()
    assert num_alive(method, loop.model) == 0


class MaskedGradients:
    """An edit that zeroes the gradients of pruned weights."""

    def __init__(self, method: Pruner) -> None:
        self.masks = method.masks

    def edit(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        torch._foreach_mul_(gradients, list(self.masks.multipliers.values()))


class MaskedWeights(MaskedGradients):
    """An after-step that zeroes pruned weights."""

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        torch._foreach_mul_(parameters, list(self.masks.multipliers.values()))


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
def test_masking_the_weights_after_each_step_would_train_the_same(settings: OptimizerSettings, kind: str) -> None:
    trained = []
    for masks_weights in (False, True):
        model = network()
        method = pruner(model, kind)
        ours = Extensions.of(method.parts)
        if masks_weights:  # and the optimiser goes on with all gradients
            ours = replace(ours, maskings=(), after_steps=(MaskedWeights(method),))
        loop = trainer(model, phase(30, every=4, optimizer=settings, max_steps=40), ours)
        list(prune_at(loop, method, PRUNE_STEP))
        trained.append(weights(model))
    assert same(*trained)


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
    loop.state_dict()  # what a checkpoint holds is masked, as the next step would have it
    for name, parameter in loop.model.named_parameters():
        kept = method.masks.kept[name]
        for key, value in loop.optimizer.state[parameter].items():
            expected = before[name][key] * kept if value.shape == parameter.shape else before[name][key]
            assert torch.equal(value, expected), (name, key)


def test_any_state_of_the_parameters_shape_is_cleared_and_nothing_else() -> None:
    loop, method = train_on(ADAM, "dense")
    first = next(loop.model.parameters())
    next(loop.run())
    loop.optimizer.state[first] |= {"curvature": torch.ones_like(first), "count": torch.tensor(3.0), "note": "kept"}
    method.prune()
    loop.state_dict()
    state = loop.optimizer.state[first]
    assert torch.equal(state["curvature"], method.masks.kept["0.weight"].float())
    assert float(state["count"]) == 3.0 and state["note"] == "kept"
