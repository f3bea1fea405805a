"""Which network is reported? The best by validation, never the last and never the best by test, as it was evaluated.

Figures are scripted: each network, told by its weights, has a validation metric of its own, and 100 minus that on test.
So best and last, and what either split would choose, differ whatever is learnt.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsity import provenance
from sparsity.data.images.batches import ImageSplit
from sparsity.run import pipeline
from sparsity.run.experiment import Setup
from sparsity.settings import BaselineSettings, FinetuneSettings, PhaseSettings, ProtocolSettings
from sparsity.weights.checkpoints import load_checkpoint
from sparsity.weights.disk_sizes import measure_sizes, pruned_sizes
from tests.tiny_runs import TinyRun, tiny_run, tiny_settings

NO_TRAINING = PhaseSettings(num_epochs=0, batch_size=5)
FOUR_EVALUATIONS = {"num_epochs": 4, "batch_size": 5}
RISES_AND_FALLS = [10.0, 40.0, 40.0, 20.0]


class Script:
    """Stands for `Setup.evaluate`: networks get the given metrics in the order in which they are first seen."""

    def __init__(self, metrics: Sequence[float]) -> None:
        self._left, self._known = list(metrics), dict[str, float]()

    def evaluate(self, setup: Setup, model: nn.Module, split: ImageSplit) -> dict[str, Tensor]:
        name = digest(model.state_dict())
        if name not in self._known:
            self._known[name] = self._left.pop(0)
        value = self._known[name] if split is setup.data.val else 100 - self._known[name]
        return {"accuracy": torch.tensor(value), "loss": torch.tensor(100 - value)}

    def of(self, path: Path) -> float | None:
        """The metric of the network in a checkpoint; None where no such network was evaluated."""
        return self._known.get(digest(load_checkpoint(path)["weights"]))


def digest(weights: Mapping[str, Tensor]) -> str:
    """Tells networks apart; zeros are equal whatever their sign."""
    return hashlib.sha256(b"".join((value + 0).numpy().tobytes() for value in weights.values())).hexdigest()


def scripted(
    monkeypatch: pytest.MonkeyPatch, results: Path, metrics: Sequence[float], **changes: Any
) -> tuple[TinyRun, Script]:
    script = Script(metrics)
    monkeypatch.setattr(Setup, "evaluate", lambda *arguments: script.evaluate(*arguments))
    return tiny_run(results, **changes), script


def test_a_row_is_the_best_of_its_final_phase_by_validation_and_of_equals_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune = FinetuneSettings(**FOUR_EVALUATIONS, start_from=["last"])
    run, script = scripted(monkeypatch, tmp_path, RISES_AND_FALLS, regularise=NO_TRAINING, finetune=finetune)
    (row,) = run.summary["rows"]
    assert (row["val"], row["test"], row["epoch"], row["num_epochs"]) == (40.0, 60.0, 2, 4)
    assert script.of(run.directory / "checkpoints/finetune/last/best.pt") == 40.0


@pytest.mark.parametrize(("starts", "pruned"), [(["last"], "last"), (["last", "paper_sparsity"], "paper_sparsity")])
def test_the_sizes_on_disk_are_those_of_the_start_and_of_the_network_in_the_row_that_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: list[str], pruned: str
) -> None:
    measured: list[str] = []

    def dense(name: str, weights: Mapping[str, Tensor], folder: Path) -> dict[str, int]:
        measured.append(digest(weights))
        return measure_sizes(name, weights, folder)

    def noting(model: nn.Module, *arguments: Any) -> dict[str, int]:
        measured.append(digest(model.state_dict()))
        return pruned_sizes(model, *arguments)

    monkeypatch.setattr(pipeline, "measure_sizes", dense)
    monkeypatch.setattr(pipeline, "pruned_sizes", noting)
    changes = {"baseline": BaselineSettings(**FOUR_EVALUATIONS, source="train")}
    run = tiny_run(tmp_path, finetune=FinetuneSettings(**FOUR_EVALUATIONS, start_from=starts), **changes)
    start = provenance.baseline_directory(tiny_settings(tmp_path, **changes)) / "checkpoints/baseline/scored.pt"
    networks = (start, run.directory / f"checkpoints/finetune/{pruned}/best.pt")
    assert measured == [digest(load_checkpoint(path)["weights"]) for path in networks]


def test_a_trained_baseline_is_the_best_of_its_phase_by_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = BaselineSettings(**FOUR_EVALUATIONS, source="train")
    still = replace(tiny_settings(tmp_path).finetune, num_epochs=0)
    run, script = scripted(
        monkeypatch, tmp_path, RISES_AND_FALLS, baseline=trained, regularise=NO_TRAINING, finetune=still
    )
    assert (run.summary["baseline"]["val"], run.summary["baseline"]["test"]) == (40.0, 60.0)
    assert script.of(run.directory / "checkpoints/regularise/last_network.pt") == 40.0, "the run starts from another"


def test_the_best_network_is_kept_as_it_was_evaluated_and_not_as_its_prune_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = replace(tiny_settings(tmp_path).finetune, num_epochs=0)
    metrics = [10.0, 20.0, 70.0, 30.0, 31.0, 32.0, 33.0, 34.0, 35.0, 36.0]
    run, script = scripted(monkeypatch, tmp_path, metrics, finetune=still)
    assert script.of(run.directory / "checkpoints/regularise/best.pt") == 70.0
    assert run.summary["regularise"]["val"] == 34.0, "how the phase ended is another thing"


def authors(
    monkeypatch: pytest.MonkeyPatch, results: Path, regularised: Sequence[float], final: Sequence[float] = (50.0, 60.0)
) -> dict[str, Any]:
    """The best of all of a run whose eight regularised evaluations are given, and the ends of both final phases."""
    protocol = ProtocolSettings(report="any_phase")
    run, _ = scripted(monkeypatch, results, [*regularised, *final], protocol=protocol)
    assert [row["val"] for row in run.summary["rows"][:-1]] == list(final)
    best: dict[str, Any] = run.summary["rows"][-1]
    reached = [row["sparsity/total"] for row in run.rows("evaluation") if row["phase"] == "regularise"][-1]
    assert run.summary["regularise"]["sparsity"] == reached, "of the end of the phase, whichever network is the best"
    return best


def test_the_best_of_all_is_chosen_among_final_phases_by_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = authors(monkeypatch, tmp_path, [41.0, 42.0, 43.0, 44.0, 45.0, 46.0, 47.0, 48.0])
    assert (best["start"], best["val"], best["test"]) == ("best_of_all", 60.0, 40.0)


def test_of_equals_the_best_of_all_is_that_of_the_first_final_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = authors(monkeypatch, tmp_path, [41.0, 60.0, 43.0, 44.0, 45.0, 46.0, 47.0, 48.0], final=(60.0, 60.0))
    assert (best["checkpoint"], best["val"]) == ("finetune/paper_sparsity/best", 60.0)


def test_the_best_of_all_is_a_regularised_network_where_that_is_better_on_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = authors(monkeypatch, tmp_path, [41.0, 70.0, 43.0, 44.0, 45.0, 46.0, 47.0, 48.0])
    assert (best["val"], best["test"], best["epoch"], best["sparsity"]) == (70.0, 30.0, 1, pytest.approx(0.2))
