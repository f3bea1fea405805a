"""Members of a published archive are taken where they stand; the archive is opened for what is missing only."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from sparsity.data.published.archives import fetch_members
from sparsity.data.published.download import DataError, RemoteFile

CONTENTS = {"set/one": b"1" * 5_000, "set/two": b"2" * 6_000}
STRANGER = "set/neither asked for nor wanted"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def packed() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in {**CONTENTS, STRANGER: b"3"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


PACKED = packed()
ARCHIVE = RemoteFile("set.tar.gz", (), md5(PACKED))
MEMBERS = [RemoteFile(name, (), md5(content)) for name, content in CONTENTS.items()]


def put(folder: Path, name: str, content: bytes) -> Path:
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local mirror folder, still empty, named by the environment variable."""
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def contents(data_dir: Path) -> list[bytes]:
    return [path.read_bytes() for path in fetch_members(MEMBERS, ARCHIVE, data_dir)]


def test_members_come_out_of_the_archive_and_nothing_else_does(mirror: Path, data_dir: Path) -> None:
    put(mirror, ARCHIVE.path, PACKED)
    assert contents(data_dir) == list(CONTENTS.values())
    assert not (data_dir / STRANGER).exists()


def test_members_in_the_data_directory_serve_without_the_archive(data_dir: Path) -> None:
    for name, content in CONTENTS.items():
        put(data_dir, name, content)
    assert contents(data_dir) == list(CONTENTS.values())


def test_members_in_the_mirror_serve_without_the_archive(mirror: Path, data_dir: Path) -> None:
    for name, content in CONTENTS.items():
        put(mirror, name, content)
    assert contents(data_dir) == list(CONTENTS.values())


def test_a_damaged_member_is_extracted_again(mirror: Path, data_dir: Path) -> None:
    put(mirror, ARCHIVE.path, PACKED)
    put(data_dir, "set/two", b"half a fi")
    assert contents(data_dir) == list(CONTENTS.values())


def test_what_was_extracted_is_not_extracted_again(mirror: Path, data_dir: Path) -> None:
    archive = put(mirror, ARCHIVE.path, PACKED)
    contents(data_dir)
    archive.unlink()
    (data_dir / ARCHIVE.path).unlink()
    assert contents(data_dir) == list(CONTENTS.values())


def test_without_archive_and_members_the_sentence_names_the_archive(data_dir: Path) -> None:
    with pytest.raises(DataError, match=r"^set\.tar\.gz could not be had; .* put the file at "):
        contents(data_dir)
