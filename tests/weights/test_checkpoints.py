"""Does a checkpoint survive what happens to files: cuts, flipped bits, a full disk?"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from sparsity.weights.checkpoints import (
    CheckpointError,
    kept_networks,
    load_checkpoint,
    load_newest,
    plain_weights,
    previous_path,
    save_checkpoint,
)

STATE: dict[str, Any] = {"weights": {"w": torch.arange(64.0)}, "step": 3, "names": ["a", "b"]}


def write_both(path: Path) -> None:
    """A file of step 2 and, before it, one of step 1."""
    save_checkpoint(path, STATE | {"step": 1}, keep_previous=True)
    save_checkpoint(path, STATE | {"step": 2}, keep_previous=True)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit_of_the_weights(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(STATE["weights"]["w"].numpy().tobytes()) + 17] ^= 1
    path.write_bytes(content)


DAMAGES = [truncate, flip_a_bit_of_the_weights, lambda path: path.write_bytes(b"")]
DAMAGE_NAMES = ["truncated", "bit flipped", "empty"]
damaged_somehow = pytest.mark.parametrize("damage", DAMAGES, ids=DAMAGE_NAMES)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "last.pt"
    save_checkpoint(path, STATE)
    state = load_checkpoint(path)
    assert torch.equal(state["weights"]["w"], STATE["weights"]["w"]) and state["names"] == ["a", "b"]


def test_nothing_but_the_checkpoint_is_left_in_the_folder(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", STATE)
    save_checkpoint(tmp_path / "last.pt", STATE)
    assert os.listdir(tmp_path) == ["last.pt"]


def test_the_file_before_is_kept_when_asked_for(tmp_path: Path) -> None:
    write_both(tmp_path / "last.pt")
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 2
    assert load_checkpoint(previous_path(tmp_path / "last.pt"))["step"] == 1


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"There is no checkpoint at .*last\.pt"):
        load_checkpoint(tmp_path / "last.pt")


@damaged_somehow
def test_a_damaged_checkpoint_is_named(damage: Any, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", STATE)
    damage(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"The checkpoint .*last\.pt is damaged \("):
        load_checkpoint(tmp_path / "last.pt")


def test_the_damaged_record_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", STATE)
    flip_a_bit_of_the_weights(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"record \S+ fails its checksum"):
        load_checkpoint(tmp_path / "last.pt")


class Payload:
    """An object whose unpickling would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Payload()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"holds Python objects \(posix\.system\), such as a whole pickled model"):
        load_checkpoint(tmp_path / "last.pt")


def test_no_file_at_all_is_a_start_from_nothing(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "last.pt") == (None, None)


def test_the_newest_file_is_used_without_a_word(tmp_path: Path) -> None:
    write_both(tmp_path / "last.pt")
    state, problem = load_newest(tmp_path / "last.pt")
    assert state is not None and state["step"] == 2 and problem is None


def test_a_machine_without_memory_does_not_make_a_checkpoint_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(*_: object, **__: object) -> NoReturn:
        raise MemoryError

    write_both(tmp_path / "last.pt")
    monkeypatch.setattr(torch, "load", without_memory)
    with pytest.raises(MemoryError):
        load_newest(tmp_path / "last.pt")


@damaged_somehow
def test_the_file_before_a_damaged_one_is_used_and_the_damaged_one_named(damage: Any, tmp_path: Path) -> None:
    write_both(tmp_path / "last.pt")
    damage(tmp_path / "last.pt")
    state, problem = load_newest(tmp_path / "last.pt")
    assert state is not None and state["step"] == 1
    assert (
        problem is not None and str(tmp_path / "last.pt") in problem and problem.endswith("The one before it is used.")
    )


def test_the_file_before_is_used_when_the_end_came_between_the_two_renames(tmp_path: Path) -> None:
    write_both(tmp_path / "last.pt")
    (tmp_path / "last.pt").unlink()
    state, problem = load_newest(tmp_path / "last.pt")
    assert state is not None and state["step"] == 1 and problem is None


def test_two_damaged_files_are_both_named_with_the_folder_to_remove(tmp_path: Path) -> None:
    write_both(tmp_path / "last.pt")
    truncate(tmp_path / "last.pt")
    truncate(previous_path(tmp_path / "last.pt"))
    with pytest.raises(
        CheckpointError, match=rf"last\.pt is damaged.*last\.previous\.pt is damaged.*Remove {tmp_path}, "
    ):
        load_newest(tmp_path / "last.pt")


def test_the_networks_of_a_run_are_those_that_stay_whatever_becomes_of_it(tmp_path: Path) -> None:
    for name in ("last", "last.previous", "best", "best.20.aside", "paper_sparsity.20.aside"):
        save_checkpoint(tmp_path / "checkpoints" / "regularise" / f"{name}.pt", STATE)
    assert list(kept_networks(tmp_path)) == ["regularise/best"]


def no_space(*args: Any, **kwargs: Any) -> NoReturn:
    raise OSError(28, "No space left on device")


def refused_by_torch(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("PytorchStreamWriter failed writing file")


@pytest.mark.parametrize(("where", "failure"), [("os.fsync", no_space), ("torch.save", refused_by_torch)])
def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(
    where: str, failure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    monkeypatch.setattr(where, failure)
    with pytest.raises(OSError, match=rf"cannot write the checkpoint {path}: .*; free some space"):
        save_checkpoint(path, STATE | {"step": 4}, keep_previous=True)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["last.pt"] and load_checkpoint(path)["step"] == 3


def test_the_content_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noted(name: str, act: Callable[..., None]) -> Callable[..., None]:
        def noting(*args: Any) -> None:
            order.append(name)
            act(*args)

        return noting

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", noted("rename", os.replace))
    save_checkpoint(tmp_path / "last.pt", STATE)
    assert order == ["fsync", "rename", "fsync"]  # of the file, then of its folder


def test_kept_weights_are_copies_without_minus_zeros_that_stay_tied() -> None:
    tied = torch.tensor([-0.0, 2.0])
    kept = plain_weights(
        {"a": tied, "b": tied, "c": torch.tensor([-0.0, 2.0]), "d": torch.zeros(0), "e": torch.ones(0)}
    )
    assert kept["a"] is kept["b"] and kept["a"] is not kept["c"] and kept["d"] is not kept["e"]
    assert kept["a"].tolist() == [0.0, 2.0] and not kept["a"].signbit().any()
    assert kept["a"].data_ptr() != tied.data_ptr()


def test_what_is_not_allowed_is_no_matter_of_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(torch, "save", forbidden)
    with pytest.raises(OSError, match=rf"Permission denied; make {tmp_path} writable and run the same command again$"):
        save_checkpoint(tmp_path / "last.pt", STATE)
