"""One fetcher for all published files: here, whole and verified.

Mirrors are tried in order: the local folder named by the environment variable SPARSITY_DATA_MIRROR, then the
publisher's own addresses. What arrives is checked against the published md5 before it gets its name, so that nothing
half-written is ever taken for data. Where nobody publishes a checksum, the md5 of the first copy that a reader has
accepted is recorded beside the file, and every later one is held to it. This module needs neither numpy nor torch.
"""

import gzip
import hashlib
import http.client
import logging
import os
import shutil
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from sparsity.data.published.recorded_md5 import record_md5, recorded_md5
from sparsity.files import replaced, sha256

MIRROR_VARIABLE = "SPARSITY_DATA_MIRROR"
TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 20
_log = logging.getLogger(__name__)


class DataError(ValueError):
    """Data could not be had, read or written; the message is one sentence for the user."""


class UnavailableError(DataError):
    """No source provides the file."""


class _SourceError(Exception):
    """One mirror did not provide the file; the message is the reason. Never leaves this module."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file and the marks by which it is known.

    Attributes:
        path: place below the data directory and below a mirror folder, such as `mnist/train-images-idx3-ubyte.gz`.
        urls: the publisher's addresses, best first.
        md5: of the file as published; None where only a SHA-256 is, or nobody publishes a checksum.
        unzipped_md5: of the bytes inside a `.gz`; a file that was packed anew (other gzip header) passes by it.
        size_bytes: of the file as published, where known: a longer answer is cut off instead of filling the disk.
        sha256: of the file as published, or the first digits of it, where there is no md5.
    """

    path: str
    urls: tuple[str, ...]
    md5: str | None = None
    unzipped_md5: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None


def fetch(file: RemoteFile, data_dir: str | Path) -> Path:
    """Place of `file` below `data_dir`, where it stands whole and verified on return.

    A damaged file found there is replaced, with a warning.

    Raises:
        UnavailableError: every mirror failed; with each reason and the place for a manual copy.
        DataError: the disk refused.
    """
    target = Path(data_dir) / file.path
    file = _with_recorded_md5(file, target)
    failures = []
    if target.exists():
        if (fault := _fault(target, file)) is None:
            return target
        failures.append(f"{target} ({fault})")
    for source in _sources(file):
        try:
            _copy(source, target, file)
        except _SourceError as error:
            failures.append(f"{source} ({error})")
        else:
            if failures:
                _log.warning("%s came from %s, because these failed: %s.", target, source, ", ".join(failures))
            return target
    raise UnavailableError(_all_failed(file, target, failures))


def checksum(file: RemoteFile, data_dir: str | Path) -> str:
    """What a fetched `file` is known by: the md5 or sha256 published, else the md5 recorded or of the copy there."""
    target = Path(data_dir) / file.path
    file = _with_recorded_md5(file, target)
    return file.md5 or file.sha256 or _md5(target)


def is_published(file: RemoteFile) -> bool:
    """Whether a checksum of `file` is published."""
    return bool(file.md5 or file.sha256)


def accept(files: Iterable[RemoteFile], checksums: Mapping[str, str], data_dir: str | Path) -> None:
    """Record the checksums, by path, of those of `files` of which none is published: a reader has taken them as data.

    Not sooner: a sign-in page of a hotel's network would else be held against the file itself for ever.
    """
    for file in files:
        if not is_published(file):
            record_md5(Path(data_dir) / file.path, checksums[file.path])


def fetch_unzipped(file: RemoteFile, data_dir: str | Path) -> Path:
    """Place of the bytes inside the `.gz` called `file`: fetched and extracted once, verified at each call.

    Raises:
        DataError: as `fetch`.
    """
    assert file.unzipped_md5 is not None and file.path.endswith(".gz")
    target = Path(data_dir) / file.path.removesuffix(".gz")
    if target.exists():
        if _md5(target) == file.unzipped_md5:
            return target
        _log.warning("%s is damaged: extracting it again.", target)
    archive = fetch(file, data_dir)
    with written_whole(target) as out, gzip.open(archive) as stream:
        shutil.copyfileobj(stream, out, _CHUNK_BYTES)
    return target


