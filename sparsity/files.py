"""Files that are written whole or not at all, folders that one process holds, and what the system refuses, said once.

The standard library only; whoever reads or writes files agrees on what stands here.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, NoReturn

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REMEDY = "free some space and run the same command again"
TEMPORARY = ".tmp"
_LOCK = "lock"
_held: set[IO[str]] = set()  # the lock files of this process

logger = logging.getLogger(__name__)


class BusyError(ValueError):
    """Another process holds the run directory."""


def visible(paths: Iterable[Path], root: Path) -> list[Path]:
    """Those of `paths`, sorted, of which no name below `root` begins with a dot.

    Macs leave `._x.JPEG` beside each file that they copy, notebooks `.ipynb_checkpoints`: such names are no data.
    """
    return sorted(path for path in paths if not any(name.startswith(".") for name in path.relative_to(root).parts))


def check_folder(path: Path, what: str) -> None:
    """Hold a folder that is only read to be there: of a misspelt one everything would be said to be empty.

    Raises:
        ValueError: naming it and what it should be.
    """
    if not path.is_dir():
        raise ValueError(f"There is no folder {path}; name {what}.")


def sha256(path: Path) -> str:
    """The digest of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary(path: Path) -> Path:
    """Where this process alone writes what is to become `path`: two that write the same file do not meet there."""
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends well, and leaves nothing behind when not.

    Raises:
        OSError: the system refused; it names `path`, and what stood there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = temporary(path)
    try:
        with written.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        put_in_place(written, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(written)):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # gone already when all went well
            written.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a file whole or not at all, whoever else writes it at the same time."""
    with replaced(path) as file:
        file.write(content.encode())


def put_in_place(written: Path, path: Path) -> None:
    """Give a written file its name, so that it has it after a loss of power too."""
    written.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_temporaries(directory: Path) -> None:
    """Remove what killed writers left in a directory that this process has for itself, and below it."""
    for path in directory.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def clear(directory: Path) -> None:
    """Remove all that an earlier run left in a directory that this process has for itself, but for the lock."""
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != _LOCK:  # who removes a lock file lets a second process in
            entry.unlink()


@contextmanager
def locked(directory: Path, wait: bool) -> Iterator[None]:
    """Hold a directory for this process alone, without those it forks; the lock goes with it, however it ends.

    Raises:
        BusyError: if another process holds it and `wait` is False.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / _LOCK).open("a+") as file:
        if not _taken(file):
            file.seek(0)
            busy = f"Process {file.read().strip() or 'unknown'} is already running in {directory}"
            if not wait:
                raise BusyError(f"{busy}; wait for it, or change a setting or the seed.") from None
            logger.info("%s; waiting for it.", busy)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)


def _taken(file: IO[str]) -> bool:
    """Whether a lock file could be locked; who asks `is_held`, or writes one record, has it for a moment: try again."""
    for number in range(20):
        if number:
            time.sleep(0.01)
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _hold_nothing() -> None:
    """Close what a forked process has of its parent's lock files: else it holds what the parent held, and longer."""
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_hold_nothing)


def is_held(directory: Path) -> bool:
    """Whether a process holds a directory; asked without a trace, as the directory may be an archive."""
    try:
        with (directory / _LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def refusal(error: OSError, remedy: str = REMEDY) -> str:
    """What the system refused, about which file, and what to do about a full disk; one sentence."""
    about = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return f"{about}; {remedy}." if error.errno in FULL_DISK else f"{about}."


def run_script(main: Callable[[], int]) -> NoReturn:
    """Exit with the status of `main`; what the system refuses, also of what it prints, is one sentence on stderr."""
    try:
        status = main()
        sys.stdout.flush()
    except OSError as error:
        status = 1
        if not isinstance(error, BrokenPipeError):  # who reads no further knows it
            print(f"error: {refusal(error)}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries once more as it ends
    sys.exit(status)
