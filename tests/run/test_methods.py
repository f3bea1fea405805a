"""Every kind of method through the whole pipeline: it ends where its schedule says, interrupted or not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsity import provenance
from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method
from sparsity.run import pipeline
from sparsity.run.experiment import set_up
from sparsity.settings import BaselineSettings, FinetuneSettings, GateSettings, PrunerSettings
from sparsity.training.extensions import OwnParameters
from sparsity.weights.checkpoints import load_checkpoint
from tests.pruners import GATES, NOISE, own, pruner
from tests.tiny_runs import TinyRun, tiny_experiment, tiny_run

NUM_LEFT = 50 - round(0.45 * 50)


class Returning(Method):
    """Masks that may return: a weight is there while it is larger than a threshold, with noise on top in training.

    The threshold is the objective's own parameter, trained at a rate of its own.
    """

    def __init__(self, masks: Masks, weights: dict[str, Tensor]) -> None:
        masks.let_return()
        self._weights = weights
        self.threshold = torch.nn.Parameter(torch.tensor(0.1))

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        noise = 1 + 0.1 * torch.randn_like(weight) if is_training else 1
        return weight * self._is_there(weight) * noise

    def kept(self) -> dict[str, Tensor]:
        return {name: self._is_there(weight) for name, weight in self._weights.items()}

    def term(self, outputs: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        return -0.01 * self.threshold

    def own_parameters(self) -> list[OwnParameters]:
        return [OwnParameters([self.threshold], learning_rate=1e-3)]

    def state_dict(self) -> dict[str, Any]:
        return {"threshold": self.threshold.detach().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.threshold.data.copy_(state["threshold"])

    def _is_there(self, weight: Tensor) -> Tensor:
        return weight.detach().abs() > self.threshold.detach()


class Beginner(Method):
    """Remembers the sum of the weights that it began from, and how often it did."""

    def __init__(self, weights: dict[str, Tensor], counted: dict[str, Tensor]) -> None:
        self._weights, self.counted, self.began_from, self.num_begun = weights, list(counted), 0.0, 0

    def begin(self) -> None:
        self.began_from = sum(float(weight.detach().double().sum()) for weight in self._weights.values())
        self.num_begun += 1

    def state_dict(self) -> dict[str, Any]:
        return {"began_from": self.began_from, "num_begun": self.num_begun, "counted": self.counted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.began_from, self.num_begun = state["began_from"], state["num_begun"]


BEGINNER = PrunerSettings("beginner", False, {"_target_": "tests.run.test_methods.Beginner"}, counted="weights")


class Rounding(Method):
    """Trains without a change; at the end of the phase each weight is rounded to a fifth, and the zeros are gone."""

    only_finishes = True

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights

    def finish(self) -> dict[str, Tensor]:
        for weight in self._weights.values():
            weight.copy_(0.2 * (5 * weight).round())
        return {name: weight != 0 for name, weight in self._weights.items()}


RETURNING = PrunerSettings("returning", False, {"_target_": "tests.run.test_methods.Returning"})
ROUNDING = PrunerSettings("rounding", True, {"_target_": "tests.run.test_methods.Rounding"}, trigger="own")
MOVEMENT = replace(own("movement"), counted="weights")
SWS = own("sws", tau=1e-2, precision_rate=0.1)
SOFT_MOVEMENT = replace(own("movement", is_soft=True, score_rate=0.5, score_penalty=1.0), counted="weights")
RETURNINGS = [
    pytest.param(RETURNING, id="returning"),
    pytest.param(own("targeted_dropout", gamma=0.5, alpha=0.5, ramps=True), id="targeted-dropout"),
    pytest.param(GATES, id="l0"),
    pytest.param(NOISE, id="sparse-vd"),
]
METHODS = [
    pytest.param(pruner("random", trigger="cubic", budget="uniform"), id="random"),
    pytest.param(pruner("random", trigger="cubic", budget="column"), id="random-by-column"),
    pytest.param(pruner("snip", trigger="one_shot"), id="snip"),
    pytest.param(pruner("magnitude", trigger="cubic"), id="cubic-magnitude"),
    pytest.param(pruner("han", trigger="threshold"), id="han"),
    pytest.param(pruner("sensitivity", 0.05, trigger="threshold"), id="sensitivity"),
    *RETURNINGS,
    pytest.param(pruner("lobster", 0.05, trigger="restoring_plateau"), id="lobster-of-its-authors"),
    pytest.param(ROUNDING, id="rounding"),
    pytest.param(own("dns", c=0.3, gamma=0.1), id="dns"),
    pytest.param(MOVEMENT, id="movement"),
    pytest.param(SWS, id="sws"),
    pytest.param(SOFT_MOVEMENT, id="soft-movement"),
]


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_ends_with_the_bits_of_one_that_was_not(tmp_path: Path, method: PrunerSettings) -> None:
    whole = tiny_run(tmp_path / "whole", pruner=method)
    experiment = tiny_experiment(tmp_path / "cut", pruner=method)
    pipeline.rehearse(experiment)
    cut = TinyRun(provenance.run_directory(experiment.settings))
    assert cut.curve("regularise") == whole.curve("regularise")
    assert all(torch.equal(cut.weights[name], weight) for name, weight in whole.weights.items())


@pytest.mark.parametrize("method", [METHODS[0], METHODS[3]])
def test_a_schedule_ends_at_its_sparsity_before_the_phase_does(tmp_path: Path, method: PrunerSettings) -> None:
    run = tiny_run(tmp_path, pruner=method)
    pruned = [point["pruned"] for point in run.curve("regularise")]
    assert pruned[:3] == [True] * 3 and pruned[6:] == [False] * 2  # the schedule takes six of eight evaluations
    rows = {row["start"]: row["kept"] for row in run.summary["rows"]}
    assert rows["paper_sparsity"] == rows["last"]
    assert rows["last"] == pytest.approx(NUM_LEFT, abs=4)  # each of five tensors is rounded by itself


@pytest.mark.parametrize("method", RETURNINGS)
def test_masks_that_return_say_what_is_kept_and_the_final_network_is_plain(
    tmp_path: Path, method: PrunerSettings
) -> None:
    run = tiny_run(tmp_path, pruner=method)
    kept = [round(50 * (1 - point["sparsity"])) for point in run.curve("regularise")]
    assert 0 < kept[-1] < 50
    row = run.summary["rows"][-1]
    assert row["kept"] == kept[-1] == sum(int(torch.count_nonzero(weight)) for weight in run.weights.values())


def test_a_network_is_kept_with_the_effective_weights_that_its_evaluation_saw(tmp_path: Path) -> None:
    run, setup = tiny_run(tmp_path, pruner=GATES), set_up(tiny_experiment(tmp_path, pruner=GATES))
    rows = [row for row in run.rows("evaluation") if row["phase"] == "regularise"]
    model = setup.new_model()
    model.load_state_dict(load_checkpoint(run.directory / "checkpoints/regularise/best.pt")["weights"])
    best = max(rows, key=lambda row: row["val/accuracy"])  # of equals the first
    assert setup.measure(model, setup.data.val)["loss"] == pytest.approx(best["val/loss"])


def test_a_method_begins_once_from_the_weights_that_its_phase_starts_from(tmp_path: Path) -> None:
    experiment = tiny_experiment(tmp_path, pruner=BEGINNER, baseline=BaselineSettings(2, 5, source="train"))
    pipeline.rehearse(experiment)
    directory = provenance.run_directory(experiment.settings)
    start = load_checkpoint(provenance.baseline_directory(experiment.settings) / "checkpoints/baseline/best.pt")
    saved = load_checkpoint(directory / "checkpoints/regularise/last.pt")["trainer"]["extensions"]
    state = next(each for each in saved if "num_begun" in each)
    assert state["num_begun"] == 1
    assert state["began_from"] == sum(float(weight.double().sum()) for weight in start["weights"].values())
    assert state["counted"] == ["fc1.weight", "fc2.weight"]


def test_what_a_method_makes_of_the_network_at_the_end_of_its_phase_is_handed_on(tmp_path: Path) -> None:
    gate = GateSettings(target_sparsity=0.05)
    run = tiny_run(tmp_path, pruner=ROUNDING, gate=gate, finetune=FinetuneSettings(num_epochs=0, batch_size=5))
    values = torch.cat([weight.flatten() for weight in run.weights.values()])
    torch.testing.assert_close(5 * values, (5 * values).round())
    assert 0 < (num_kept := int(values.count_nonzero())) <= 47
    assert {row["start"]: row["kept"] for row in run.summary["rows"]} == {"paper_sparsity": num_kept, "last": num_kept}
    assert {point["sparsity"] for point in run.curve("regularise")} == {0.0}  # until the phase has ended
    assert run.summary["alarms"] == []


def test_movement_ends_at_the_sparsity_of_its_schedule_and_its_soft_form_where_it_will(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "hard", pruner=MOVEMENT)
    left = {row["start"]: row["kept"] for row in run.summary["rows"]}
    assert left["paper_sparsity"] == left["last"] == 10 + 32 - round(0.45 * 32) + 8 - round(0.45 * 8)
    (row,) = tiny_run(tmp_path / "soft", pruner=SOFT_MOVEMENT, gate=GateSettings()).summary["rows"]
    assert 10 < row["kept"] < 50