def fetch_readable(file: RemoteFile, data_dir: str | Path) -> Path:
    """Place of the bytes that a reader wants: those inside a `.gz`, else the file as published.

    Raises:
        DataError: as `fetch`.
    """
    return fetch_unzipped(file, data_dir) if file.path.endswith(".gz") else fetch(file, data_dir)


def _sources(file: RemoteFile) -> list[str | Path]:
    mirror = os.environ.get(MIRROR_VARIABLE)
    folder: list[str | Path] = [Path(mirror) / file.path] if mirror else []
    return [*folder, *file.urls]


def _copy(source: str | Path, target: Path, file: RemoteFile) -> None:
    """Writes `target` from `source`, or leaves it alone and raises _SourceError."""
    with _opened(source) as stream, written_whole(target) as out:
        for chunk in _chunks(stream, file.size_bytes):
            out.write(chunk)
        if missing := getattr(stream, "length", None):  # of an HTTP answer: what was announced and has not come
            raise _SourceError(f"the connection ended {missing} bytes early")
        out.flush()
        if (fault := _fault(Path(out.name), file)) is not None:
            raise _SourceError(fault)


@contextmanager
def _opened(source: str | Path) -> Iterator[BinaryIO]:
    try:
        stream = (
            source.open("rb") if isinstance(source, Path) else urllib.request.urlopen(source, timeout=TIMEOUT_SECONDS)
        )
    except (OSError, http.client.HTTPException) as error:
        raise _SourceError(_reason(error)) from error
    with stream:
        yield stream


def _chunks(stream: BinaryIO, size_bytes: int | None) -> Iterator[bytes]:
    """What `stream` holds, in pieces; its errors, and more bytes than were published by far, as _SourceError."""
    # A file packed anew may differ in length, but not by half.
    limit_bytes = None if size_bytes is None else size_bytes * 3 // 2 + _CHUNK_BYTES
    received_bytes = 0
    while True:
        try:
            chunk = stream.read(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _SourceError(_reason(error)) from error
        if not chunk:
            return
        received_bytes += len(chunk)
        if limit_bytes is not None and received_bytes > limit_bytes:
            raise _SourceError(f"it sends more than {limit_bytes} bytes, but the file has {size_bytes}")
        yield chunk


@contextmanager
def written_whole(target: Path) -> Iterator[BinaryIO]:
    """A file to write that appears as `target` when the block ends well, and leaves nothing behind when it does not."""
    try:
        with replaced(target) as out:
            yield out
    except OSError as error:
        raise DataError(
            f"{target} could not be written ({_reason(error)}): free some space there or choose another data directory."
        ) from error


def _with_recorded_md5(file: RemoteFile, target: Path) -> RemoteFile:
    """The file with the md5 of its first copy, where nobody publishes a checksum and a reader has accepted one."""
    return file if is_published(file) else replace(file, md5=recorded_md5(target))


def _fault(path: Path, file: RemoteFile) -> str | None:
    """Why the bytes at `path` are not those of `file`, or None when they are."""
    if file.md5 is None:
        return _fault_by_sha256(path, file) if file.sha256 else None
    found = _md5(path)
    if found == file.md5:
        return None
    if file.unzipped_md5 is None:
        return f"its md5 is {found}, expected {file.md5}"
    try:
        inside = _md5(path, unzip=True)
    except (OSError, EOFError, zlib.error) as error:
        return f"it is a truncated or damaged .gz of {path.stat().st_size} bytes: {_reason(error)}"
    return None if inside == file.unzipped_md5 else f"its md5 is {found}, expected {file.md5}; its contents differ too"


def _fault_by_sha256(path: Path, file: RemoteFile) -> str | None:
    assert file.sha256
    found = sha256(path)
    return None if found.startswith(file.sha256) else f"its sha256 is {found}, expected {file.sha256}"


def _md5(path: Path, unzip: bool = False) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with gzip.open(path) if unzip else path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _reason(error: BaseException) -> str:
    """The error in a few words: `HTTP 404 Not Found`, `Connection refused`, `No space left on device`."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _all_failed(file: RemoteFile, target: Path, failures: list[str]) -> str:
    unset = [] if os.environ.get(MIRROR_VARIABLE) else [f"{MIRROR_VARIABLE} (not set)"]
    tried = ", ".join([*unset, *failures])
    return f"{file.path} could not be had; tried {tried}; put the file at {target} by hand and run again."
