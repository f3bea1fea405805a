"""Online, W&B holds what the record holds, each row once, and never holds a run up."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sparsity import provenance
from sparsity.files import clear
from sparsity.run import pipeline
from sparsity.run.phase import Interrupted, Phase
from sparsity.settings import TrackingSettings
from sparsity.tracking import sync
from sparsity.tracking.record import Row, rows_of
from sparsity.tracking.wandb_writer import WandbWriter
from tests import tiny_runs
from tests.tiny_runs import TINY_OVERRIDES
from tests.tracking.ingest import Ingest

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 6.0  # of an outage; must be enough to open a run on a busy machine
AT_THE_END = 2  # rows of the table and of the figures


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert running_services() == ""


def running_services() -> str:
    command = ["pgrep", "-P", str(os.getpid()), "wandb-core"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def online(limit_seconds: float = 60.0) -> TrackingSettings:
    return TrackingSettings(mode="online", limit_seconds=limit_seconds)


def series(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What identifies a row of the record, in order."""
    keys = ("global_step", "phase", "train/loss", "val/accuracy", "prune/reason")
    return [tuple(row.get(key) for key in keys) for row in rows if "phase" in row]


def recorded(results: Path) -> list[dict[str, Any]]:
    (directory,) = provenance.seed_folders(results / "runs")
    return list(rows_of(directory / "metrics.jsonl"))


def of_mirrors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The warnings on those who are told of the run; what is amiss with its pruning is another matter."""
    return [each for each in caplog.records if each.levelno == logging.WARNING and "tracking" in each.name]


def arrived(service: Ingest) -> list[dict[str, Any]]:
    (rows,) = service.rows.values()
    return rows


def test_a_whole_run_arrives_row_by_row_and_nothing_is_left_to_send(service: Ingest, tmp_path: Path) -> None:
    tiny_runs.tiny_run(tmp_path, tracking=online())
    rows = recorded(tmp_path)
    assert series(arrived(service)) == series(rows)
    assert len(arrived(service)) == len(rows) + AT_THE_END
    assert list(service.exit_codes.values()) == [0]
    assert sync.unsent(tmp_path) == []


def test_a_resumed_run_arrives_as_one_that_was_never_interrupted_and_logs_no_row_twice(
    service: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_at, steps_of_calls = WandbWriter._log_at, list[int]()

    def noting(self: WandbWriter, step: int, values: Row) -> None:
        steps_of_calls.append(step)
        log_at(self, step, values)

    monkeypatch.setattr(WandbWriter, "_log_at", noting)
    experiment = tiny_runs.tiny_experiment(tmp_path, tracking=online())
    with pytest.raises(Interrupted):
        pipeline.run(experiment, interrupt_after=5)
    assert list(service.exit_codes.values()) == [1]
    first = [row["_step"] for row in arrived(service)]
    pipeline.run(experiment)
    assert first and steps_of_calls.count(first[-1]) == 1 and service.num_sent == len(arrived(service))
    assert series(arrived(service)) == series(recorded(tmp_path))
    assert list(service.exit_codes.values()) == [0]
    assert sync.unsent(tmp_path) == []


def test_rows_that_an_interrupted_run_could_not_send_arrive_when_it_is_resumed(service: Ingest, tmp_path: Path) -> None:
    experiment = tiny_runs.tiny_experiment(tmp_path, tracking=online())
    with pytest.raises(Interrupted):
        pipeline.run(experiment, interrupt_after=5)
    del arrived(service)[4:]
    pipeline.run(experiment)
    assert series(arrived(service)) == series(recorded(tmp_path))


def test_a_run_that_has_arrived_and_goes_on_in_an_outage_is_unsent_again(service: Ingest, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pipeline.run(tiny_runs.tiny_experiment(tmp_path, tracking=online()), interrupt_after=5)
    assert sync.unsent(tmp_path) == []
    service.is_out = True
    tiny_runs.tiny_run(tmp_path, tracking=online(1.0))
    assert len(sync.unsent(tmp_path)) == 1


def test_a_run_that_begins_anew_takes_the_place_of_what_wandb_has_of_it(service: Ingest, tmp_path: Path) -> None:
    run = tiny_runs.tiny_run(tmp_path, tracking=online())
    arrived(service)[:] = [{"_step": row["_step"]} for row in arrived(service)]
    clear(run.directory)
    tiny_runs.tiny_run(tmp_path, tracking=online())
    assert series(arrived(service)) == series(recorded(tmp_path))


@pytest.mark.slow  # waits for the limit of 6 seconds
def test_an_outage_in_mid_run_holds_the_end_up_for_no_longer_than_the_limit_and_sync_sends_the_rest(
    service: Ingest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    outage_from_evaluation(5, service, monkeypatch)
    seconds = seconds_of_finishing(monkeypatch)
    tiny_runs.tiny_run(tmp_path, tracking=online(LIMIT_SECONDS))
    assert seconds[0] < LIMIT_SECONDS + 3
    (warning,) = [record.getMessage() for record in of_mirrors(caplog)]
    assert warning.startswith("warning: W&B failed, the run goes on without it: ")
    assert warning.endswith("; `make sync` sends the rest later")
    assert capfd.readouterr().err == ""
    assert len(arrived(service)) < len(recorded(tmp_path))
    (directory,) = sync.unsent(tmp_path)
    service.is_out = False
    assert sync.send(directory) == "caught up from metrics.jsonl"
    assert series(arrived(service)) == series(recorded(tmp_path))
    assert list(service.exit_codes.values()) == [0]
    assert sync.unsent(tmp_path) == []


def outage_from_evaluation(number: int, service: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B is out from then on, after it has opened the run."""
    report, places = Phase._report, count(1)

    def reporting(self: Phase, *what: Any) -> None:
        report(self, *what)
        if next(places) == number:
            wait_for(lambda: bool(service.rows))
            service.is_out = True

    monkeypatch.setattr(Phase, "_report", reporting)


