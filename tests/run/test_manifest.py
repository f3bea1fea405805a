"""The record tells its past: which processes trained a run, from which step on, and what they ran."""

from pathlib import Path
from typing import Any

import pytest

from sparsity import provenance
from sparsity.files import write_json
from sparsity.run import pipeline
from sparsity.run.manifest import Manifest
from sparsity.run.phase import Interrupted
from tests.tiny_runs import TinyRun, tiny_experiment, tiny_run


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the next processes are told that their commit is, first to last."""
    names: list[str] = []
    origin = provenance.origin

    def from_list() -> dict[str, Any]:
        return origin() | {"commit": names.pop(0), "dirty": False}

    monkeypatch.setattr(provenance, "origin", from_list)
    return names


def test_a_resumed_run_names_all_processes_with_the_step_from_which_each_trained(
    tmp_path: Path, commits: list[str]
) -> None:
    commits += ["aaa", "bbb"]
    experiment = tiny_experiment(tmp_path)
    with pytest.raises(Interrupted):
        pipeline.run(experiment, interrupt_after=3)
    pipeline.run(experiment)
    run = TinyRun(provenance.run_directory(experiment.settings))
    history = run.summary["provenance"]["history"]
    assert [(process["first_step"], process["commit"]) for process in history] == [(0, "aaa"), (6, "bbb")]
    assert run.summary["provenance"]["commit"] == "bbb"


def test_a_run_of_one_process_has_no_history(tmp_path: Path) -> None:
    assert tiny_run(tmp_path).summary["provenance"]["history"] == []


def started(directory: Path, step: int | None) -> Manifest:
    made = Manifest(directory, "cpu", "fp32")
    if step is not None:
        made.began(step)
    return made


def test_what_a_process_had_done_beyond_the_checkpoint_is_not_its_part_of_the_run(tmp_path: Path) -> None:
    for step in (0, 10, 10):
        last = started(tmp_path, step)
    assert [process.first_step for process in last.processes] == [0, 10]
    assert [process.first_step for process in started(tmp_path, 4).processes] == [0, 4]


def test_who_goes_on_at_another_commit_is_warned_before_the_run_is_a_mixture(
    tmp_path: Path, commits: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    commits += ["a" * 40, "a" * 40, "b" * 40]
    started(tmp_path, 0)
    started(tmp_path, 4)
    assert not caplog.messages
    started(tmp_path, None)
    (said,) = caplog.messages
    assert said.startswith(f"warning: this run was trained at commit {'a' * 10} and would go on at {'b' * 10}: ")


def test_a_process_that_ended_before_its_first_step_has_no_part_in_the_run(tmp_path: Path) -> None:
    started(tmp_path, 0)
    started(tmp_path, None)
    assert [process.first_step for process in started(tmp_path, 8).processes] == [0, 8]


def test_the_manifest_of_a_run_from_before_there_was_a_history_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"status": "failed", "reason": "no space", "commit": "aaa"})
    assert [process.first_step for process in started(tmp_path, 8).processes] == [8]
