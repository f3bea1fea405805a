"""Kept states go with the checkpoint that a phase resumes from, and so does the record of a phase that starts anew."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity import provenance
from sparsity.run import pipeline
from sparsity.run.kept_states import KeptStates
from sparsity.run.phase import Interrupted, Phase
from sparsity.weights import beside
from sparsity.weights.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tests.tiny_runs import TinyRun, tiny_experiment
from tests.tiny_runs import tiny_run as run_tiny


def test_a_state_lies_aside_until_a_checkpoint_settles_it(tmp_path: Path) -> None:
    kept = KeptStates(tmp_path)
    kept.keep("best", {"value": 1}, None)
    kept.keep("best", {"value": 2}, 9)
    kept.keep("best", {"value": 2}, 10)
    assert kept.aside == ["best.10"] and load_checkpoint(kept.newest("best")) == {"value": 2}
    kept.settle(["best.10"])
    assert kept.aside == [] and load_checkpoint(kept.newest("best")) == {"value": 2}


def test_a_state_of_a_future_that_is_gone_goes_and_the_one_before_it_is_back(tmp_path: Path) -> None:
    kept = KeptStates(tmp_path)
    kept.keep("best", {"value": 1}, 10)
    kept.settle(["best.10"])
    kept.keep("best", {"value": 2}, 20)
    kept.keep("paper_sparsity", {"value": 2}, 20)
    kept.settle(["best.10"])
    assert load_checkpoint(kept.newest("best")) == {"value": 1} and not kept.has("paper_sparsity")


def test_a_state_that_lay_aside_before_states_had_a_step_is_settled_too(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.aside.pt", {"value": 1})
    kept = KeptStates(tmp_path)
    kept.settle(["best"])
    assert load_checkpoint(kept.newest("best")) == {"value": 1} and kept.aside == []


def interrupted(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose process is lost after its fifth evaluation, with a checkpoint of the first only; its folder."""
    experiment = tiny_experiment(results)
    save = Phase._save

    def rarely(self: Phase, controller: Any, only_if_due: bool = False) -> None:
        if self.progress.num_evaluations == 5:
            raise Interrupted("lost")
        if self.progress.num_evaluations <= 1:
            save(self, controller)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(Phase, "_save", rarely)
        pipeline.run(experiment)
    return provenance.run_directory(experiment.settings) / "checkpoints" / "regularise"


def test_a_process_that_is_lost_leaves_nothing_of_what_it_had_kept_since_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted(tmp_path / "lost", monkeypatch)
    assert list(folder.glob("paper_sparsity.*.aside.pt")) and not (folder / "paper_sparsity.pt").exists()
    resumed, whole = run_tiny(tmp_path / "lost"), run_tiny(tmp_path / "whole")
    assert resumed.curve("regularise") == whole.curve("regularise")
    assert not list(folder.glob("*.aside.pt"))
    for name in ("best", "paper_sparsity", "last_network"):
        ours, theirs = (
            load_checkpoint(run.directory / f"checkpoints/regularise/{name}.pt") for run in (resumed, whole)
        )
        assert all(torch.equal(ours["weights"][key], value) for key, value in theirs["weights"].items())


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint takes longer than the steps up to the next evaluation."""

    def slowly(*arguments: Any, **more: Any) -> None:
        time.sleep(0.05)
        save_checkpoint(*arguments, **more)

    monkeypatch.setattr(beside, "save_checkpoint", slowly)


def test_what_is_kept_while_a_checkpoint_is_being_written_is_not_taken_for_its_own(
    slow_disk: None, tmp_path: Path, tiny_run: TinyRun
) -> None:
    directory = run_tiny(tmp_path).directory / "checkpoints"
    for name in ("regularise/best", "regularise/paper_sparsity", "finetune/last/best"):
        ours, theirs = (load_checkpoint(of / f"{name}.pt") for of in (directory, tiny_run.directory / "checkpoints"))
        assert all(torch.equal(ours["weights"][key], value) for key, value in theirs["weights"].items())
    assert not list(directory.rglob("*.aside.pt"))


def test_who_leaves_a_phase_has_waited_for_its_checkpoint(slow_disk: None, tmp_path: Path) -> None:
    assert load_checkpoint(at_a_checkpoint(tmp_path))["progress"]["num_evaluations"] == 2


def test_a_phase_that_starts_anew_has_its_rows_once_and_what_followed_it_is_done_again(tmp_path: Path) -> None:
    experiment = tiny_experiment(tmp_path)
    run = TinyRun(provenance.run_directory(experiment.settings))
    pipeline.run(experiment)
    before = (run.directory / "metrics.jsonl").read_bytes()
    shutil.rmtree(run.directory / "checkpoints" / "regularise")
    (run.directory / "manifest.json").unlink()
    pipeline.run(experiment)
    assert (run.directory / "metrics.jsonl").read_bytes() == before


def at_a_checkpoint(results: Path, **changed: Any) -> Path:
    """A run that was interrupted, whose checkpoint says what is `changed`; its path."""
    experiment = tiny_experiment(results)
    with pytest.raises(Interrupted):
        pipeline.run(experiment, interrupt_after=2)
    path = provenance.run_directory(experiment.settings) / "checkpoints" / "regularise" / "last.pt"
    save_checkpoint(path, load_checkpoint(path) | changed)
    return path


def test_other_data_under_the_same_name_are_refused_with_what_changed(tmp_path: Path) -> None:
    path = at_a_checkpoint(tmp_path)
    digests = load_checkpoint(path)["data"]
    assert set(digests) == {"train", "val", "test"}
    path = at_a_checkpoint(tmp_path / "again", data=digests | {"val": "0" * 64})
    with pytest.raises(CheckpointError) as caught:
        run_tiny(tmp_path / "again")
    assert str(caught.value) == (
        f"The data changed since {path} was written: val are other examples now; put back what was there, or remove "
        f"{path.parents[2]} to start again."
    )


def test_a_checkpoint_from_before_formats_had_numbers_is_read_and_its_data_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = at_a_checkpoint(tmp_path)
    state = load_checkpoint(path)
    save_checkpoint(path, {key: value for key, value in state.items() if key not in ("format", "data", "kept")})
    run = run_tiny(tmp_path)
    assert [line for line in caplog.messages if "does not say of which data" in line] == [
        f"warning: {path} does not say of which data it is; those of now are recorded in it."
    ]
    assert load_checkpoint(path)["data"] == state["data"] and run.summary["rows"]


def test_a_checkpoint_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = at_a_checkpoint(tmp_path, format=99)
    with pytest.raises(CheckpointError, match=rf"^{path} is of format 99, which a later version writes: take that\.$"):
        run_tiny(tmp_path)


def test_what_a_later_version_adds_to_the_progress_is_no_obstacle(tmp_path: Path) -> None:
    path = at_a_checkpoint(tmp_path)
    save_checkpoint(path, (state := load_checkpoint(path)) | {"progress": state["progress"] | {"later": 1}})
    assert run_tiny(tmp_path).summary["rows"]


def test_the_record_of_a_phase_is_forgotten_with_what_followed_it(tmp_path: Path) -> None:
    lines = (run_tiny(tmp_path).directory / "metrics.jsonl").read_text().splitlines()
    assert [*dict.fromkeys(json.loads(line)["phase"] for line in lines)] == [
        "regularise",
        "finetune/paper_sparsity",
        "finetune/last",
    ]