def seconds_of_finishing(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a run is held up by what closes the writer, a number for each time."""
    finish, seconds = WandbWriter.finish, list[float]()

    def finishing(self: WandbWriter, exit_code: int) -> None:
        begin = time.monotonic()
        try:
            finish(self, exit_code)
        finally:
            seconds.append(time.monotonic() - begin)

    monkeypatch.setattr(WandbWriter, "finish", finishing)
    return seconds


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_outage_from_the_start_leaves_the_record_whole_and_sync_sends_it_all(
    service: Ingest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.is_out = True
    tiny_runs.tiny_run(tmp_path, tracking=online(1.0))
    assert len(of_mirrors(caplog)) == 1
    assert service.rows == {}
    (directory,) = sync.unsent(tmp_path)
    service.is_out = False
    sync.send(directory)
    assert series(arrived(service)) == series(recorded(tmp_path))


def test_rows_that_wandb_refuses_are_not_taken_for_sent(
    service: Ingest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.refuses_rows = True
    tiny_runs.tiny_run(tmp_path, tracking=online())
    assert "the run goes on without it: it refused rows, see " in caplog.text
    assert len(sync.unsent(tmp_path)) == 1


def test_what_sync_cannot_send_is_still_unsent(
    service: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.refuses_rows = True
    tiny_runs.tiny_run(tmp_path, tracking=online())
    (directory,) = sync.unsent(tmp_path)
    with pytest.raises(ConnectionError, match="it refused rows"):
        sync.send(directory)
    assert sync.unsent(tmp_path) == [directory]


def test_a_run_that_is_stopped_by_hand_leaves_no_service_behind(
    service: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        service.is_out = True
        raise KeyboardInterrupt

    monkeypatch.setattr(Phase, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        tiny_runs.tiny_run(tmp_path, tracking=online(1.0))
    assert running_services() == ""


@pytest.mark.slow  # a process of its own imports torch
def test_a_process_ends_within_the_limit_when_wandb_is_out(service: Ingest, tmp_path: Path) -> None:
    overrides = [override for override in TINY_OVERRIDES if override != "tracking=none"]
    where = (f"results_dir={tmp_path}", "experiment=lenet5_mnist", "tracking=online")
    command = [sys.executable, "scripts/train.py", *where, *overrides, "tracking.limit_seconds=20"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: bool(service.rows))
    service.is_out = True
    wait_for(lambda: any(tmp_path.glob("runs/*/*/seed0/summary.json")))
    begin = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - begin < 20 + 30, output  # it draws figures first
    assert service.paths <= {"graphql", "file_stream"}, "W&B reports about itself, and waits for that at exit"
    assert process.returncode == 0 and output.count("`make sync` sends the rest later") == 1, output
