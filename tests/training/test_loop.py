"""Does the loop train as torch does, evaluate when it promises to, and stop at the first loss that is not finite?"""

import gc
import weakref
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.settings import OptimizerSettings
from sparsity.training import loop as loop_module
from sparsity.training.execution import Execution
from sparsity.training.extensions import Extensions, OwnParameters
from sparsity.training.loop import NonFiniteLossError, Trainer
from sparsity.training.tasks import Batch
from tests.training.fakes import (
    COSINE,
    MOMENTUM,
    OPTIMIZERS,
    STEPS_PER_EPOCH,
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


def plain_training(settings: OptimizerSettings, num_epochs: int) -> nn.Module:
    """The loop that everybody writes first."""
    model = network(dropout=0.5)
    optimizer: torch.optim.Optimizer
    if settings.name == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr, fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=settings.lr, momentum=settings.momentum, fused=True)
    batches = FakeBatches()
    for epoch in range(num_epochs):
        for step in range(STEPS_PER_EPOCH):
            inputs, labels = batches.batch(epoch, step)
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return model


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize("has_pruner", [True, False])
def test_dense_equals_plain_training_bit_for_bit(settings: OptimizerSettings, has_pruner: bool) -> None:
    torch.manual_seed(7)
    model = network(dropout=0.5)
    dense = pruner(model, "dense") if has_pruner else None
    ours = finish(trainer(model, phase(num_epochs=6, optimizer=settings), dense))
    torch.manual_seed(7)
    assert same(weights(ours), weights(plain_training(settings, num_epochs=6)))


def test_what_is_trained_here_is_learnt() -> None:
    inputs, labels = FakeBatches().batch(9, 0)
    model = network()
    before = F.cross_entropy(model(inputs), labels).item()
    finish(trainer(model, phase(num_epochs=6)))
    assert F.cross_entropy(model(inputs), labels).item() < 0.7 * before


# Cadence


def places(loop: Trainer) -> list[tuple[int, int, bool]]:
    return [(found.step, found.epoch, found.is_scheduled) for found in loop.run()]


def test_the_evaluation_counter_restarts_with_every_epoch() -> None:
    found = places(trainer(network(), phase(num_epochs=2, every=4)))
    assert found == [(4, 0, True), (8, 0, True), (14, 1, True), (18, 1, True), (20, 1, False)]


def test_without_an_interval_each_epoch_ends_with_an_evaluation() -> None:
    assert places(trainer(network(), phase(num_epochs=2, every=None))) == [(10, 0, True), (20, 1, True)]


def test_an_interval_longer_than_an_epoch_leaves_the_closing_evaluation_alone() -> None:
    assert places(trainer(network(), phase(num_epochs=2, every=11))) == [(20, 1, False)]


def test_max_steps_ends_the_phase_with_a_closing_evaluation() -> None:
    assert places(trainer(network(), phase(num_epochs=2, every=4, max_steps=6))) == [(4, 0, True), (6, 0, False)]


def test_max_steps_beyond_the_epochs_does_not_lengthen_the_phase() -> None:
    assert trainer(network(), phase(num_epochs=2, max_steps=500)).num_steps == 20


def test_the_yielded_metrics_are_numbers_measured_after_the_step() -> None:
    model = network()
    loop = trainer(model, phase(1, every=None), evaluate=lambda: {"sum": next(model.parameters()).detach().sum()})
    (evaluation,) = loop.run()
    assert evaluation.metrics == {"sum": next(model.parameters()).sum().item()}


def test_training_goes_on_in_training_mode() -> None:
    model = network().eval()
    next(trainer(model).run())
    assert model.training


# The rows of the record


def test_each_step_since_the_last_evaluation_has_one_row() -> None:
    rows = [[row["step"] for row in evaluation.rows] for evaluation in trainer(network(), phase(1, every=4)).run()]
    assert rows == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_rows_keep_their_order_when_the_recorder_fills_between_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [row for evaluation in trainer(network(), phase(2, every=None)).run() for row in evaluation.rows]
    monkeypatch.setattr(loop_module, "RECORDER_CAPACITY", 3)
    found = [row for evaluation in trainer(network(), phase(2, every=None)).run() for row in evaluation.rows]
    assert found == expected and len(found) == 20


def test_a_row_holds_the_loss_before_the_step_and_the_rate_of_the_step() -> None:
    inputs, labels = FakeBatches().batch(0, 0)
    loss = F.cross_entropy(network()(inputs), labels)
    rows = next(trainer(network(), phase(1, lr_schedule=COSINE)).run()).rows
    assert rows[0] == {"step": 1, "train/loss": pytest.approx(loss.item()), "train/learning_rate": pytest.approx(1e-2)}
    assert rows[3]["train/learning_rate"] < rows[2]["train/learning_rate"] < rows[1]["train/learning_rate"] < 1e-2


