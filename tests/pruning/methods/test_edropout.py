"""EDropout: the mutation's table, a greedy population, and a network whose units are off with their weights."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity import provenance
from sparsity.hardware import ranks
from sparsity.pruning import evolution
from sparsity.pruning.evolution import evolve, mutated
from sparsity.pruning.masks import Masks
from sparsity.pruning.methods import edropout
from sparsity.pruning.methods.edropout import Edropout
from sparsity.run import pipeline
from sparsity.training.extensions import Extensions
from tests.pruners import own
from tests.recorded_graph import Recorder
from tests.tiny_runs import TinyRun, tiny_experiment
from tests.training.fakes import FakeBatches, network, trainer

FOUR_UNITS = slice(0, 4)  # the maps of the convolution; the 8 behind them are the inputs of the last layer


def method(model: nn.Module, size: int = 8) -> Edropout:
    parameters = dict(model.named_parameters())
    return Edropout(model, parameters, Masks(parameters), seed=0, population_size=size)


def test_a_bit_is_the_firsts_or_its_opposite_where_the_others_agree_or_off() -> None:
    table = list(product([False, True], repeat=4))
    first, second, third, changed = (torch.tensor(column) for column in zip(*table, strict=True))
    expected = [x1 if not is_changed else (not x1 if x2 == x3 else False) for x1, x2, x3, is_changed in table]
    assert mutated(first, second, third, changed).tolist() == expected


def distance(states: Tensor, best: Tensor) -> Tensor:
    return (states != best).sum(1).float()


def test_no_member_of_a_population_ever_has_a_higher_energy_than_before() -> None:
    torch.manual_seed(0)
    best, population = torch.rand(16) < 0.5, torch.rand(8, 16) < 0.5
    for _ in range(20):
        before = distance(population, best)
        population, found = evolve(population, lambda states: distance(states, best), 0.9, 0.9)
        assert bool((found <= before).all()) and torch.equal(found, distance(population, best))


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_state_of_32_bits_is_found_in_500_generations(seed: int) -> None:
    torch.manual_seed(seed)
    best, population = torch.rand(32) < 0.5, torch.rand(8, 32) < 0.5
    for _ in range(500):
        population, found = evolve(population, lambda states: distance(states, best), 0.9, 0.9)
    assert found.min() == 0


def test_a_mutant_is_made_of_three_other_members(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def watched(first: Tensor, second: Tensor, third: Tensor, is_changed: Tensor) -> Tensor:
        seen.extend([first, second, third])
        return first

    monkeypatch.setattr(evolution, "mutated", watched)
    evolve(torch.eye(5, dtype=torch.bool), lambda states: torch.zeros(5), 0.9, 0.9)
    members = torch.stack([of.long().argmax(1) for of in seen] + [torch.arange(5)], dim=1)
    assert all(len(set(row)) == 4 for row in members.tolist())


def test_the_energy_of_a_state_is_that_of_the_network_without_its_units() -> None:
    model, (inputs, labels) = network(dtype=torch.float64), FakeBatches(dtype=torch.float64).batch(0, 0)
    subject = method(model)
    state = torch.tensor([True, False, True, True] + 5 * [True] + 3 * [False])
    other = network(dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in ("0.weight", "0.bias"):
                parameter[1] = 0
            elif name == "6.weight":
                parameter[:, 5:] = 0
    found = edropout._energy(subject._outputs(state, inputs), labels)
    logits = other(inputs)
    margins = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        margins.append(row[label] - max(row[k] for k in range(3) if k != label))
    assert found.item() == pytest.approx(-sum(margins) / len(margins), rel=1e-6)


def test_a_step_trains_the_units_that_are_on_and_the_others_keep_their_weights() -> None:
    torch.manual_seed(0)
    model = network()
    subject = method(model)
    subject.best[1] = False
    before, best = {name: p.detach().clone() for name, p in model.named_parameters()}, subject.best.clone()
    training = trainer(model, added=Extensions.of([subject, subject._masks]))
    training.train_step()
    moved = {name: p != before[name] for name, p in model.named_parameters()}
    assert not moved["0.weight"][1].any() and not moved["0.bias"][1]
    assert bool(moved["0.weight"][0].any())
    assert not torch.equal(subject.best, best), "the next step has the best of the generation"
    with training.baked():
        assert torch.equal(model.get_parameter("0.weight").flatten(1).any(1), subject.best[FOUR_UNITS])
    kept = subject.kept()
    assert torch.equal(kept["0.bias"], subject.best[FOUR_UNITS]) and torch.equal(kept["6.weight"][0], subject.best[4:])


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.last = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.last(F.relu(self.norm(self.convolution(images))).flatten(1))
        return scores


def test_the_best_of_a_generation_masks_from_then_on() -> None:
    torch.manual_seed(0)
    model, (inputs, labels) = network(), FakeBatches().batch(0, 0)
    subject = method(model)
    subject.term(torch.zeros(1), (inputs, labels))
    states = [*subject.population, subject.best]
    with torch.no_grad():
        *energies, of_best = (float(edropout._energy(subject._outputs(state, inputs), labels)) for state in states)
    assert [of_best, float(subject.recorded["edropout/energy"])] == pytest.approx(2 * [min(energies)])
    assert min(energies) < max(energies)


def test_a_generation_leaves_no_trace_in_running_statistics() -> None:
    model = Normed()
    subject, batch = method(model), FakeBatches().batch(0, 0)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    subject.term(torch.zeros(1), batch)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_a_generation_asks_the_device_for_nothing() -> None:
    subject = method(Normed())
    with Recorder():
        subject.term(torch.zeros(1), FakeBatches().batch(0, 0))
    assert subject.recorded["edropout/energy"] != 0


class TinyConvolution(nn.Sequential):
    """4 x 4 images into 4 classes."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))


def test_an_interrupted_run_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    whole, cut = (
        replace(tiny_experiment(tmp_path / name, pruner=own("edropout")), build_model=TinyConvolution)
        for name in ("whole", "cut")
    )
    pipeline.run(whole)
    pipeline.rehearse(cut)
    runs = [TinyRun(provenance.run_directory(each.settings)) for each in (whole, cut)]
    assert runs[0].curve("regularise") == runs[1].curve("regularise")
    assert all(torch.equal(runs[1].weights[name], weight) for name, weight in runs[0].weights.items())
    assert 0 < runs[0].curve("regularise")[-1]["sparsity"] < 1


def test_several_ranks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "here", lambda: SimpleNamespace(size=2))
    with pytest.raises(ValueError, match="of which each rank sees a part: train in one process"):
        method(network())


def test_a_network_without_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="and this network has no convolution"):
        method(nn.Linear(3, 2))
