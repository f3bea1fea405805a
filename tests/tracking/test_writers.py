"""Who is told what happens: the record can be cut back, a mirror never fails a run, W&B never asks."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsity.settings import TrackingSettings
from sparsity.tracking.record import JsonlWriter, Row, recorded
from sparsity.tracking.wandb_writer import wandb_mode
from sparsity.tracking.writers import ConsoleWriter, Mirrors
from tests import tiny_runs
from tests.tiny_runs import TinyNet, TinyRun
from tests.tracking import wandb_file


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_record_keeps_one_step_in_so_many_and_every_evaluation(tmp_path: Path) -> None:
    with JsonlWriter(tmp_path / "new" / "metrics.jsonl", every_steps=2) as log:
        log.write_steps([{"step": step} for step in range(1, 5)])
        log.write_evaluation({"step": 5})
    assert lines(tmp_path / "new" / "metrics.jsonl") == [
        {"kind": "step", "step": 2},
        {"kind": "step", "step": 4},
        {"kind": "evaluation", "step": 5},
    ]


def test_the_record_is_cut_back_and_goes_on_from_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with JsonlWriter(path, 1) as log:
        log.write_evaluation({"phase": "a", "step": 1})
        position = log.position()
        log.write_evaluation({"phase": "a", "step": 2})
    with path.open("a") as file:
        file.write('{"kind": "eval')  # killed while it wrote
    with JsonlWriter(path, 1) as log:
        log.cut(position)
        log.write_evaluation({"phase": "a", "step": 3})
    assert [row["step"] for row in lines(path)] == [1, 3]


def test_what_a_checkpoint_counts_on_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, on_disk = os.fsync, []

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        on_disk.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", noting)
    with JsonlWriter(tmp_path / "metrics.jsonl", every_steps=1) as log:
        log.write_evaluation({"step": 1})
        assert on_disk == []
        assert [log.position()] == on_disk


def test_a_record_that_lost_what_a_checkpoint_counts_on_is_refused(tmp_path: Path) -> None:
    with JsonlWriter(tmp_path / "metrics.jsonl", 1) as log, pytest.raises(ValueError) as caught:
        log.cut(1)
    assert str(caught.value) == (
        f"{tmp_path / 'metrics.jsonl'} is shorter than when the last checkpoint was written: "
        f"put it back, or remove {tmp_path} to start again."
    )


def test_a_record_that_was_damaged_is_refused_when_its_run_goes_on_and_not_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with JsonlWriter(path, 1) as log:
        for step in (1, 2, 3):
            log.write_evaluation({"phase": "a", "step": step})
        position = log.position()
    path.write_bytes(path.read_bytes().replace(b'"step": 2', b'"step"\0\0\0'))
    with (
        JsonlWriter(path, 1) as log,
        pytest.raises(ValueError, match="is damaged in line 2: put the file back, or rem"),
    ):
        log.cut(position)


class Listener:
    """A mirror that remembers, and fails from a given call on."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.heard: list[Any] = []
        self._fails_at = fails_at

    def _hear(self, what: Any) -> None:
        self.heard.append(what)
        if len(self.heard) == self._fails_at:
            raise ConnectionError("no route to host")

    write_steps = write_evaluation = write_summary = write_figures = finish = _hear


def test_a_mirror_that_fails_is_named_once_and_dropped_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Listener(), Listener(fails_at=2)
    mirrors = Mirrors()
    mirrors.open("bad", lambda: bad)
    mirrors.open("good", lambda: good)
    mirrors.write_steps([{"step": 1}])
    mirrors.write_evaluation({"step": 1})
    mirrors.write_summary({"rows": []})
    mirrors.finish(0)
    assert good.heard == [[{"step": 1}], {"step": 1}, {"rows": []}, 0]
    assert bad.heard == [[{"step": 1}], {"step": 1}, 1]  # it is closed, as a run that failed
    assert caplog.messages == ["warning: bad failed, the run goes on without it: no route to host"]


