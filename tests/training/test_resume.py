"""Do k + m steps equal k steps, an end of the process, and m steps more, bit for bit and through files?"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparsity.pruning.pruner import Pruner
from sparsity.settings import LrScheduleSettings, OptimizerSettings
from sparsity.training.extensions import Extensions, OwnParameters
from sparsity.training.loop import NonFiniteLossError, Trainer
from sparsity.training.tasks import Batch
from sparsity.weights.checkpoints import load_checkpoint, save_checkpoint
from tests.training.fakes import (
    ADAM,
    COSINE,
    OPTIMIZERS,
    STEPS_PER_EPOCH,
    FakeBatches,
    network,
    phase,
    prune_at,
    pruner,
    same,
    snapshot,
    trainer,
    weights,
)

PRUNE_STEP, NUM_STEPS = 8, 30
LAST, CONTIGUOUS = torch.channels_last, torch.contiguous_format


def fresh(settings: OptimizerSettings, kind: str, decoupled: bool) -> tuple[Trainer, Pruner]:
    """A loop with everything that has a state: dropout, a schedule, a penalty that decays, masks."""
    torch.manual_seed(7)
    model = network(dropout=0.5)
    method = pruner(model, kind, decoupled=decoupled)
    return trainer(model, phase(num_epochs=3, every=4, optimizer=settings, lr_schedule=COSINE), method), method


def save(path: Path, loop: Trainer, method: Pruner) -> None:
    state = {"weights": loop.model.state_dict(), "masks": method.masks.state_dict(), "trainer": loop.state_dict()}
    save_checkpoint(path, state)


def load(path: Path, loop: Trainer, method: Pruner) -> None:
    state = load_checkpoint(path)
    loop.model.load_state_dict(state["weights"])
    method.masks.load_state_dict(state["masks"])
    loop.load_state_dict(state["trainer"])


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize(("kind", "decoupled"), [("relevance", False), ("l2", True)])
@pytest.mark.parametrize("stopped_at", [4, 18])
def test_a_resumed_phase_ends_like_one_that_never_stopped(
    settings: OptimizerSettings, kind: str, decoupled: bool, stopped_at: int, tmp_path: Path
) -> None:
    whole, method = fresh(settings, kind, decoupled)
    for step in prune_at(whole, method, PRUNE_STEP):
        if step == stopped_at:
            save(tmp_path / "last.pt", whole, method)
    resumed, other_method = fresh(settings, kind, decoupled)
    torch.manual_seed(99)  # another process has another random state
    load(tmp_path / "last.pt", resumed, other_method)
    steps = list(prune_at(resumed, other_method, PRUNE_STEP))
    assert steps[0] > stopped_at and steps[-1] == NUM_STEPS
    assert same(weights(resumed.model), weights(whole.model))
    assert method.sparsity == other_method.sparsity == pytest.approx(0.5, abs=1e-3)


def test_a_step_of_micro_batches_finds_its_place_within_an_epoch_again() -> None:
    whole, resumed = (trainer(network(), phase(micro_batches=2)) for _ in range(2))
    for _ in range(2):
        whole.train_step()
    state = snapshot(whole)
    resumed.model.load_state_dict(state["weights"])
    resumed.load_state_dict(state["trainer"])
    for loop in (whole, resumed):
        loop.train_step()
    assert same(weights(resumed.model), weights(whole.model))


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize("layouts", [(LAST, CONTIGUOUS), (CONTIGUOUS, LAST)], ids=["to contiguous", "to channels_last"])
def test_a_phase_resumed_under_another_memory_layout_ends_like_one_that_never_stopped(
    settings: OptimizerSettings, layouts: tuple[torch.memory_format, torch.memory_format], tmp_path: Path
) -> None:
    def start(layout: torch.memory_format) -> Trainer:
        """In float64, where a layout changes what rounding leaves alone."""
        model = network(dtype=torch.float64).to(memory_format=layout)
        return trainer(model, phase(2, every=5, optimizer=settings), batches=FakeBatches(dtype=torch.float64))

    whole, resumed = (start(layout) for layout in layouts)
    for evaluation in whole.run():
        if evaluation.step == 5:
            save_checkpoint(tmp_path / "last.pt", {"net": whole.model.state_dict(), "loop": whole.state_dict()})
    state = load_checkpoint(tmp_path / "last.pt")
    resumed.model.load_state_dict(state["net"])
    resumed.load_state_dict(state["loop"])
    assert [evaluation.step for evaluation in resumed.run()] == [10, 15, 20]
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=1e-9, atol=1e-12)


def test_the_schedule_still_reaches_the_optimiser_after_a_restore() -> None:
    loop = trainer(network(), phase(1, every=None, lr_schedule=COSINE))
    loop.load_state_dict(loop.state_dict())
    (evaluation,) = loop.run()
    assert float(loop.optimizer.param_groups[0]["lr"]) == pytest.approx(evaluation.rows[-1]["train/learning_rate"])


def test_a_rate_that_falls_on_plateaus_falls_on_after_a_restore() -> None:
    schedule = LrScheduleSettings("plateau", step_factor=0.5, patience=1, cooldown=0)

    def loop() -> Trainer:
        settings = phase(5, every=None, lr_schedule=schedule)
        return trainer(network(), settings, evaluate=lambda: {"loss": torch.tensor(1.0)})

    whole, cut = loop(), loop()
    rates = [evaluation.rows[-1]["train/learning_rate"] for evaluation in whole.run()]
    assert rates == pytest.approx([ADAM.lr, ADAM.lr, ADAM.lr, 0.5 * ADAM.lr, 0.5 * ADAM.lr])
    for evaluation in cut.run():
        if evaluation.step == 2 * STEPS_PER_EPOCH:
            break
    resumed = loop()
    resumed.load_state_dict(cut.state_dict())
    assert [evaluation.rows[-1]["train/learning_rate"] for evaluation in resumed.run()] == rates[2:]


class Scale(nn.Module):
    """An objective with a parameter of its own, which the loss pulls towards the mean output."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def term(self, outputs: Tensor, batch: Batch) -> Tensor:
        return (self.scale - outputs.mean()) ** 2

    def own_parameters(self) -> list[OwnParameters]:
        return [OwnParameters(list(self.parameters()))]


