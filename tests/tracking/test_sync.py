"""Offline runs reach W&B: as they are where the file is whole, else caught up with from the record."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import sync as script
from sparsity.files import locked
from sparsity.settings import TrackingSettings
from sparsity.tracking import sync
from sparsity.tracking.record import rows_of
from sparsity.tracking.wandb_writer import ARRIVED, FOLDER
from tests import tiny_runs
from tests.tracking.ingest import Ingest


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one run and its offline file."""
    results = tmp_path_factory.mktemp("offline")
    tiny_runs.tiny_run(results, tracking=TrackingSettings(mode="offline"))
    return results


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "results")
    return tmp_path / "results"


def only(results: Path) -> tuple[Path, Path]:
    """The run's directory and its offline file."""
    (path,) = results.glob("runs/*/*/seed*/wandb/offline-run-*/*.wandb")
    return path.parents[2], path


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def fake_wandb(monkeypatch: pytest.MonkeyPatch, status: int = 0) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(returncode=status, stderr="permission\ndenied", stdout="")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_a_file_that_wandb_has_written_is_whole(results: Path) -> None:
    assert sync.is_whole(only(results)[1])


def test_a_changed_byte_and_a_missing_end_are_damage(results: Path) -> None:
    _, path = only(results)
    content = path.read_bytes()
    damage(path)
    assert not sync.is_whole(path)
    path.write_bytes(content[:-3])
    assert not sync.is_whole(path)
    path.write_bytes(b"")
    assert not sync.is_whole(path)


def test_a_whole_file_is_sent_as_it_is(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, path = only(results)
    calls = fake_wandb(monkeypatch)
    assert sync.send(directory) == "sent"
    assert calls[0][1:] == ["-m", "wandb", "sync", str(path.parent)]


def test_a_refusal_is_wandbs_own_word_in_one_line(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wandb(monkeypatch, status=1)
    with pytest.raises(ValueError, match=r"W&B did not take .*: permission denied"):
        sync.send(only(results)[0])


@pytest.mark.parametrize("hurt", ["damaged", "twice"])
def test_a_damaged_file_and_files_that_overlap_are_replaced_by_the_record(
    results: Path, service: Ingest, hurt: str
) -> None:
    directory, path = only(results)
    if hurt == "damaged":
        damage(path)
    else:
        shutil.copytree(path.parent, path.parent.with_name("offline-run-20990101_000000-again"))
    assert sync.send(directory) == "caught up from metrics.jsonl"

    def evaluations(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
        found = [row for row in rows if "prune/done" in row]
        return [(row["global_step"], row["val/accuracy"], row["sparsity/total"]) for row in found]

    (rows,) = service.rows.values()
    assert evaluations(rows) == evaluations(list(rows_of(directory / "metrics.jsonl"))) != []
    assert list(service.exit_codes.values()) == [0]
    assert next(iter(service.summaries.values()))["paper/metric"] == 99.0
    assert "results_dir" in (directory / "config.yaml").read_text()
    assert "results_dir" not in next(iter(service.configs.values()))
    assert sync.unsent(results) == []


def test_a_run_that_was_cut_off_counts_as_failed_there(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    writer = SimpleNamespace(write_summary=lambda summary: None, finish=codes.append)
    monkeypatch.setattr(sync, "WandbWriter", lambda *_: writer)
    directory, _ = only(results)
    sync.catch_up(directory)
    (directory / "summary.json").unlink()
    sync.catch_up(directory)
    assert codes == [0, 1]


def test_what_was_sent_or_has_arrived_is_not_sent_again(results: Path) -> None:
    directory, path = only(results)
    assert sync.unsent(results) == [directory]
    synced = path.with_name(f"{path.name}.synced")
    synced.touch()
    assert sync.unsent(results) == []
    synced.unlink()
    (directory / FOLDER / ARRIVED).touch()
    assert sync.unsent(results) == []


def test_a_run_under_way_is_left_alone(results: Path) -> None:
    directory, _ = only(results)
    (directory / "summary.json").unlink()
    with locked(directory, wait=False):
        assert sync.unsent(results) == []


def test_a_last_line_that_was_cut_off_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"kind": "eval')
    assert list(rows_of(tmp_path / "metrics.jsonl")) == [{"step": 1}]


def test_without_offline_runs_there_is_nothing_to_send(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("Nothing to send")


def test_a_results_folder_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--results", str(tmp_path / "typo")]) == 1
    sentence = f"error: There is no folder {tmp_path}/typo; name the results folder, by default the repository's.\n"
    assert capsys.readouterr() == ("", sentence)


def test_without_a_login_nothing_is_sent_and_the_status_says_so(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert script.main(["--results", str(results)]) == 1
    assert "no W&B login is there" in caplog.text


def test_a_run_that_cannot_be_sent_stops_no_other(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = only(results)
    shutil.copytree(directory, directory.with_name("seed9"))
    shutil.copytree(directory, directory.with_name("seed9_backup"))
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    calls = fake_wandb(monkeypatch, status=1)
    assert script.main(["--results", str(results)]) == 1
    assert len(calls) == len(capsys.readouterr().err.splitlines()) == 2
