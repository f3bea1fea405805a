"""Files of tensors and plain values, written whole or not at all, verified when read."""

import errno
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.files import REMEDY, put_in_place, temporary, visible

ASIDE = ".aside.pt"  # the end of the name of what a checkpoint has yet to settle, and of a future that may be gone
_TRAINING_STATES = ("last.pt", "last.previous.pt")  # to resume from; their networks are kept under other names
_OBJECT = re.compile(r"GLOBAL (\S*\w) ")  # how torch names what it refuses to build; of a file cut short, in part


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or belongs to another model."""


class MisfitError(CheckpointError):
    """A checkpoint that is whole, of another model."""


def save_checkpoint(path: Path, state: dict[str, Any], keep_previous: bool = False) -> None:
    """Write `state` to a temporary file, fsync it and rename it over `path`.

    Args:
        keep_previous: leave the file that stood at `path` beside it as `<stem>.previous.pt`.

    Raises:
        OSError: if the disk is full or not writable; what stood at `path` before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = temporary(path)
    try:
        with written.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        written.unlink(missing_ok=True)
        is_allowed = not isinstance(error, PermissionError)
        remedy = REMEDY if is_allowed else f"make {path.parent} writable and run the same command again"
        raise OSError(errno.EIO, f"cannot write the checkpoint {path}: {error}; {remedy}") from error
    if keep_previous and path.exists():
        os.replace(path, previous_path(path))
    put_in_place(written, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, its checksums verified first.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}; check the path.")
    try:
        with zipfile.ZipFile(path) as archive:  # torch's reader skips the checksums that its writer stores
            damaged = archive.testzip()
            is_script = any(name.endswith("/constants.pkl") for name in archive.namelist())
    except MemoryError:  # no fault of the file, and so no reason to take the one before it
        raise
    except Exception as error:
        raise CheckpointError(f"The checkpoint {path} is damaged ({type(error).__name__}: {error}).") from error
    if damaged is not None:
        raise CheckpointError(f"The checkpoint {path} is damaged (the record {damaged} fails its checksum).")
    if is_script:
        raise _objects(path, "TorchScript")
    state: dict[str, Any] = load_tensors(path)
    return state


def load_network(path: Path, model: nn.Module) -> dict[str, Any]:
    """A checkpoint with weights for a network such as `model`, which is left alone, and its masks.

    Raises:
        CheckpointError: if the file is missing, damaged or of another structure (MisfitError).
    """
    state: Any = load_checkpoint(path)
    weights, masks = (state.get(kind) if isinstance(state, dict) else None for kind in ("weights", "masks"))
    found = (
        {name: getattr(value, "shape", None) for name, value in weights.items()} if isinstance(weights, dict) else {}
    )
    if found != {name: value.shape for name, value in model.state_dict().items()} or not isinstance(masks, dict):
        raise MisfitError(f"The checkpoint {path} is of another structure than this network.")
    return dict(state)


def load_kept(path: Path, model: nn.Module, config: Path | None = None) -> dict[str, Any]:
    """The same of a checkpoint that a phase of a run has kept: the error says how to have it again.

    Args:
        config: the file by which `model` was made, where no command line says so: what does not fit speaks against it.
    """
    try:
        return load_network(path, model)
    except CheckpointError as error:
        is_sound = config is not None and isinstance(error, MisfitError)
        remedy = f"Put back {config} as the run wrote it: it describes another one." if is_sound else way_out(path)
        raise CheckpointError(f"{error} {remedy}") from error


def kept_networks(run: Path) -> dict[str, Path]:
    """The checkpoints that a run has kept to be used, by name such as finetune/last/best.

    Raises:
        ValueError: if there is none, with the way to have some.
    """
    folder = run / "checkpoints"
    settled = [path for path in visible(folder.glob("**/*.pt"), run) if not path.name.endswith(ASIDE)]
    found = [path for path in settled if path.name not in _TRAINING_STATES]
    if not found:
        raise ValueError(
            f"{folder} holds no kept network: put that folder back, or remove {run / 'summary.json'}, if it is there, "
            "and give that run's command again."
        )
    return {str(path.relative_to(folder).with_suffix("")): path for path in found}


def way_out(path: Path) -> str:
    """How to go on where a checkpoint of a run cannot be used."""
    return f"Remove {path.parent}, and the run's summary.json if there is one, to train that phase again."


def load_tensors(path: Path) -> Any:
    """What torch saved in a file, onto the CPU; tensors and plain values alone, so that reading runs no code of it.

    Raises:
        CheckpointError: if the file is damaged or holds other objects.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        if named := _OBJECT.search(str(error)):
            raise _objects(path, named[1]) from error
        said = "" if isinstance(error, pickle.UnpicklingError) else str(error).partition("\n")[0]
        reason = f"{type(error).__name__}: {said}" if said else type(error).__name__  # torch's advice is to read it all
        raise CheckpointError(f"The checkpoint {path} is damaged ({reason}).") from error


def _objects(path: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds Python objects ({name}), such as a whole pickled model, and reading these could run code of the "
        "file: save the weights alone where it was made, torch.save(model.state_dict(), PATH)."
    )


def plain_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state_dict for keeping: every zero is +0.0, which compresses, and tied tensors stay one tensor."""
    copies: dict[tuple[int, torch.Size], Tensor] = {}
    kept: dict[str, Tensor] = {}
    for name, value in weights.items():
        place = (value.data_ptr(), value.shape)
        kept[name] = copies[place] if place in copies else _positive_zeros(value)
        if value.numel():  # empty tensors have no place of their own
            copies[place] = kept[name]
    return kept


def _positive_zeros(value: Tensor) -> Tensor:
    return value + 0 if value.is_floating_point() else value.clone()


def previous_path(path: Path) -> Path:
    """Where `save_checkpoint(keep_previous=True)` leaves the file that it replaces."""
    return path.with_suffix(".previous.pt")


def load_newest(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The state at `path`, or the one before it if that is damaged, or None if there is none.

    Returns:
        (state, a sentence naming the damaged file or None).

    Raises:
        CheckpointError: if every file there is damaged.
    """
    candidates = [candidate for candidate in (path, previous_path(path)) if candidate.exists()]
    problems: list[str] = []
    for candidate in candidates:
        try:
            state = load_checkpoint(candidate)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        return state, f"{problems[0]} The one before it is used." if problems else None
    if problems:
        raise CheckpointError(" ".join([*problems, way_out(path)]))
    return None, None
