"""Reads a file of texts line by line, and says of one that is no text what is wrong."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from sparsity.data.published.download import DataError

Pair = tuple[str, str]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Lines:
    """The lines of a file, without spaces at their ends; only a line feed ends a line.

    A byte order mark before the first is dropped: it belongs to the file, not to the text. Iterating raises DataError
    at a line that is not UTF-8.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def __iter__(self) -> Iterator[str]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield _text(line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line, number, self.path).strip()


@dataclass(frozen=True)
class Parallel:
    """Text i of one side with text i of the other; iterating raises DataError if one side is longer."""

    source: Iterable[str]
    target: Iterable[str]

    def __iter__(self) -> Iterator[Pair]:
        for number, (source, target) in enumerate(zip_longest(self.source, self.target), 1):
            if source is None or target is None:
                longer, shorter = (self.source, self.target) if target is None else (self.target, self.source)
                raise DataError(
                    f"{shorter} ends before line {number} of {longer}, but their lines belong together: remove both "
                    "files and run again, so that they are had anew."
                )
            yield source, target


def read_text(path: Path) -> str:
    """The whole of a file, without a byte order mark.

    Raises:
        DataError: it is not UTF-8; the message names the line.
    """
    content = path.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    return _text(content, 1, path)


def _text(content: bytes, first_line: int, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise DataError(
            f"{path}, line {line}, is not UTF-8 (byte 0x{content[error.start]:02x}): remove the file and run again, so "
            "that it is had anew, or convert it (iconv -t UTF-8)."
        ) from error
