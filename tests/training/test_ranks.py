"""Several ranks train as one process does: the same gradients up to rounding, the same masks, the same metrics."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsity.hardware.ranks import Part, Ranks, acting_as
from sparsity.training.extensions import Extensions, OwnParameters
from sparsity.training.loop import NonFiniteLossError, Trainer
from sparsity.training.tasks import Batch, Classification
from tests.rank_threads import together
from tests.training import fakes


class DividedBatches(fakes.FakeBatches):
    """The batches of eight images, of which a rank takes its part."""

    weight = 1.0
    part = Part()

    def take(self, part: Part) -> None:
        """Give this part from now on."""
        self.part, self.weight = part, part.size * len(range(8)[part.examples]) / 8

    def at(self, position: Tensor, step: int) -> Batch:
        """The part of the batch at `step`."""
        inputs, labels = super().at(position, step)
        return inputs[self.part.examples], labels[self.part.examples]


Trained = tuple[list[Tensor], dict[str, Tensor], list[float]]


def trained(model: nn.Module, micro_batches: int = 1, dropout: float = 0.0) -> Trained:
    """Weights, masks and recorded losses of relevance with two prunes, in float64."""
    method = fakes.pruner(model, "relevance", fraction=0.3)
    settings = fakes.phase(num_epochs=3, every=2, micro_batches=micro_batches)
    loop = fakes.trainer(model, settings, method, DividedBatches(dtype=torch.float64))
    losses: list[float] = []
    for evaluation in loop.run():
        losses += [row["train/loss"] for row in evaluation.rows]
        if evaluation.step in (2, 6):
            method.prune()
    return fakes.weights(model), method.masks.kept, losses


@pytest.mark.parametrize(("size", "micro_batches"), [(2, 1), (3, 1), (2, 2), (4, 2), (2, 5)])
def test_ranks_have_the_masks_of_one_process_and_its_weights_and_losses_up_to_rounding(
    size: int, micro_batches: int
) -> None:
    networks = [fakes.network(dtype=torch.float64) for _ in range(size)]
    alone, masks, losses = trained(fakes.network(dtype=torch.float64), micro_batches)
    for found, kept, recorded in together(size, lambda rank: trained(networks[rank], micro_batches)):
        assert all(torch.equal(kept[name], mask) for name, mask in masks.items())
        torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-12)
        assert recorded == pytest.approx(losses, rel=1e-6)


def test_all_ranks_have_the_same_bits_where_their_parts_are_unequal() -> None:
    networks = [fakes.network() for _ in range(3)]

    def train(rank: int) -> list[Tensor]:
        return fakes.weights(fakes.finish(fakes.trainer(networks[rank], batches=DividedBatches())))

    first, *others = together(3, train)
    assert all(fakes.same(first, other) for other in others)


class Pull(nn.Module):
    """An objective whose parameter the mean output moves."""

    def __init__(self) -> None:
        super().__init__()
        self.pull = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def term(self, outputs: Tensor, batch: Batch) -> Tensor:
        return self.pull * outputs.mean() + self.pull**2

    def own_parameters(self) -> list[OwnParameters]:
        return [OwnParameters(list(self.parameters()))]


def test_the_parameter_of_an_objective_is_trained_by_all_ranks_together() -> None:
    def train(model: nn.Module) -> Tensor:
        objective = Pull()
        batches = DividedBatches(dtype=torch.float64)
        fakes.finish(fakes.trainer(model, fakes.phase(1), Extensions(objectives=(objective,)), batches))
        return objective.pull.detach()

    networks = [fakes.network(dtype=torch.float64) for _ in range(3)]
    alone = train(fakes.network(dtype=torch.float64))
    assert alone != 0
    for found in together(3, lambda rank: train(networks[rank])):
        torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-12)


def test_batches_that_cannot_be_divided_are_computed_by_every_rank() -> None:
    def train(model: nn.Module) -> list[Tensor]:
        return fakes.weights(fakes.finish(fakes.trainer(model, batches=fakes.FakeBatches(dtype=torch.float64))))

    networks = [fakes.network(dtype=torch.float64) for _ in range(2)]
    alone = train(fakes.network(dtype=torch.float64))
    for found in together(2, lambda rank: train(networks[rank])):
        torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-12)


def test_the_gradients_that_a_method_scores_by_are_those_of_whole_batches() -> None:
    class Keep:
        num_scoring_batches = 3

        def take_gradients(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
            self.gradients = [gradient.clone() for gradient in gradients]

    def scored(model: nn.Module) -> list[Tensor]:
        keep = Keep()
        settings = fakes.phase(micro_batches=2)
        batches = DividedBatches(dtype=torch.float64)
        loop = fakes.trainer(model, settings, Extensions.of([keep]), batches)
        loop.score_gradients()
        fakes.finish(loop)  # the parts are those of its steps again
        return keep.gradients

    networks = [fakes.network(dtype=torch.float64) for _ in range(2)]
    alone = scored(fakes.network(dtype=torch.float64))
    for found in together(2, lambda rank: scored(networks[rank])):
        torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-12)


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_at_the_same_step() -> None:
    networks = [fakes.network() for _ in range(2)]

    def train(rank: int) -> str:
        batches = DividedBatches(first_bad=(0, 2) if rank == 1 else None)
        with pytest.raises(NonFiniteLossError) as caught:
            fakes.finish(fakes.trainer(networks[rank], batches=batches))
        return str(caught.value)

    first, second = together(2, train)
    assert first == second and "at step 3 of" in first
    assert fakes.same(fakes.weights(networks[0]), fakes.weights(networks[1]))


class Mirrored(Ranks):
    """The first of two ranks, where the other one finds the same as this one."""

    size = 2

    def sum_(self, tensor: Tensor) -> Tensor:
        """Twice the own."""
        return tensor.mul_(2)

    def gather(self, value: Any) -> list[Any]:
        """The same twice."""
        return [value, value]


def noisy(model: nn.Module) -> Trainer:
    return fakes.trainer(model, fakes.phase(num_epochs=1, every=4), batches=DividedBatches())


def test_among_ranks_a_resumed_phase_draws_the_noise_of_one_that_was_not_interrupted() -> None:
    with torch.random.fork_rng(), acting_as(Mirrored()):
        torch.manual_seed(5)
        whole = noisy(fakes.network(dropout=0.5))
        for evaluation in whole.run():
            if evaluation.step == 4:
                saved = fakes.snapshot(whole)
        torch.manual_seed(5)
        resumed = noisy(fakes.network(dropout=0.5))
        torch.rand(3)
        resumed.model.load_state_dict(saved["weights"])
        resumed.load_state_dict(copy.deepcopy(saved["trainer"]))
        assert fakes.same(fakes.weights(fakes.finish(resumed)), fakes.weights(whole.model))


def test_ranks_draw_apart_in_a_step_and_alike_after_it() -> None:
    def drawn(rank: int) -> tuple[Tensor, Tensor]:
        class Noise(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.ones(3, 72))

            def forward(self, inputs: Tensor) -> Tensor:
                self.noise = torch.rand(1)
                return inputs.flatten(1) @ self.weight.t()

        mirrored = Mirrored()
        mirrored.rank = rank
        with acting_as(mirrored):
            torch.manual_seed(5)
            model = Noise()
            fakes.trainer(model, batches=DividedBatches()).train_step()
            return model.noise, torch.rand(1)

    with torch.random.fork_rng():
        (noise, after), (other_noise, other_after) = drawn(0), drawn(1)
    assert noise != other_noise and after == other_after


def test_a_network_that_normalises_over_its_batch_is_refused_among_ranks() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))
    fakes.trainer(model)
    with acting_as(Mirrored()), pytest.raises(ValueError, match=r"^2 ranks cannot train this network together: 1 norm"):
        fakes.trainer(model)


@pytest.mark.parametrize("num_batches", [1, 5])
def test_the_accuracy_over_all_ranks_is_exact_also_where_one_has_no_batch(num_batches: int) -> None:
    task, batches = Classification(), [fakes.FakeBatches().batch(0, step) for step in range(num_batches)]
    networks = [fakes.network() for _ in range(2)]
    alone = {name: float(value) for name, value in task.evaluate(fakes.network(), batches).items()}

    def evaluate(rank: int) -> dict[str, float]:
        return {name: float(value) for name, value in task.evaluate(networks[rank], batches).items()}

    for found in together(2, evaluate):
        assert found["accuracy"] == alone["accuracy"] and math.isclose(found["loss"], alone["loss"], rel_tol=1e-12)


def test_what_is_measured_is_what_rank_0_measured() -> None:
    networks = [fakes.network() for _ in range(2)]

    def measured(rank: int) -> list[dict[str, float]]:
        evaluate: Callable[[], dict[str, Tensor]] = lambda: {"accuracy": torch.tensor(50.0 + rank)}  # noqa: E731
        loop = fakes.trainer(networks[rank], fakes.phase(num_epochs=1), evaluate=evaluate, batches=DividedBatches())
        return [evaluation.metrics for evaluation in loop.run()]

    first, second = together(2, measured)
    assert first == second == [{"accuracy": 50.0}] * len(first)
