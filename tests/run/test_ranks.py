"""Several processes make one run: what one would make, written once, stopped together, resumed by any number."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity import files, provenance
from sparsity.hardware import ranks
from sparsity.pruning.masks import Masks
from sparsity.run import pipeline
from sparsity.run.experiment import Experiment
from sparsity.run.phase import Phase
from sparsity.run.stopping import Stopped
from sparsity.run.workspace import held
from sparsity.settings import BaselineSettings
from sparsity.training.loop import Trainer
from sparsity.weights.checkpoints import load_checkpoint
from tests.double_nets import OfImages
from tests.rank_processes import forked
from tests.rank_threads import together
from tests.tiny_runs import TinyNet, TinyRun, tiny_experiment

BASELINE = BaselineSettings(source="train", num_epochs=1, batch_size=5)


def experiment(results: Path, **changes: Any) -> Experiment:
    """The tiny experiment in float64, which also trains its baseline."""
    return replace(tiny_experiment(results, baseline=BASELINE, **changes), build_model=lambda: OfImages(TinyNet()))


def run_of(of: Experiment) -> TinyRun:
    return TinyRun(provenance.run_directory(of.settings))


def masks(of: Experiment) -> dict[str, torch.Tensor]:
    """At the end of the regularised phase."""
    state: dict[str, torch.Tensor] = load_checkpoint(run_of(of).directory / "checkpoints/regularise/last.pt")["masks"]
    return state


def same_pruning(left: Experiment, right: Experiment) -> bool:
    mine, other = masks(left), masks(right)
    points = [[(point["step"], point["sparsity"]) for point in run_of(of).summary["frontier"]] for of in (left, right)]
    return points[0] == points[1] and all(torch.equal(mask, other[name]) for name, mask in mine.items())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The run of one process."""
    whole = experiment(tmp_path_factory.mktemp("alone"))
    pipeline.run(whole)
    return whole


def test_two_processes_prune_what_one_does_and_leave_one_record(tmp_path: Path, alone: Experiment) -> None:
    shared = experiment(tmp_path)
    first, second = forked(2, lambda: pipeline.run(shared))
    assert first == second and same_pruning(shared, alone)
    assert run_of(shared).summary["rows"][0]["test"] == run_of(alone).summary["rows"][0]["test"]
    places = [[(row["phase"], row["step"]) for row in run_of(of).rows("step")] for of in (shared, alone)]
    assert places[0] == places[1], "each step is on the record once"
    manifest = provenance.read_manifest(run_of(shared).directory)
    assert (manifest["status"], manifest["ranks"]) == ("done", 2) and manifest["device"].startswith("2 x cpu: ")


@pytest.mark.parametrize("step", [3, 4])
def test_a_signal_to_one_process_stops_all_and_one_alone_goes_on(tmp_path: Path, alone: Experiment, step: int) -> None:
    shared, train_step = experiment(tmp_path), Trainer.train_step

    def and_signal(self: Trainer, observe: bool = False) -> None:
        train_step(self, observe)
        if self.step == step and ranks.here().rank == 1 and self.settings.evaluate_every_steps:
            os.kill(os.getpid(), signal.SIGTERM)

    def stopped() -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped) as caught:
            patch.setattr(Trainer, "train_step", and_signal)
            pipeline.run(shared)
        return caught.value.code, provenance.read_manifest(run_of(shared).directory)["status"]  # type: ignore[return-value]

    assert [code for code, _ in forked(2, stopped)] == [75, 75]
    assert provenance.read_manifest(run_of(shared).directory)["status"] == "interrupted"
    pipeline.run(shared)
    history = provenance.read_manifest(run_of(shared).directory)["history"]
    assert same_pruning(shared, alone) and [process["ranks"] for process in history] == [2]


def test_a_signal_to_the_first_while_it_writes_a_checkpoint_stops_all_at_the_same_step(tmp_path: Path) -> None:
    shared, write = experiment(tmp_path), Phase._write

    def and_signal(self: Phase, *arguments: Any) -> None:
        write(self, *arguments)
        if self.name == "regularise" and self.trainer.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)  # the others are in the next step already

    def stopped() -> str:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped) as caught:
            patch.setattr(Phase, "_write", and_signal)
            pipeline.run(shared)
        return caught.value.signal

    assert forked(2, stopped) == ["SIGTERM", "SIGTERM"]


def test_processes_whose_masks_differ_go_no_further(tmp_path: Path) -> None:
    def differing() -> str:
        rank, digest = ranks.here().rank, Masks.digest
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match=r"^The masks") as caught:
            patch.setattr(Masks, "digest", lambda self: digest(self) + str(rank))
            pipeline.run(experiment(tmp_path))
        return str(caught.value)

    said = forked(2, differing)
    assert said == ["The masks after prune 1 of rank 1 differ from those of rank 0: they cannot go on together."] * 2


def test_processes_that_do_not_share_the_folder_of_results_go_no_further(tmp_path: Path) -> None:
    def apart() -> str:
        with pytest.raises(ValueError, match=r"^All must share one results_dir, but the contents of ") as caught:
            pipeline.run(experiment(tmp_path / str(ranks.here().rank)))
        return str(caught.value)

    for said in forked(2, apart):
        assert said.endswith(" of rank 1 differ from those of rank 0: they cannot go on together.")


def test_the_first_of_several_ranks_holds_the_folder_for_all(tmp_path: Path) -> None:
    def hold(rank: int) -> list[bool]:
        with held(tmp_path / "run", wait=False):
            return ranks.here().gather(files.is_held(tmp_path / "run"))

    assert together(2, hold) == [[True, True], [True, True]]


def test_a_folder_that_is_held_ends_all_and_the_first_says_why(tmp_path: Path, holder: Any) -> None:
    def hold(rank: int) -> str:
        with pytest.raises((files.BusyError, SystemExit)) as caught, held(tmp_path / "run", wait=False):
            pass
        return type(caught.value).__name__

    assert together(2, hold) == ["BusyError", "SystemExit"]
