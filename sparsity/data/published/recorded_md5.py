"""The md5 of the first copy of a file whose checksum nobody publishes, to which later copies are held."""

import json
import logging
from pathlib import Path

from sparsity.files import locked, write_json

RECORD = "recorded_md5.json"
_log = logging.getLogger(__name__)


def recorded_md5(path: Path) -> str | None:
    """The md5 that was recorded for the file called `path`, or None."""
    return _record(path).get(path.name)


def record_md5(path: Path, md5: str) -> None:
    """Keep the md5 of the file called `path`, and say so, unless one is kept already."""
    if recorded_md5(path) is not None:
        return  # without the lock: a folder that is only read stays as it is
    place = path.parent / RECORD
    with locked(path.parent, wait=True):
        if path.name in (known := _record(path)):
            return
        write_json(place, known | {path.name: md5})
    _log.warning(
        "Nobody publishes a checksum of %s: its md5 %s is recorded in %s, and verified from now on.", path, md5, place
    )


def _record(path: Path) -> dict[str, str]:
    place = path.parent / RECORD
    known: dict[str, str] = json.loads(place.read_text()) if place.is_file() else {}
    return known
