"""Is a checkpoint that is written beside training that of the moment when it was asked for, and one at a time?"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity.weights import beside
from sparsity.weights.beside import Beside, copied
from sparsity.weights.checkpoints import load_checkpoint, save_checkpoint


class Disk:
    """A disk that holds each write up until it is let go, and notes which were begun and ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on, self.noted = threading.Event(), list[str]()
        monkeypatch.setattr(beside, "save_checkpoint", self._save)

    def _save(self, path: Path, state: dict[str, Any], keep_previous: bool) -> None:
        self.noted.append(f"began {state['step']}")
        assert self.goes_on.wait(10)
        save_checkpoint(path, state, keep_previous)
        self.noted.append(f"ended {state['step']}")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def nothing() -> None:
    """Is done after a write."""


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_change_it(tmp_path: Path, disk: Disk) -> None:
    weight, frontier, writes = torch.zeros(3), [1], Beside()
    writes.save(tmp_path / "last.pt", {"step": 1, "weights": {"w": weight}, "frontier": frontier}, nothing)
    weight.add_(1)
    frontier.append(2)
    disk.goes_on.set()
    writes.wait()
    state = load_checkpoint(tmp_path / "last.pt")
    assert state["weights"]["w"].tolist() == [0, 0, 0] and state["frontier"] == [1]


def test_the_next_checkpoint_waits_for_the_one_that_is_being_written_and_for_what_follows_it(
    tmp_path: Path, disk: Disk
) -> None:
    writes = Beside()
    writes.save(tmp_path / "last.pt", {"step": 1}, lambda: disk.noted.append("settled 1"))
    threading.Timer(0.1, disk.goes_on.set).start()
    writes.save(tmp_path / "last.pt", {"step": 2}, nothing)
    writes.wait()
    assert disk.noted == ["began 1", "ended 1", "settled 1", "began 2", "ended 2"]
    assert load_checkpoint(tmp_path / "last.previous.pt")["step"] == 1


def full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("meet", [Beside.wait, Beside.check, lambda writes: writes.save(Path(), {}, nothing)])
def test_a_full_disk_is_told_to_whoever_trains_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meet: Callable[[Beside], None]
) -> None:
    path, writes, followed = tmp_path / "last.pt", Beside(), list[int]()
    monkeypatch.setattr("os.fsync", full)
    writes.save(path, {"step": 1}, lambda: followed.append(1))
    while not writes._pending or not writes._pending.done():
        time.sleep(0.001)
    with pytest.raises(OSError, match=rf"cannot write the checkpoint {path}: .*; free some space and run the same"):
        meet(writes)
    assert not followed and not list(tmp_path.iterdir())


def test_a_write_under_way_is_no_reason_to_wait_for_whoever_only_asks(tmp_path: Path, disk: Disk) -> None:
    writes = Beside()
    writes.save(tmp_path / "last.pt", {"step": 1}, nothing)
    writes.check()
    assert "ended 1" not in disk.noted
    disk.goes_on.set()
    writes.wait()


def test_tied_tensors_are_copied_once_and_others_are_not_mixed_up() -> None:
    tied = torch.ones(2, 3)
    copy = copied({"a": tied, "b": [tied, tied.t()], "c": (tied[0], 7, "x", None)}, {})
    assert copy["a"] is copy["b"][0] and copy["a"].data_ptr() != tied.data_ptr()
    assert copy["b"][1].shape == (3, 2) and copy["c"][0].shape == (3,) and copy["c"][1:] == (7, "x", None)


def test_a_copy_lies_in_memory_as_what_is_copied_does() -> None:
    weight = torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert copied(weight, {}).stride() == weight.stride()


def test_how_long_a_large_checkpoint_took_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(beside, "WORTH_SAYING", 0.0)
    writes = Beside()
    with caplog.at_level(logging.INFO):
        writes.save(tmp_path / "last.pt", {"step": 1}, nothing)
        writes.wait()
    assert caplog.messages[0].startswith(f"{tmp_path}/last.pt: 0.00 GB written in 0.")