def test_the_rate_in_the_row_is_the_one_the_optimiser_used() -> None:
    plain_sgd = OptimizerSettings(name="sgd", lr=0.5)
    model = network()
    loop = trainer(model, phase(1, every=1, optimizer=plain_sgd, lr_schedule=COSINE)).run()
    next(loop)
    before, expected = weights(model), gradients(model, FakeBatches().batch(0, 1))
    rate = next(loop).rows[0]["train/learning_rate"]
    for old, new, gradient in zip(before, weights(model), expected, strict=True):
        torch.testing.assert_close(new, old - rate * gradient)


# Extensions


class Seen:
    """An observer that keeps what it was shown, and how many steps had been made then."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.gradients, self.calls = model, list[list[Tensor]](), 0

    def observe(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        self.calls += 1
        self.gradients.append([gradient.clone() for gradient in gradients])


class Negation:
    """An edit that turns every gradient round."""

    def edit(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        torch._foreach_neg_(gradients)


def test_an_observer_looks_before_evaluations_only() -> None:
    seen = Seen(network())
    calls = [seen.calls for _ in trainer(seen.model, phase(2, every=4), Extensions(observers=(seen,))).run()]
    assert calls == [1, 2, 3, 4, 5]


def test_an_observer_sees_the_gradients_before_any_edit() -> None:
    seen = Seen(network())
    expected = gradients(network(), FakeBatches().batch(0, 0))
    loop = trainer(seen.model, phase(1, every=1), Extensions(observers=(seen,), gradient_edits=(Negation(),)))
    next(loop.run())
    for found, gradient in zip(seen.gradients[0], expected, strict=True):
        torch.testing.assert_close(found, gradient)


def test_a_gradient_edit_reaches_the_optimiser() -> None:
    plain_sgd = OptimizerSettings(name="sgd", lr=0.5)
    edited = trainer(network(), phase(1, every=1, optimizer=plain_sgd), Extensions(gradient_edits=(Negation(),)))
    next(edited.run())
    expected = gradients(network(), FakeBatches().batch(0, 0))
    for old, new, gradient in zip(weights(network()), weights(edited.model), expected, strict=True):
        torch.testing.assert_close(new, old + 0.5 * gradient)


def test_an_after_step_gets_the_moved_weights_and_the_rate_of_their_step() -> None:
    rates: list[float] = []

    class Zero:
        def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
            rates.append(float(learning_rate))
            torch._foreach_zero_(parameters)

    loop = trainer(network(), phase(1, every=2, lr_schedule=COSINE), Extensions(after_steps=(Zero(),)))
    evaluation = next(loop.run())
    assert rates == pytest.approx([row["train/learning_rate"] for row in evaluation.rows])
    assert not any(weight.any() for weight in weights(loop.model))


class Offset(nn.Module):
    """An objective with one parameter of its own: (sum of outputs' means + offset - 1) squared."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(()))

    def term(self, outputs: Tensor, batch: Batch) -> Tensor:
        return (outputs.mean() + self.offset - 1) ** 2

    def own_parameters(self) -> list[OwnParameters]:
        return [OwnParameters(list(self.parameters()))]


def test_an_objective_adds_its_term_to_the_loss() -> None:
    inputs, labels = FakeBatches().batch(0, 0)
    outputs = network()(inputs)
    expected = F.cross_entropy(outputs, labels) + (outputs.mean() - 1) ** 2
    loop = trainer(network(), phase(1, every=1), Extensions(objectives=(Offset(),)))
    assert next(loop.run()).rows[0]["train/loss"] == pytest.approx(expected.item())


def test_the_parameter_of_an_objective_is_trained() -> None:
    objective = Offset()
    finish(trainer(network(), phase(6), Extensions(objectives=(objective,))))
    assert float(objective.offset.detach()) > 0.1


def test_an_extension_in_two_places_is_listed_once() -> None:
    both = pruner(network()).masks
    assert Extensions(maskings=(both,), stateful=(both,)).distinct() == [both]


# A loss that is not finite


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize("changes", [{}, {"decoupled": True}], ids=["coupled", "decoupled"])
def test_no_weight_moves_from_the_first_bad_step_on(settings: OptimizerSettings, changes: dict[str, bool]) -> None:
    def run(num_steps: int, batches: FakeBatches) -> Iterable[Tensor]:
        model = network()
        with_penalty = pruner(model, "relevance", **changes)
        loop = trainer(model, phase(2, every=10, optimizer=settings, max_steps=num_steps), with_penalty, batches)
        try:
            finish(loop)
        except NonFiniteLossError:
            assert batches.first_bad is not None
        return weights(model)

    bad = FakeBatches(first_bad=(1, 3))
    assert same(list(run(20, bad)), list(run(13, FakeBatches())))


def test_the_first_bad_step_is_named_with_its_loss() -> None:
    loop = trainer(network(), phase(2, every=10), batches=FakeBatches(first_bad=(1, 3)))
    with pytest.raises(NonFiniteLossError, match="became nan at step 14 of the phase") as caught:
        finish(loop)
    assert str(caught.value).count(". ") == 0


def test_the_stop_holds_when_the_loss_is_finite_again() -> None:
    class OnlyOne(FakeBatches):
        def batch(self, epoch: int, step: int) -> Batch:
            good = replace(self, first_bad=None)
            return (
                super().batch(epoch, step) if (epoch, step) == self.first_bad else FakeBatches.batch(good, epoch, step)
            )

    model = network()
    with pytest.raises(NonFiniteLossError, match="step 4 "):
        finish(trainer(model, phase(2, every=10), batches=OnlyOne(first_bad=(0, 3))))
    expected = finish(trainer(network(), phase(2, every=10, max_steps=3)))
    assert same(weights(model), weights(expected))


def test_a_bad_step_is_named_although_the_recorder_was_drained_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "RECORDER_CAPACITY", 3)
    with pytest.raises(NonFiniteLossError, match="became nan at step 8 "):
        finish(trainer(network(), phase(1, every=None), batches=FakeBatches(first_bad=(0, 7))))