def test_a_mirror_that_cannot_be_opened_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Listener:
        raise TimeoutError("took too long")

    mirrors = Mirrors()
    mirrors.open("W&B", broken)
    mirrors.finish(0)
    assert caplog.messages == ["warning: W&B could not be opened, the run goes on without it: took too long"]


NO_LOGIN: dict[str, str] = {"NETRC": "/dev/null"}
KEY = NO_LOGIN | {"WANDB_API_KEY": "x" * 40}


@pytest.mark.parametrize(
    ("mode", "environment", "expected"),
    [
        ("auto", NO_LOGIN, "offline"),
        ("auto", KEY, "online"),
        ("auto", KEY | {"WANDB_MODE": "offline"}, "offline"),
        ("auto", KEY | {"WANDB_MODE": "disabled"}, "disabled"),
        ("auto", NO_LOGIN | {"WANDB_MODE": "online"}, "offline"),
        ("offline", KEY, "offline"),
        ("offline", KEY | {"WANDB_MODE": "online"}, "offline"),
        ("online", KEY | {"WANDB_MODE": "offline"}, "online"),
        ("online", NO_LOGIN, "offline"),
    ],
)
def test_wandb_is_online_only_with_a_login_and_never_asks(
    monkeypatch: pytest.MonkeyPatch, mode: str, environment: dict[str, str], expected: str
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode(mode) == expected


def test_who_asks_for_online_without_a_login_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NETRC", "/dev/null")
    wandb_mode("online")
    assert caplog.messages == [
        "warning: no W&B login is there, so it works offline; run `wandb login` once to be online."
    ]


@pytest.mark.parametrize(
    ("netrc", "address", "expected"),
    [
        ("machine api.wandb.ai login user password {key}", "", "online"),
        ("machine wandb.example.org login user password {key}", "", "offline"),
        ("machine wandb.example.org login user password {key}", "https://wandb.example.org", "online"),
        ("nonsense", "", "offline"),
    ],
)
def test_a_login_is_read_from_netrc_for_the_server_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, netrc: str, address: str, expected: str
) -> None:
    (tmp_path / "netrc").write_text(netrc.format(key="x" * 40) + "\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.delenv("WANDB_MODE")
    assert wandb_mode("auto") == expected


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyRun, Path]:
    """A tiny training with an offline W&B run, and its file."""
    results = tmp_path_factory.mktemp("mirrored")
    run = tiny_runs.tiny_run(results, tracking=TrackingSettings(mode="offline"))
    (path,) = run.directory.glob("wandb/offline-run-*/*.wandb")
    return run, path


def test_an_offline_run_read_back_holds_the_series_of_every_layer(mirrored: tuple[TinyRun, Path]) -> None:
    run, path = mirrored
    rows = wandb_file.history(path)
    evaluations = run.rows("evaluation")
    for name, _ in TinyNet().named_parameters():
        for key in (f"sparsity/layer/{name}", f"irrelevance/layer/{name}/mean", "penalty/value"):
            assert [row[key] for row in rows if key in row] == [row[key] for row in evaluations if key in row]


def test_an_offline_run_read_back_holds_each_step_on_its_own_axis(mirrored: tuple[TinyRun, Path]) -> None:
    run, path = mirrored
    rows, steps = wandb_file.history(path), run.rows("step")
    for key in ("train/loss", "penalty/lambda", "train/learning_rate"):
        mine = [(row["global_step"], row[key]) for row in steps if key in row]
        assert [(row["global_step"], row[key]) for row in rows if key in row] == mine and mine


def test_every_series_of_an_offline_run_is_drawn_over_the_steps_of_all_phases(mirrored: tuple[TinyRun, Path]) -> None:
    assert wandb_file.axes(mirrored[1])["*"] == "global_step"


def test_an_offline_run_read_back_holds_what_the_gate_said(mirrored: tuple[TinyRun, Path]) -> None:
    rows = [row for row in wandb_file.history(mirrored[1]) if "prune/done" in row]
    assert [row["prune/done"] for row in rows] == 8 * [True] + 2 * [False]
    assert rows[0]["prune/reason"].endswith("is above the bound 0.00")


