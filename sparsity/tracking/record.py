"""The record of a run, metrics.jsonl: rows of plain values, one a line, cut back to where a resumed run goes on."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
AXIS = "global_step"
RECORD = "metrics.jsonl"


class JsonlWriter:
    """The record: one JSON object a line, cut back to a checkpoint when a run resumes.

    Args:
        path: of the file, created with its folder.
        every_steps: of the rows of single steps one in this number is kept.
    """

    def __init__(self, path: Path, every_steps: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._every_steps = path, every_steps
        self._file = path.open("ab")

    def __enter__(self) -> "JsonlWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.finish(exit_code=0)

    def position(self) -> int:
        """The length of the record in bytes, all of it on the disk: a checkpoint counts on it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def cut(self, position: int) -> None:
        """Forget everything written after `position`.

        Raises:
            ValueError: if the record is shorter than that, or damaged; it says the way out.
        """
        self.position()
        length, phase, rows = 0, None, recorded(self._path)
        while length < position and (found := next(rows, None)):  # what was written later may be cut short
            length, phase = length + found[1], found[0]["phase"]
        if length < position:
            raise ValueError(
                f"{self._path} is shorter than when the last checkpoint was written: "
                f"put it back, or {_without(self._path, phase)}."
            )
        self._file.truncate(position)

    def cut_phase(self, name: str) -> bool:
        """Forget a phase and all that came after it, as it starts anew; whether there was anything to forget."""
        self.position()
        begin = 0
        for row, size in recorded(self._path):
            if row["phase"] == name:
                self._file.truncate(begin)
                return True
            begin += size
        return False

    def write_steps(self, rows: list[Row]) -> None:
        """Append the rows that `every_steps` keeps."""
        self._append({"kind": "step", **row} for row in rows if row["step"] % self._every_steps == 0)

    def write_evaluation(self, row: Row) -> None:
        """Append one evaluation."""
        self._append([{"kind": "evaluation", **row}])

    def finish(self, exit_code: int) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, rows: Iterable[Row]) -> None:
        self._file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
        self._file.flush()


def recorded(path: Path) -> Iterator[tuple[Row, int]]:
    """The rows of a record, each with its length in bytes.

    Raises:
        ValueError: naming the first line that is damaged, and the way out.
    """
    phase: str | None = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                whole = line.endswith(b"\n") and isinstance(row, dict) and {"kind", "phase"} <= row.keys()
            except ValueError:
                whole = False
            if not whole:
                raise ValueError(f"{path} is damaged in line {number}: put the file back, or {_without(path, phase)}.")
            yield row, len(line)
            phase = row["phase"]


def rows_of(record: Path) -> Iterator[Row]:
    """The rows of a record; a last line that is not whole is left out."""
    if not record.exists():
        return
    with record.open() as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def _without(path: Path, phase: str | None) -> str:
    """How a run goes on without what a record has lost, whose last whole row is of a phase."""
    if phase is None:
        return f"remove {path.parent} to start again"
    return f"remove {path.parent / 'checkpoints' / phase} to train from that phase on again"
