"""A batch of CIFAR-10 is read without running anything that its pickle may contain."""

import pickle
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from sparsity.data.images.pickles import read_cifar_batch
from sparsity.data.published.download import DataError

IMAGES = np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8).reshape(2, 3072)


def as_published(path: Path, labels: bytes = b"K\x03K\x08") -> Path:
    """A batch of two images as Python 2 and numpy 1 wrote it: byte strings, and numpy's functions where they stood."""
    pixels = IMAGES.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01K\x02M\x00\x0c\x86" + dtype + b"\x89T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
    path.write_bytes(b"\x80\x02}(U\x04data" + array + state + b"U\x06labels](" + labels + b"eu.")
    return path


def test_images_come_as_three_planes_with_their_labels(tmp_path: Path) -> None:
    images, labels = read_cifar_batch(as_published(tmp_path / "batch"))
    assert np.array_equal(images, IMAGES.reshape(2, 3, 32, 32))
    assert labels.tolist() == [3, 8]
    assert (images.dtype.name, labels.dtype.name) == ("uint8", "int64")


def test_a_file_that_would_run_something_is_refused_by_its_name(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was here",))

    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({b"data": IMAGES, b"labels": [Harmful(), 1]}, protocol=2))
    with pytest.raises(DataError, match=r"asks for \S+, which a batch has no use for"):
        read_cifar_batch(path)
    assert not (tmp_path / "was here").exists()


def test_fewer_labels_than_images_are_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no batch of CIFAR-10 .*delete it"):
        read_cifar_batch(as_published(tmp_path / "batch", labels=b"K\x03"))


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({b"data": 1})])
def test_what_is_no_batch_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path} is no batch of CIFAR-10"):
        read_cifar_batch(path)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_cifar_batch(tmp_path / "batch")


def test_a_machine_without_memory_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(_: object) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr("sparsity.data.images.pickles._ArraysOnly.load", without_memory)
    with pytest.raises(MemoryError):
        read_cifar_batch(as_published(tmp_path / "batch"))
