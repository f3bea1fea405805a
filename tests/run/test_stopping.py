"""A signal ends a run after the step in flight, with a checkpoint; a second one ends it at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import pytest
import torch

from sparsity import provenance
from sparsity.run import pipeline, stopping
from sparsity.run.gating import GatedPruning
from sparsity.run.stopping import RESTART, Children, Stopped, watched
from sparsity.settings import MachineSettings, PhaseSettings
from sparsity.training.loop import Trainer
from tests.tiny_runs import TinyRun, tiny_experiment, tiny_run

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_the_first_signal_is_a_request_and_the_handlers_of_before_are_back_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with watched() as request:
        os.kill(os.getpid(), number)
        assert request.number == number and signal.getsignal(number) == before
    with pytest.raises(Stopped) as caught:
        request.raise_if_made()
    assert caught.value.code == (130 if number == signal.SIGINT else RESTART)


def test_who_awaited_the_signal_has_it_once_all_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    handed_on: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: handed_on.append(number))
    try:
        with watched() as request:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert handed_on == []
            with pytest.raises(Stopped):
                request.raise_if_made()
        assert handed_on == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_without_a_signal_all_is_as_it_was() -> None:
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with watched() as request:
        assert request.number is None
    request.raise_if_made()
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


@pytest.mark.parametrize("step", [1, 4, 13, 21, 30])  # the final phases begin at 16 and 24
def test_a_run_stopped_at_any_step_goes_on_with_the_bits_and_the_record_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    rarely = MachineSettings("cpu", checkpoint_every_seconds=1e9)  # which is no reason to lose what was trained
    whole, experiment = tiny_run(tmp_path / "whole"), tiny_experiment(tmp_path / "cut", machine=rarely)
    run = TinyRun(provenance.run_directory(experiment.settings))
    train_step, made = Trainer.train_step, [0]

    def and_signal(self: Trainer, observe: bool = False) -> None:
        train_step(self, observe)
        made[0] += 1
        if made[0] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(Trainer, "train_step", and_signal)
        pipeline.run(experiment)
    manifest = provenance.read_manifest(run.directory)
    assert (manifest["status"], manifest["reason"]) == ("interrupted", "SIGTERM")
    pipeline.run(experiment)
    assert (run.directory / "metrics.jsonl").read_bytes() == (whole.directory / "metrics.jsonl").read_bytes()
    assert all(torch.equal(run.weights[name], weight) for name, weight in whole.weights.items())
    assert [process["first_step"] for process in run.summary["provenance"]["history"]] == [0, step]


def test_a_signal_at_the_evaluation_that_ends_a_phase_stops_the_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: GatedPruning, reached: float) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "enough"

    experiment = tiny_experiment(tmp_path)
    monkeypatch.setattr(GatedPruning, "_stop", stop)
    with pytest.raises(Stopped):
        pipeline.run(experiment)
    summary = pipeline.run(experiment)
    assert (summary.regularise.stopped, summary.regularise.num_evaluations) == ("enough", 1)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, [3, 6, 11, 14]), (4.5, [5, 10, 15])])
def test_a_phase_without_evaluations_for_long_leaves_checkpoints_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: list[int]
) -> None:
    from sparsity.run import phase

    once_an_epoch = PhaseSettings(num_epochs=2, batch_size=5)  # of 8 steps
    changes = {"regularise": once_an_epoch, "machine": MachineSettings("cpu", checkpoint_every_seconds=seconds)}
    whole = tiny_run(tmp_path / "whole", **changes)
    now, train_step = [0.0], Trainer.train_step

    def taking_a_second(self: Trainer, observe: bool = False) -> None:
        train_step(self, observe)
        now[0] += 1

    monkeypatch.setattr(Trainer, "train_step", taking_a_second)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(phase, "LONGEST_WITHOUT_CHECKPOINT", 2.5)
    paused: list[int] = []
    pause = phase.Phase._pause

    def noted(self: phase.Phase, *arguments: Any) -> None:
        paused.append(self.trainer.step)
        pause(self, *arguments)

    monkeypatch.setattr(phase.Phase, "_pause", noted)
    often = tiny_run(tmp_path / "often", **changes)
    assert paused[: len(expected)] == expected
    assert (often.directory / "metrics.jsonl").read_bytes() == (whole.directory / "metrics.jsonl").read_bytes()


def script(results: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "scripts/train.py", "scale=smoke", "machine=cpu", "tracking=none", *words]
    place = f"results_dir={results}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*command, place], cwd=REPOSITORY, **pipes)  # type: ignore[call-overload]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, RESTART), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_the_script_ends_with_the_status_that_says_what_to_do_and_one_sentence(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with script(tmp_path) as process:
        wait_for(lambda: any(tmp_path.rglob("checkpoints/regularise/best*.pt")))
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == status
    last = said.splitlines()[-1]
    assert last.startswith(f"{number.name}: regularise stopped at step ") and last.endswith(
        "; the same command goes on."
    )
    assert "Traceback" not in said
    (manifest,) = tmp_path.rglob("manifest.json")
    assert json.loads(manifest.read_text())["status"] == "interrupted"


def test_children_are_handed_a_signal_once_and_no_more_are_started(tmp_path: Path) -> None:
    wait = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); time.sleep(60)"
    children = Children()
    with pytest.raises(Stopped) as caught, children.guarded():
        Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        statuses: list[int] = []
        first = Thread(target=lambda: statuses.append(children.run([sys.executable, "-c", wait])))
        first.start()
        while first.is_alive():
            first.join(0.1)
        assert children.run([sys.executable, "-c", "raise SystemExit(3)"]) == RESTART
    assert statuses == [75] and caught.value.code == RESTART


def test_a_child_that_is_just_starting_gets_the_signal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children()

    class Started(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Started)
    with pytest.raises(Stopped), children.guarded():
        assert children.run([sys.executable, "-c", "import time; time.sleep(60)"]) == -signal.SIGTERM
