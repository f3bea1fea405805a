"""Kept states go with the checkpoint that a phase resumes from, and so does the record of a phase that starts anew."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity import provenance
from sparsity.run import pipeline
from sparsity.run.kept_states import KeptStates
from sparsity.run.phase import Interrupted, Phase
from sparsity.weights.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from tests.tiny_runs import TinyRun, tiny_experiment, tiny_run


def test_a_state_lies_aside_until_a_checkpoint_settles_it(tmp_path: Path) -> None:
    kept = KeptStates(tmp_path)
    kept.keep("best", {"value": 1}, is_settled=True)
    kept.keep("best", {"value": 2}, is_settled=False)
    assert kept.aside == ["best"] and kept.load("best") == {"value": 2}
    kept.settle(["best"])
    assert kept.aside == [] and kept.load("best") == {"value": 2}


def test_a_state_of_a_future_that_is_gone_goes_and_the_one_before_it_is_back(tmp_path: Path) -> None:
    kept = KeptStates(tmp_path)
    kept.keep("best", {"value": 1}, is_settled=True)
    kept.keep("best", {"value": 2}, is_settled=False)
    kept.keep("paper_sparsity", {"value": 2}, is_settled=False)
    kept.settle([])
    assert kept.load("best") == {"value": 1} and not kept.has("paper_sparsity")


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
    assert (folder / "paper_sparsity.aside.pt").is_file() and not (folder / "paper_sparsity.pt").exists()
    resumed, whole = tiny_run(tmp_path / "lost"), tiny_run(tmp_path / "whole")
    assert resumed.curve("regularise") == whole.curve("regularise")
    assert not list(folder.glob("*.aside.pt"))
    for name in ("best", "paper_sparsity", "last_network"):
        ours, theirs = (
            load_checkpoint(run.directory / f"checkpoints/regularise/{name}.pt") for run in (resumed, whole)
        )
        assert all(torch.equal(ours["weights"][key], value) for key, value in theirs["weights"].items())


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
        tiny_run(tmp_path / "again")
    assert str(caught.value) == (
        f"The data changed since {path} was written: val are other examples now; put back what was there, or start "
        "anew with force=true."
    )


def test_a_checkpoint_from_before_formats_had_numbers_is_read_and_its_data_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = at_a_checkpoint(tmp_path)
    state = load_checkpoint(path)
    save_checkpoint(path, {key: value for key, value in state.items() if key not in ("format", "data", "kept")})
    run = tiny_run(tmp_path)
    assert [line for line in caplog.messages if "does not say of which data" in line] == [
        f"warning: {path} does not say of which data it is; those of now are recorded in it."
    ]
    assert load_checkpoint(path)["data"] == state["data"] and run.summary["rows"]


def test_a_checkpoint_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = at_a_checkpoint(tmp_path, format=99)
    with pytest.raises(CheckpointError, match=rf"^{path} is of format 99, which a later version writes: take that\.$"):
        tiny_run(tmp_path)


def test_what_a_later_version_adds_to_the_progress_is_no_obstacle(tmp_path: Path) -> None:
    path = at_a_checkpoint(tmp_path)
    save_checkpoint(path, (state := load_checkpoint(path)) | {"progress": state["progress"] | {"later": 1}})
    assert tiny_run(tmp_path).summary["rows"]


def test_the_record_of_a_phase_is_forgotten_with_what_followed_it(tmp_path: Path) -> None:
    lines = (tiny_run(tmp_path).directory / "metrics.jsonl").read_text().splitlines()
    assert [*dict.fromkeys(json.loads(line)["phase"] for line in lines)] == [
        "regularise",
        "finetune/paper_sparsity",
        "finetune/last",
    ]
