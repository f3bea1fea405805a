"""A crash loses nothing: the same command again ends where the uninterrupted run ends, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts import train
from sparsity import config, provenance
from sparsity.report.reading import load_summary
from sparsity.run import pipeline
from sparsity.run.phase import Phase
from sparsity.settings import MachineSettings
from sparsity.weights.checkpoints import CheckpointError, load_checkpoint
from tests.tiny_runs import TINY_OVERRIDES, TinyRun, tiny_experiment

REPOSITORY = Path(__file__).resolve().parents[2]
# LeNet-5 on handwritten digits: 18 steps, 3 evaluations and prunes; then two final phases of 4 steps
DIGITS = (
    *("scale=smoke", "machine=cpu", "machine.num_threads=1", "machine.checkpoint_every_seconds=0", "tracking=none"),
    *("regularise.batch_size=10", "finetune.batch_size=10", "regularise.max_steps=18"),
    *("regularise.evaluate_every_steps=6", "finetune.max_steps=4"),
    *("gate.bound=0", "schedule.fraction=0.3", "gate.target_sparsity=0.5"),
)
CHECKPOINTS = ("regularise/last", "regularise/last_network", "finetune/last/best", "finetune/paper_sparsity/best")
TIMELESS = ("baseline", "gate", "plan", "regularise", "rows", "missing_starts", "frontier", "fingerprint")

Train = Callable[..., None]


@pytest.fixture(scope="module")
def monkeymodule() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def run_script(monkeymodule: pytest.MonkeyPatch) -> Train:
    """`scripts/train.py OVERRIDES` in this process, which spares the import of torch."""

    def run(*overrides: str) -> None:
        monkeymodule.setenv("HYDRA_FULL_ERROR", "0")
        monkeymodule.setattr(sys, "argv", ["scripts/train.py", *overrides])
        config.command(train.main)

    return run


def directory_of(results: Path) -> Path:
    (path,) = (results / "runs").glob("lenet5_mnist/*/seed0")
    return path


def script(results: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The run as a process of its own."""
    command = [sys.executable, "scripts/train.py", *DIGITS, f"results_dir={results}"]
    return subprocess.run(command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True)


# Python runs a module of this name first; it kills the process when a checkpoint is opened or renamed for the n-th time
SITECUSTOMIZE = """
import os, signal, sys
left = int(os.environ["KILL_AT"])
def hook(event, arguments):
    global left
    if event in ("open", "os.rename") and "checkpoints" in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


def kill_at(results: Path, number: int) -> None:
    """Start the run and kill it at the given opening or renaming of a checkpoint."""
    (results / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join([str(results), str(REPOSITORY)])
    assert script(results, PYTHONPATH=path, KILL_AT=str(number)).returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, run_script: Train) -> Path:
    """The directory of the uninterrupted run."""
    results = tmp_path_factory.mktemp("whole")
    run_script(*DIGITS, f"results_dir={results}")
    return directory_of(results)


@pytest.fixture(scope="module", params=[1, pytest.param(3, marks=pytest.mark.slow)])
def resumed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, run_script: Train) -> Path:
    """The directory of a run that was killed so many times, at moments drawn once and for all, and then left alone."""
    results = tmp_path_factory.mktemp("resumed")
    chance = random.Random(20220411)
    for _ in range(request.param):
        kill_at(results, chance.randint(6, 16))  # three evaluations open and rename some 30 times
    run_script(*DIGITS, f"results_dir={results}")
    return directory_of(results)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_after_a_kill_weights_and_masks_are_those_of_the_uninterrupted_run(
    whole: Path, resumed: Path, name: str
) -> None:
    ours, theirs = (load_checkpoint(path / "checkpoints" / f"{name}.pt") for path in (resumed, whole))
    for kind in ("weights", "masks"):
        assert list(ours[kind]) == list(theirs[kind])
        for parameter, value in theirs[kind].items():
            assert torch.equal(ours[kind][parameter], value), f"{kind} of {parameter}"


def test_after_a_kill_the_summary_is_that_of_the_uninterrupted_run(whole: Path, resumed: Path) -> None:
    ours, theirs = (json.loads((path / "summary.json").read_text()) for path in (resumed, whole))
    assert {key: ours[key] for key in TIMELESS} == {key: theirs[key] for key in TIMELESS}
    assert [row["start"] for row in theirs["rows"]] == ["paper_sparsity", "last"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "curve.jsonl", "layers.csv"])
def test_after_a_kill_the_record_has_each_row_once(whole: Path, resumed: Path, name: str) -> None:
    assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_the_same_command_on_a_finished_run_imports_no_torch_and_changes_nothing(whole: Path) -> None:
    files = [path for path in whole.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    # a module of that name before the real one ends the process that imports it
    trap = whole.parents[3]
    (trap / "torch.py").write_text("raise SystemExit('torch was imported')")
    again = script(trap, PYTHONPATH=os.pathsep.join([str(trap), str(REPOSITORY)]))
    assert again.stdout.splitlines()[-1] == "already done; force=true runs it again"
    assert (again.returncode, again.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


def test_force_runs_a_finished_run_again(run_script: Train, tmp_path: Path) -> None:
    overrides = (*TINY_OVERRIDES, f"results_dir={tmp_path}")
    run_script(*overrides)
    directory = directory_of(tmp_path)
    (directory / "left-over.txt").touch()
    run_script(*overrides, "force=true")
    assert provenance.is_done(directory)
    assert not (directory / "left-over.txt").exists()


class CrashError(Exception):
    """Stands for a crash just after an evaluation went into the record."""


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    report, seen = Phase._report, [0]

    def reported(self: Phase, *arguments: Any) -> None:
        report(self, *arguments)
        seen[0] += 1
        if seen[0] == number:
            raise CrashError

    monkeypatch.setattr(Phase, "_report", reported)


@pytest.mark.parametrize("number", [1, 5, 9, 10])
def test_a_crash_before_the_first_checkpoint_of_a_phase_leaves_no_doubled_rows(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    experiment = tiny_experiment(tmp_path, machine=MachineSettings("cpu", checkpoint_every_seconds=1e9))
    crash_at(monkeypatch, number)
    with pytest.raises(CrashError):
        pipeline.run(experiment)
    directory = provenance.run_directory(experiment.settings)
    last = load_checkpoint(directory / "checkpoints" / "regularise" / "last.pt")
    assert last["progress"]["num_evaluations"] == (8 if number > 8 else 0), "of its begin, or of its end"
    pipeline.run(experiment)
    assert (directory / "metrics.jsonl").read_bytes() == (tiny_run.directory / "metrics.jsonl").read_bytes()


@pytest.fixture
def crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An experiment that crashed after five evaluations, and the last checkpoint of its regularised phase."""
    experiment = tiny_experiment(tmp_path)
    crash_at(monkeypatch, 5)
    with pytest.raises(CrashError):
        pipeline.run(experiment)
    return experiment, provenance.run_directory(experiment.settings) / "checkpoints" / "regularise" / "last.pt"


