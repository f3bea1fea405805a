"""What does everybody who reads or writes files agree on? Names that are no data, a writer's own name, refusals."""

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REMEDY = "free some space and run the same command again"
TEMPORARY = ".tmp"


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
        written.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(written)):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # gone already when all went well
            written.unlink()


def remove_temporaries(directory: Path) -> None:
    """Remove what killed writers left in a directory that this process has for itself, and below it."""
    for path in directory.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


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
