"""Runs that W&B does not hold whole, sent as they are or caught up with from the record.

W&B's own offline file is sent where it is whole and alone. Else, as for a run that was online when W&B could not be
reached, that was cut off and resumed, or whose file is damaged, a writer is opened as a resumed run opens it: it sends
the rows of metrics.jsonl that are not there. These are the run's own phases; a baseline that it shares with other runs
stands in the run that trained it.
"""

import json
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

from sparsity import provenance
from sparsity.files import visible
from sparsity.settings import TrackingSettings
from sparsity.tracking.wandb_writer import ARRIVED, FOLDER, WandbWriter

LIMIT_SECONDS = 600.0  # for one run: who sends waits for nothing else
_HEADER_BYTES, _BLOCK_BYTES = 7, 32 * 1024
_RECORD = struct.Struct("<IHB")  # checksum, length, type


def unsent(results: Path) -> list[Path]:
    """Directories of runs that were mirrored, did not arrive whole, and in which no process is at work."""
    directories = [path for path in provenance.seed_folders(results / "runs") if (path / FOLDER).is_dir()]
    return [path for path in directories if not _is_sent(path) and provenance.state_of(path)[0] != "running"]


def send(directory: Path) -> str:
    """Send one run and say how.

    Raises:
        ValueError: if W&B refuses the run; the message is W&B's.
        ConnectionError: if W&B does not take all of it; the next time goes on from there.
    """
    folders = _folders(directory)
    if len(folders) == 1 and _is_offline(folders[0]) and all(map(is_whole, _files(folders[0]))):
        _send_file(folders[0])
        return "sent"
    catch_up(directory)
    return "caught up from metrics.jsonl"


def catch_up(directory: Path) -> None:
    """Tell W&B what the record of a run holds and W&B does not."""
    config = provenance.shown_tree(provenance.read_config(directory))
    settings = replace(TrackingSettings(**config["tracking"]), mode="online", limit_seconds=LIMIT_SECONDS)
    writer, summary = WandbWriter(settings, directory, config), directory / "summary.json"
    try:
        if summary.is_file():
            writer.write_summary(json.loads(summary.read_text()))
    finally:
        writer.finish(0 if provenance.is_done(directory) else 1)


def is_whole(path: Path) -> bool:
    """Whether every record of a `.wandb` file, a LevelDB log, has its length and its checksum."""
    data, position = path.read_bytes(), _HEADER_BYTES
    while position < len(data):
        left = _BLOCK_BYTES - position % _BLOCK_BYTES
        if left < _RECORD.size:  # too short for a header: padding
            position += left
            continue
        if position + _RECORD.size > len(data):
            return False
        checksum, length, _ = _RECORD.unpack_from(data, position)
        end = position + _RECORD.size + length
        if end > len(data) or zlib.crc32(data[position + _RECORD.size - 1 : end]) != checksum:
            return False
        position = end
    return len(data) > _HEADER_BYTES


def _folders(directory: Path) -> list[Path]:
    """One for each time that the run was opened."""
    return sorted((directory / FOLDER).glob("*run-*"))


def _is_offline(folder: Path) -> bool:
    return folder.name.startswith("offline-")


def _files(folder: Path) -> list[Path]:
    return visible(folder.glob("*.wandb"), folder)


def _is_sent(directory: Path) -> bool:
    if (directory / FOLDER / ARRIVED).exists():
        return True
    folders = _folders(directory)
    return bool(folders) and all(_is_offline(path) and any(path.glob("*.wandb.synced")) for path in folders)


def _send_file(folder: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"W&B did not take {folder}: {' '.join((done.stderr or done.stdout).split())}")
