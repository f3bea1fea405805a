"""Runs that were tracked offline, sent to Weights & Biases as they are, or replayed from the record.

W&B's own offline file is sent where it is whole. A replay of metrics.jsonl takes its place where it is damaged, and
where a run was cut off and resumed: then there are several files, with rows that the record has taken back. A replay
holds the run's own phases; a baseline that it shares with other runs stands in the run that trained it.
"""

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from sparsity import provenance
from sparsity.files import visible
from sparsity.settings import TrackingSettings
from sparsity.tracking.writers import WandbWriter

REPLAYED = "replayed"  # a file beside W&B's own, that says so
_FILES = "offline-run-*"
_HEADER_BYTES, _BLOCK_BYTES = 7, 32 * 1024
_RECORD = struct.Struct("<IHB")  # checksum, length, type


def unsent(results: Path) -> list[Path]:
    """Run directories with offline files that were not sent, and in which no process is at work."""
    directories = [path for path in provenance.seed_folders(results / "runs") if _offline(path)]
    return [path for path in directories if not _is_sent(path) and provenance.state_of(path)[0] != "running"]


def send(directory: Path, mode: str = "online") -> str:
    """Send one run and say how.

    Args:
        directory: of the run.
        mode: of W&B for a replay; `offline` writes a new offline file (tests).

    Raises:
        ValueError: if W&B refuses the run; the message is W&B's.
    """
    folders = _offline(directory)
    if len(folders) == 1 and all(is_whole(path) for path in visible(folders[0].glob("*.wandb"), folders[0])):
        _send_file(folders[0])
        return "sent"
    replay(directory, mode)
    (directory / "wandb" / REPLAYED).touch()
    return "replayed from metrics.jsonl"


def replay(directory: Path, mode: str) -> None:
    """Tell W&B anew what the record of a run holds."""
    config = yaml.safe_load((directory / "config.yaml").read_text())
    settings = replace(TrackingSettings(**config["tracking"]), mode=mode)
    writer, summary = WandbWriter(settings, directory, config), directory / "summary.json"
    try:
        for row in _rows(directory / "metrics.jsonl"):
            writer.write_steps([row]) if row.pop("kind") == "step" else writer.write_evaluation(row)
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


def _rows(path: Path) -> Iterator[dict[str, object]]:
    """The record's rows; a last line that was being written when the machine stopped is left out."""
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _offline(directory: Path) -> list[Path]:
    return sorted((directory / "wandb").glob(_FILES))


def _is_sent(directory: Path) -> bool:
    if (directory / "wandb" / REPLAYED).exists():
        return True
    return all(any(folder.glob("*.wandb.synced")) for folder in _offline(directory))


def _send_file(folder: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"W&B did not take {folder}: {' '.join((done.stderr or done.stdout).split())}")