def test_of_a_damaged_checkpoint_the_one_before_is_used_and_said(
    crashed: Any, tiny_run: TinyRun, caplog: pytest.LogCaptureFixture
) -> None:
    experiment, last = crashed
    last.write_bytes(last.read_bytes()[:-100])
    assert pipeline.run(experiment).rows == load_summary(tiny_run.directory).rows
    assert any(str(last) in message and message.endswith("The one before it is used.") for message in caplog.messages)


def test_where_all_checkpoints_are_damaged_the_user_is_told_what_to_remove(crashed: Any) -> None:
    experiment, last = crashed
    for path in (last, last.with_name("last.previous.pt")):
        path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError) as caught:
        pipeline.run(experiment)
    assert f"Remove {last.parent}, and the run's summary.json if there is one, to train" in str(caught.value)
    shutil.rmtree(last.parent)
    assert pipeline.run(experiment).regularise.num_prunes == 8


def test_many_runs_of_one_command_have_a_directory_each(run_script: Train, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    run_script("-m", *TINY_OVERRIDES, f"results_dir={tmp_path}/results", "seed=0,1", "pruner=relevance,l2")
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("results/runs/lenet5_mnist/*/*/summary.json")]
    assert sorted((s["pruner"], s["seed"]) for s in summaries) == [
        ("l2", 0), ("l2", 1), ("relevance", 0), ("relevance", 1),
    ]  # fmt: skip
    assert not (REPOSITORY / "multirun.yaml").exists()


def test_of_many_runs_one_that_fails_does_not_stop_the_others(
    run_script: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_script("-m", *TINY_OVERRIDES, f"results_dir={tmp_path}", "regularise.batch_size=41,10")
    assert str(caught.value.code).startswith("error: regularise.batch_size=41 is more than")
    assert "'regularise.batch_size=41'" in capsys.readouterr().err
    assert len(list(tmp_path.glob("runs/lenet5_mnist/*/*/summary.json"))) == 1


def test_force_does_not_wipe_a_run_whose_job_was_put_back_into_the_queue(
    run_script: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*TINY_OVERRIDES, f"results_dir={tmp_path}", "force=true")
    run_script(*overrides)
    (directory_of(tmp_path) / "left-over.txt").touch()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run_script(*overrides)
    assert (directory_of(tmp_path) / "left-over.txt").exists()
