"""Files of texts are read line by line, and what is no text is named with its line."""

from pathlib import Path

import pytest

from sparsity.data.published.download import DataError
from sparsity.data.texts.lines import Lines, Parallel, read_text


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = put(tmp_path / "train.en", "one\u2028two\x0bthree\r\nfour\n".encode())
    assert list(Lines(path)) == ["one\u2028two\x0bthree", "four"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = put(tmp_path / "train.en", "\ufeffone\n\ufefftwo\n".encode())
    assert list(Lines(path)) == ["one", "\ufefftwo"]
    assert read_text(path) == "one\n\ufefftwo\n"


@pytest.mark.parametrize("bad", [b"one\ntwo\nd\xe9j\xe0\n", b"one\ntwo\n\xff\xfe"])
def test_bytes_that_are_not_utf8_are_named_with_file_and_line(tmp_path: Path, bad: bytes) -> None:
    path = put(tmp_path / "train.fr", bad)
    for read in (lambda: list(Lines(path)), lambda: read_text(path)):
        with pytest.raises(DataError, match=rf"{path}, line 3, is not UTF-8 \(byte 0x(e9|ff)\): remove the file"):
            read()


@pytest.mark.parametrize(("source", "target"), [("train.en", "train.de"), ("train.de", "train.en")])
def test_languages_of_different_length_are_named_with_the_line(tmp_path: Path, source: str, target: str) -> None:
    put(tmp_path / "train.en", b"one\ntwo\n")
    put(tmp_path / "train.de", b"eins\n")
    with pytest.raises(DataError, match=r"train\.de ends before line 2 of .*train\.en, but"):
        list(Parallel(Lines(tmp_path / source), Lines(tmp_path / target)))


def test_an_empty_line_is_a_text(tmp_path: Path) -> None:
    path = put(tmp_path / "train.en", b"one\n\nthree\n")
    assert list(Parallel(Lines(path), ["eins", "", "drei"])) == [("one", "eins"), ("", ""), ("three", "drei")]
