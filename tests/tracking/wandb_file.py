"""What does an offline W&B run hold? A reader of its `.wandb` file, for tests; W&B no longer ships one.

The file is a LevelDB log: a header of 7 bytes, then blocks of 32 KiB, each with records of crc (4 bytes), length (2),
type (1: whole, 2: first part, 3: middle, 4: last) and that many bytes of a protobuf `Record`.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER_BYTES, BLOCK_BYTES = 7, 32 * 1024
RECORD_HEADER = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """Each `Record` of the file, in order."""
    from wandb.proto import wandb_internal_pb2

    new_record: Any = vars(wandb_internal_pb2)["Record"]  # generated when it is imported, so that no checker sees it
    for content in _contents(path.read_bytes()):
        record = new_record()
        record.ParseFromString(content)
        yield record


def history(path: Path) -> list[dict[str, Any]]:
    """Every row that was logged, as plain values."""
    return [_plain(record.history.item) for record in records(path) if record.WhichOneof("record_type") == "history"]


def summary(path: Path) -> dict[str, Any]:
    """The run's summary as it stands after its last update."""
    values: dict[str, Any] = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "summary":
            values |= _plain(record.summary.update)
    return values


def axes(path: Path) -> dict[str, str]:
    """Pattern of series -> the series that is their horizontal axis."""
    metrics = [record.metric for record in records(path) if record.WhichOneof("record_type") == "metric"]
    return {metric.glob_name or metric.name: metric.step_metric for metric in metrics}


def exit_code(path: Path) -> int | None:
    """How the run said it ended."""
    codes = [record.exit.exit_code for record in records(path) if record.WhichOneof("record_type") == "exit"]
    return codes[-1] if codes else None


def _contents(data: bytes) -> Iterator[bytes]:
    position, parts = HEADER_BYTES, b""
    while position + RECORD_HEADER.size <= len(data):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        if left < RECORD_HEADER.size:  # too short for a header: padding
            position += left
            continue
        _, length, kind = RECORD_HEADER.unpack_from(data, position)
        position += RECORD_HEADER.size
        if position + length > len(data):  # W&B is still writing it
            return
        parts += data[position : position + length]
        position += length
        if kind in (WHOLE, LAST):
            yield parts
            parts = b""


def _plain(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