def test_an_offline_run_read_back_holds_the_papers_row_beside_ours(mirrored: tuple[TinyRun, Path]) -> None:
    run, path = mirrored
    summary = wandb_file.summary(path)
    assert summary["paper/metric"] == 99.0
    assert summary["protocol"] == run.summary["protocol"]
    assert summary["ours/last/test"] == run.summary["rows"][1]["test"]
    assert wandb_file.exit_code(path) == 0


def test_an_offline_run_is_grouped_by_experiment_and_pruner_and_tagged_with_its_seed(
    mirrored: tuple[TinyRun, Path],
) -> None:
    (run,) = [record.run for record in wandb_file.records(mirrored[1]) if record.WhichOneof("record_type") == "run"]
    assert (run.run_group, run.job_type) == ("tiny", "relevance")
    assert {"tiny", "relevance", "seed0", "sweep-unnamed"} <= set(run.tags)


def test_an_offline_run_says_nothing_of_the_machine_and_its_folders(mirrored: tuple[TinyRun, Path]) -> None:
    """`debug.log` beside it stays here."""
    run, path = mirrored
    (opened,) = [record.run for record in wandb_file.records(path) if record.WhichOneof("record_type") == "run"]
    assert opened.host == "-"
    sent = [path, *(file for file in path.parent.joinpath("files").rglob("*") if file.is_file())]
    script = sys.argv[0] if Path(sys.argv[0]).is_absolute() else sys.executable  # a worker of xdist has "-c" there
    for word in (str(run.directory.parents[3]), str(Path.cwd()), sys.executable, script):
        assert not [file.name for file in sent if word.encode() in file.read_bytes()], word


def test_an_offline_run_brings_its_figures_and_a_table_against_the_paper(mirrored: tuple[TinyRun, Path]) -> None:
    media = {path.suffix for path in mirrored[1].parent.joinpath("files", "media").rglob("*") if path.is_file()}
    assert media == {".png", ".json"}
    keys = {key.partition("/")[0] for row in wandb_file.history(mirrored[1]) for key in row}
    assert {"figures", "against_the_paper"} <= keys


def row(**changes: Any) -> Row:
    values = {"phase": "regularise", "global_step": 10, "val/accuracy": 98.7, "sparsity/total": 0.5}
    return values | {"prune/count": 3, "prune/reason": "98.70 is above the bound 98.00"} | changes


def test_the_terminal_says_in_one_line_where_the_run_stands(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleWriter(100, "accuracy", prunes_needed=7).write_evaluation(row())
    line = capsys.readouterr().out
    assert " ".join(line.split()) == (
        "regularise step 10/100 val accuracy 98.70 sparsity 50.00 % prunes 3/7 98.70 is above the bound 98.00"
    )


def test_the_terminal_gives_the_pace_from_the_second_evaluation_on(capsys: pytest.CaptureFixture[str]) -> None:
    console = ConsoleWriter(100, "accuracy", prunes_needed=None)
    console.write_evaluation(row())
    console.write_evaluation(row(global_step=20))
    first, second = capsys.readouterr().out.splitlines()
    assert "step/s" not in first and "step/s" in second


def test_a_bar_stands_where_there_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    console = ConsoleWriter(100, "accuracy", prunes_needed=None)
    console.write_evaluation(row())
    assert (console._bar.tasks[0].completed, console._bar.tasks[0].total) == (10, 100)
    console.finish(0)
    assert not console._bar.live.is_started


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b"[]\n", b'{"kind": "step"}\n', b'{"kind": "step", "phase": "a"}'])
def test_a_damaged_line_of_the_record_is_named_with_the_way_out(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"kind": "step", "phase": "a", "step": 1}\n' + damage)
    with pytest.raises(ValueError) as caught:
        list(recorded(path))
    assert str(caught.value) == (
        f"{path} is damaged in line 2: put the file back, or remove {tmp_path}/checkpoints/a to train from that phase "
        "on again."
    )
    path.write_bytes(damage)
    with pytest.raises(ValueError, match=rf"in line 1: put the file back, or remove {tmp_path} to start again\."):
        list(recorded(path))