def test_a_loop_that_stopped_can_be_put_back_and_goes_on() -> None:
    loop = trainer(network(), phase(1, every=None), batches=FakeBatches(first_bad=(0, 3)))
    start = loop.state_dict()
    with pytest.raises(NonFiniteLossError):
        finish(loop)
    loop.load_state_dict(start)
    loop.batches = FakeBatches()
    before = weights(loop.model)
    finish(loop)
    assert not same(before, weights(loop.model))


def test_a_parameter_without_a_gradient_is_named() -> None:
    model = network()
    model.unused = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=r"^unused took no part in the loss, .* freeze them \(requires_grad_"):
        finish(trainer(model))


# Accumulation


def test_accumulated_micro_batches_make_the_step_of_one_batch_of_their_size() -> None:
    class Joined(FakeBatches):
        def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
            parts = [FakeBatches.batch(self, epoch, 2 * step + part) for part in range(2)]
            inputs, labels = zip(*parts, strict=True)
            return torch.cat(inputs), torch.cat(labels)

    parted = finish(trainer(network(), phase(2, every=5, micro_batches=2, optimizer=MOMENTUM)))
    joined = finish(trainer(network(), phase(2, every=5, optimizer=MOMENTUM), batches=Joined(STEPS_PER_EPOCH // 2)))
    for ours, theirs in zip(weights(parted), weights(joined), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_steps_and_evaluations_count_updates_not_micro_batches() -> None:
    loop = trainer(network(), phase(num_epochs=2, every=2, micro_batches=2))
    assert places(loop) == [(2, 0, True), (4, 0, True), (7, 1, True), (9, 1, True), (10, 1, False)]


def test_the_loss_of_an_accumulated_step_is_the_mean_of_its_parts() -> None:
    still = phase(1, every=None, micro_batches=2, optimizer=OptimizerSettings(name="sgd", lr=0.0))
    (evaluation,) = trainer(network(), still).run()
    (plain,) = trainer(network(), replace(still, micro_batches=1)).run()
    losses = [row["train/loss"] for row in plain.rows]
    expected = [(first + second) / 2 for first, second in zip(losses[::2], losses[1::2], strict=True)]
    assert [row["train/loss"] for row in evaluation.rows] == pytest.approx(expected)


# Execution


def test_a_trainer_that_is_dropped_frees_its_network_at_once() -> None:
    gc.disable()  # what frees cycles, on a GPU too late for the next phase
    try:
        model = network()
        loop = trainer(model, phase(1), pruner(model, "relevance"))
        finish(loop)
        dropped = weakref.ref(loop), weakref.ref(model)
        del loop, model
        assert [alive() for alive in dropped] == [None, None]
    finally:
        gc.enable()


@pytest.mark.slow
def test_compiled_edits_compute_the_same_update() -> None:
    def trained(compile: str) -> list[Tensor]:
        model = network()
        method = pruner(model, "relevance")
        loop = trainer(model, phase(1, every=4), method, execution=Execution(compile=compile))
        list(prune_at(loop, method, 4))
        return weights(model)

    for ours, theirs in zip(trained("edits"), trained("dense"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
