"""What is no data, whose temporary is whose, who holds a folder, and what the system refuses."""

import fcntl
import json
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsity import files
from sparsity.data.published.download import written_whole
from sparsity.files import BusyError, is_held, locked, remove_temporaries, temporary, visible, write_json, write_text
from sparsity.report.publish import write_atomically
from sparsity.weights.checkpoints import save_checkpoint

REPOSITORY = Path(__file__).resolve().parents[1]


def test_names_that_begin_with_a_dot_are_no_data(tmp_path: Path) -> None:
    root = tmp_path / ".cache"  # what lies above the folder is its owner's affair
    seen = [root / "b.json", root / "a" / "c.json"]
    hidden = [root / "._a.json", root / ".ipynb_checkpoints" / "c.json"]
    assert visible([*seen, *hidden], root) == sorted(seen)


def _through_download(path: Path) -> None:
    with written_whole(path) as out:
        out.write(b"written")


WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text(path, "written"),
    "checkpoint": lambda path: save_checkpoint(path, {"weights": 1}),
    "download": _through_download,
    "page": lambda path: write_atomically(path, b"written"),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_two_processes_may_write_one_file_at_the_same_time(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync, own = tmp_path / "file.json", os.fsync, os.getpid()

    def meanwhile_another(descriptor: int) -> None:
        fsync(descriptor)
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "getpid", lambda: own + 1)
        write(path)
        monkeypatch.setattr(os, "getpid", lambda: own)

    monkeypatch.setattr(os, "fsync", meanwhile_another)
    write(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_all_of_a_file_is_on_the_disk_before_it_takes_its_place(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync, seen = tmp_path / "file.json", os.fsync, []

    def noting(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.append(("folder" if stat.S_ISDIR(status.st_mode) else status.st_size, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    write(path)
    assert seen == [(path.stat().st_size, False), ("folder", True)], "the name, too, outlives a loss of power"


def test_a_text_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/file\.json"):
        write_text(tmp_path / "file.json", "written")
    assert not list(tmp_path.iterdir())


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = tmp_path / "checkpoints" / "last.pt"
    kept.parent.mkdir()
    for path in (kept, temporary(kept), temporary(tmp_path / "manifest.json")):
        path.touch()
    remove_temporaries(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


PRINTS = (sys.executable, "-c", "from sparsity.files import run_script; run_script(lambda: print('a table') or 0)")


def test_output_that_the_disk_refuses_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(PRINTS, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True)
    sentence = "error: No space left on device; free some space and run the same command again."
    assert (done.returncode, done.stderr.splitlines()) == (1, [sentence])


def test_a_reader_who_goes_away_is_told_nothing() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(PRINTS, cwd=REPOSITORY, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert done.stderr == ""


@pytest.mark.parametrize("script", sorted((REPOSITORY / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_script_says_what_the_system_refuses_in_one_sentence(script: Path) -> None:
    end = script.read_text().rstrip().splitlines()[-1].strip()
    assert end in ("run_script(main)", "config.command(main, conclude)") or script.stem == "__init__"


def test_a_second_process_is_refused_with_the_name_of_the_first(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    with pytest.raises(BusyError) as caught, locked(tmp_path / "run", wait=False):
        pass
    assert str(caught.value) == (
        f"Process {holder.pid} is already running in {tmp_path / 'run'}; wait for it, or change a setting or the seed."
    )


def test_somebody_who_asks_whether_a_folder_is_held_keeps_nobody_out(tmp_path: Path) -> None:
    asking = threading.Event()

    def ask() -> None:
        with (tmp_path / "lock").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            asking.set()
            time.sleep(0.05)

    asker = threading.Thread(target=ask)
    asker.start()
    asking.wait()
    with locked(tmp_path, wait=False):
        assert is_held(tmp_path)
    asker.join()


def test_a_lock_goes_with_its_process_however_it_ends(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    with locked(tmp_path / "run", wait=False):
        pass


def test_who_waits_for_a_lock_says_so_and_gets_it(
    tmp_path: Path, holder: "subprocess.Popen[str]", caplog: pytest.LogCaptureFixture
) -> None:
    threading.Timer(0.6, holder.kill).start()
    with caplog.at_level(logging.INFO), locked(tmp_path / "run", wait=True):
        pass
    assert caplog.messages == [f"Process {holder.pid} is already running in {tmp_path / 'run'}; waiting for it."]


def test_a_lock_of_a_moment_is_waited_for_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (tmp_path / files._LOCK).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.03, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with caplog.at_level(logging.INFO), locked(tmp_path, wait=True):
            assert not caplog.messages


def test_clearing_leaves_the_lock_alone(tmp_path: Path) -> None:
    with locked(tmp_path, wait=False):
        (tmp_path / "summary.json").touch()
        (tmp_path / "checkpoints" / "best").mkdir(parents=True)
        files.clear(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "summary.json", {"a": object()})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1}
