"""The fetcher keeps whole, verified files only, tries every mirror, and says in one sentence what went wrong."""

import errno
import functools
import gzip
import hashlib
import http.server
import json
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from sparsity.data.published import download
from sparsity.data.published.download import (
    DataError,
    RemoteFile,
    accept,
    checksum,
    fetch,
    fetch_readable,
    fetch_unzipped,
)

CONTENT = b"sixteen bytes it" * 1000
PATH = "set/train.gz"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


PUBLISHED = gzip.compress(CONTENT, mtime=0)
REPACKED = gzip.compress(CONTENT, mtime=1_000_000)


def remote_file(*urls: str, size_bytes: int | None = len(PUBLISHED)) -> RemoteFile:
    return RemoteFile(PATH, urls, md5(PUBLISHED), md5(CONTENT), size_bytes)


def put(folder: Path, content: bytes, path: str = PATH) -> Path:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local mirror folder, still empty, named by the environment variable."""
    folder = tmp_path / "mirror"
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(folder))
    return folder


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSITY_DATA_MIRROR", raising=False)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A publisher on the loopback: its address and the folder that it serves."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join(timeout=10)


def test_a_file_comes_from_the_local_mirror_folder(mirror: Path, data_dir: Path) -> None:
    put(mirror, PUBLISHED)
    assert fetch(remote_file(), data_dir).read_bytes() == PUBLISHED


def test_a_file_lands_at_its_own_path_below_the_data_directory(mirror: Path, data_dir: Path) -> None:
    put(mirror, PUBLISHED)
    assert fetch(remote_file(), data_dir) == data_dir / PATH
    assert files_below(data_dir) == [data_dir / PATH]


def test_a_file_comes_from_its_publisher_when_no_mirror_is_set(
    no_mirror: None, web: tuple[str, Path], data_dir: Path
) -> None:
    address, folder = web
    put(folder, PUBLISHED)
    assert fetch(remote_file(f"{address}/{PATH}"), data_dir).read_bytes() == PUBLISHED


def test_the_local_mirror_is_asked_before_the_publisher(mirror: Path, web: tuple[str, Path], data_dir: Path) -> None:
    address, folder = web
    put(folder, PUBLISHED)
    put(mirror, REPACKED)
    assert fetch(remote_file(f"{address}/{PATH}"), data_dir).read_bytes() == REPACKED


def test_a_verified_file_is_not_fetched_again(no_mirror: None, data_dir: Path) -> None:
    put(data_dir, PUBLISHED)
    assert fetch(remote_file(), data_dir) == data_dir / PATH


def test_a_damaged_file_in_the_data_directory_is_replaced_and_named(
    mirror: Path, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(mirror, PUBLISHED)
    damaged = put(data_dir, PUBLISHED[:-20])
    with caplog.at_level(logging.WARNING):
        assert fetch(remote_file(), data_dir).read_bytes() == PUBLISHED
    assert f"{damaged} (it is a truncated or damaged .gz" in caplog.text


def test_a_file_packed_anew_is_accepted_for_its_contents(mirror: Path, data_dir: Path) -> None:
    assert md5(REPACKED) != md5(PUBLISHED)
    put(mirror, REPACKED)
    assert fetch(remote_file(), data_dir).read_bytes() == REPACKED


def test_without_a_known_md5_of_the_contents_only_the_published_bytes_pass(mirror: Path, data_dir: Path) -> None:
    put(mirror, REPACKED)
    with pytest.raises(DataError, match=f"its md5 is {md5(REPACKED)}, expected {md5(PUBLISHED)}"):
        fetch(RemoteFile(PATH, (), md5(PUBLISHED)), data_dir)


@pytest.mark.parametrize("num_digits", [64, 8])
def test_a_file_may_be_known_by_its_sha256_or_the_first_digits_of_it(
    mirror: Path, data_dir: Path, num_digits: int
) -> None:
    put(mirror, PUBLISHED)
    sha256 = hashlib.sha256(PUBLISHED).hexdigest()[:num_digits]
    assert fetch(RemoteFile(PATH, (), sha256=sha256), data_dir).read_bytes() == PUBLISHED


def test_another_sha256_is_named_and_the_file_not_kept(mirror: Path, data_dir: Path) -> None:
    put(mirror, REPACKED)
    expected = hashlib.sha256(PUBLISHED).hexdigest()
    with pytest.raises(DataError, match=f"its sha256 is [0-9a-f]{{64}}, expected {expected}"):
        fetch(RemoteFile(PATH, (), sha256=expected), data_dir)
    assert not files_below(data_dir)


def test_a_truncated_gz_is_named_and_not_kept(mirror: Path, data_dir: Path) -> None:
    put(mirror, PUBLISHED[:-20])
    with pytest.raises(DataError, match=r"mirror/set/train\.gz \(it is a truncated or damaged \.gz of \d+ bytes"):
        fetch(remote_file(), data_dir)
    assert files_below(data_dir) == []


def test_a_file_that_is_no_gz_is_named_and_not_kept(mirror: Path, data_dir: Path) -> None:
    put(mirror, b"<html>sign in to the hotel network</html>")
    with pytest.raises(DataError, match="truncated or damaged"):
        fetch(remote_file(), data_dir)
    assert files_below(data_dir) == []


def test_a_whole_gz_with_other_contents_is_named_and_not_kept(mirror: Path, data_dir: Path) -> None:
    put(mirror, gzip.compress(b"another file"))
    with pytest.raises(DataError, match="its contents differ too"):
        fetch(remote_file(), data_dir)
    assert files_below(data_dir) == []


def test_after_a_wrong_checksum_the_next_mirror_provides_the_file(
    mirror: Path, web: tuple[str, Path], data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address, folder = web
    wrong = put(mirror, gzip.compress(b"another file"))
    put(folder, PUBLISHED)
    with caplog.at_level(logging.WARNING):
        assert fetch(remote_file(f"{address}/{PATH}"), data_dir).read_bytes() == PUBLISHED
    assert f"because these failed: {wrong} (its md5 is" in caplog.text


def test_when_every_mirror_fails_one_sentence_names_each_reason_and_the_manual_path(
    mirror: Path, web: tuple[str, Path], data_dir: Path
) -> None:
    address, _ = web
    with pytest.raises(DataError) as caught:
        fetch(remote_file(f"{address}/gone.gz", "http://127.0.0.1:1/refused.gz"), data_dir)
    assert str(caught.value) == (
        f"{PATH} could not be had; tried {mirror / PATH} (No such file or directory), "
        f"{address}/gone.gz (HTTP 404 File not found), http://127.0.0.1:1/refused.gz (Connection refused); "
        f"put the file at {data_dir / PATH} by hand and run again."
    )


def test_the_sentence_says_when_no_mirror_folder_was_set(no_mirror: None, data_dir: Path) -> None:
    with pytest.raises(DataError, match=r"tried SPARSITY_DATA_MIRROR \(not set\); put the file"):
        fetch(remote_file(), data_dir)


def test_a_publisher_that_never_answers_is_left_after_the_timeout(
    no_mirror: None, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)
    with http.server.HTTPServer(("127.0.0.1", 0), QuietHandler) as silent:  # it listens, but nobody serves
        address = f"http://127.0.0.1:{silent.server_port}/{PATH}"
        with pytest.raises(DataError, match="timed out"):
            fetch(remote_file(address), data_dir)


def test_an_answer_far_longer_than_the_published_file_is_cut_off(
    mirror: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_CHUNK_BYTES", 64)
    put(mirror, bytes(1000))
    with pytest.raises(DataError, match="it sends more than 79 bytes, but the file has 10"):
        fetch(remote_file(size_bytes=10), data_dir)


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(
    mirror: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(mirror, PUBLISHED)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"could not be written \(No space left on device\): free some space there"):
        fetch(remote_file(), data_dir)
    assert files_below(data_dir) == []


def test_an_interrupted_fetch_leaves_nothing_behind(
    mirror: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(mirror, PUBLISHED)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(remote_file(), data_dir)
    assert files_below(data_dir) == []


def test_a_data_directory_that_is_a_file_is_one_sentence(mirror: Path, data_dir: Path) -> None:
    put(mirror, PUBLISHED)
    data_dir.write_text("a file")
    with pytest.raises(DataError, match="could not be written"):
        fetch(remote_file(), data_dir)


def test_the_contents_are_extracted_beside_the_archive(mirror: Path, data_dir: Path) -> None:
    put(mirror, PUBLISHED)
    extracted = fetch_unzipped(remote_file(), data_dir)
    assert extracted == data_dir / "set/train"
    assert extracted.read_bytes() == CONTENT


def test_extracted_contents_serve_without_the_archive(no_mirror: None, data_dir: Path) -> None:
    (data_dir / "set").mkdir(parents=True)
    (data_dir / "set/train").write_bytes(CONTENT)
    fetch_unzipped(remote_file(), data_dir)
    assert files_below(data_dir) == [data_dir / "set/train"]


def test_damaged_extracted_contents_are_extracted_again_and_named(
    no_mirror: None, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(data_dir, PUBLISHED)
    (data_dir / "set/train").write_bytes(CONTENT[:-1])
    with caplog.at_level(logging.WARNING):
        assert fetch_unzipped(remote_file(), data_dir).read_bytes() == CONTENT
    assert f"{data_dir / 'set/train'} is damaged" in caplog.text


def unpublished(*urls: str) -> RemoteFile:
    """A file whose checksum nobody publishes."""
    return RemoteFile("set/train.en", urls, md5=None)


def read(data_dir: Path) -> Path:
    """Fetch the file as a reader does that accepts what it finds."""
    path = fetch(unpublished(), data_dir)
    accept([unpublished()], {"set/train.en": checksum(unpublished(), data_dir)}, data_dir)
    return path


def test_a_file_that_no_reader_has_accepted_is_not_held_to_its_checksum(mirror: Path, data_dir: Path) -> None:
    put(mirror, b"<html>sign in to the hotel network</html>", "set/train.en")
    fetch(unpublished(), data_dir).unlink()
    put(mirror, CONTENT, "set/train.en")
    assert fetch(unpublished(), data_dir).read_bytes() == CONTENT


def test_a_checksum_that_nobody_publishes_is_recorded_when_a_reader_accepts_and_said(
    mirror: Path, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(mirror, CONTENT, "set/train.en")
    with caplog.at_level(logging.WARNING):
        read(data_dir)
    assert f"its md5 {md5(CONTENT)} is recorded in {data_dir / 'set/recorded_md5.json'}" in caplog.text
    assert checksum(unpublished(), data_dir) == md5(CONTENT)


def test_a_recorded_checksum_is_verified_afterwards(mirror: Path, data_dir: Path) -> None:
    put(mirror, CONTENT, "set/train.en")
    read(data_dir)
    put(data_dir, CONTENT[:-1], "set/train.en")
    assert fetch(unpublished(), data_dir).read_bytes() == CONTENT


def test_another_copy_than_the_recorded_one_is_refused(mirror: Path, data_dir: Path) -> None:
    put(mirror, CONTENT, "set/train.en")
    read(data_dir).unlink()
    put(mirror, b"changed since", "set/train.en")
    with pytest.raises(DataError, match=f"its md5 is {md5(b'changed since')}, expected {md5(CONTENT)}"):
        fetch(unpublished(), data_dir)


def test_a_checksum_is_recorded_once(mirror: Path, data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(mirror, CONTENT, "set/train.en")
    read(data_dir)
    caplog.clear()
    read(data_dir)
    assert not caplog.records


def test_a_copy_put_there_by_hand_is_recorded_too(no_mirror: None, data_dir: Path) -> None:
    put(data_dir, CONTENT, "set/train.en")
    read(data_dir)
    assert json.loads((data_dir / "set/recorded_md5.json").read_text()) == {"train.en": md5(CONTENT)}


def test_a_published_checksum_is_not_recorded(mirror: Path, data_dir: Path) -> None:
    accept([remote_file(), replace(unpublished(), sha256="ab")], {}, data_dir)
    assert not data_dir.exists()


def test_of_checksums_recorded_at_the_same_time_none_is_lost(data_dir: Path) -> None:
    files = [replace(unpublished(), path=f"set/{number}") for number in range(16)]
    together = Barrier(len(files))

    def record(file: RemoteFile) -> None:
        together.wait(timeout=30)
        accept([file], {file.path: file.path}, data_dir)

    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(record, files))
    recorded = json.loads((data_dir / "set/recorded_md5.json").read_text())
    assert recorded == {str(number): f"set/{number}" for number in range(16)}


def test_an_answer_that_ends_early_is_not_kept(no_mirror: None, web: tuple[str, Path], data_dir: Path) -> None:
    address, folder = web
    put(folder, CONTENT, "set/train.en")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(QuietHandler, "copyfile", lambda _, source, out: out.write(source.read(100)))
        with pytest.raises(DataError, match=f"the connection ended {len(CONTENT) - 100} bytes early"):
            fetch(unpublished(f"{address}/set/train.en"), data_dir)
    assert files_below(data_dir) == []


@pytest.mark.parametrize(("file", "place"), [(remote_file(), "set/train"), (unpublished(), "set/train.en")])
def test_what_a_reader_wants_is_unzipped_where_it_is_zipped(
    mirror: Path, data_dir: Path, file: RemoteFile, place: str
) -> None:
    put(mirror, PUBLISHED)
    put(mirror, CONTENT, "set/train.en")
    assert fetch_readable(file, data_dir) == data_dir / place
    assert (data_dir / place).read_bytes() == CONTENT