@pytest.mark.parametrize("settings", OPTIMIZERS)
def test_the_parameter_of_an_objective_is_resumed_with_its_momentum(
    settings: OptimizerSettings, tmp_path: Path
) -> None:
    def start() -> tuple[Trainer, Scale]:
        objective = Scale()
        return trainer(network(), phase(2, every=None, optimizer=settings), Extensions((objective,))), objective

    whole, objective = start()
    for evaluation in whole.run():
        if evaluation.step == 10:
            save_checkpoint(tmp_path / "last.pt", {"net": whole.model.state_dict(), "loop": whole.state_dict()})
    resumed, other = start()
    state = load_checkpoint(tmp_path / "last.pt")
    resumed.model.load_state_dict(state["net"])
    resumed.load_state_dict(state["loop"])
    list(resumed.run())
    assert torch.equal(objective.scale, other.scale) and same(weights(whole.model), weights(resumed.model))


def test_a_phase_restored_at_its_end_yields_nothing() -> None:
    loop = trainer(network(), phase(1, every=None))
    list(loop.run())
    loop.load_state_dict(loop.state_dict())
    assert list(loop.run()) == []


def test_rows_are_numbered_on_after_a_restore() -> None:
    loop = trainer(network(), phase(2, every=None))
    state = {**loop.state_dict(), "step": 10}
    loop.load_state_dict(state)
    (evaluation,) = loop.run()
    assert [row["step"] for row in evaluation.rows] == list(range(11, 21))


def test_a_bad_step_after_a_restore_is_counted_from_the_start_of_the_phase() -> None:
    loop = trainer(network(), phase(2, every=None), batches=FakeBatches(first_bad=(1, 3)))
    loop.load_state_dict({**loop.state_dict(), "step": 10})
    with pytest.raises(NonFiniteLossError, match="step 14 "):
        list(loop.run())
