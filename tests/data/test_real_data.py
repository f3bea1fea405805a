"""The published files give the published data sets, held out as promised. Runs where a local mirror is set."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from scripts import download
from sparsity.data.images.batches import ImageSplit
from sparsity.data.vision import ImageData, fashion_mnist, mnist

pytestmark = pytest.mark.skipif("SPARSITY_DATA_MIRROR" not in os.environ, reason="SPARSITY_DATA_MIRROR is not set")
BUILDERS = {"mnist": mnist, "fashion_mnist": fashion_mnist}
HELD_OUT_MD5 = {"mnist": "d06246c6e89aee582d47aa8f1ef2e958", "fashion_mnist": "1a13d46642b8c37a4f62e0c4f7264bce"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=list(BUILDERS))
def data(request: pytest.FixtureRequest, data_dir: str) -> ImageData:
    return BUILDERS[request.param]("real", data_dir)


def rows(*splits: ImageSplit) -> np.ndarray:
    """Each image as one comparable value."""
    images = np.concatenate([split.images.numpy().reshape(-1, 784) for split in splits])
    return images.view("V784")[:, 0]


def test_counts_are_the_published_ones(data: ImageData) -> None:
    assert (len(data.train), len(data.val), len(data.test)) == (55_000, 5_000, 10_000)
    assert data.train.images.shape == (55_000, 1, 28, 28)


def test_the_held_out_part_has_500_images_a_class(data: ImageData) -> None:
    assert data.val.labels.bincount().tolist() == [500] * 10


def test_training_and_held_out_images_together_are_the_published_training_set(data: ImageData, data_dir: str) -> None:
    published = np.fromfile(Path(data_dir, data.name.replace("_", "-"), "train-images-idx3-ubyte"), dtype=np.uint8)
    whole = published[16:].reshape(-1, 784).view("V784")[:, 0]
    assert np.array_equal(np.sort(rows(data.train, data.val)), np.sort(whole))


def test_the_test_images_are_the_published_ones(data: ImageData, data_dir: str) -> None:
    published = np.fromfile(Path(data_dir, data.name.replace("_", "-"), "t10k-images-idx3-ubyte"), dtype=np.uint8)
    assert np.array_equal(data.test.images.numpy().ravel(), published[16:])


def test_no_test_image_is_trained_on(data: ImageData) -> None:
    assert not np.intersect1d(rows(data.train), rows(data.test)).size


def test_no_held_out_image_is_trained_on(data: ImageData) -> None:
    assert not np.intersect1d(rows(data.train), rows(data.val)).size


def test_the_held_out_part_is_always_the_same(data: ImageData) -> None:
    assert hashlib.md5(data.val.images.numpy().tobytes()).hexdigest() == HELD_OUT_MD5[data.name]


def test_authors_mnist_trains_on_all_60000_and_validates_on_the_test_set(data_dir: str) -> None:
    data = mnist("real", data_dir, test_set_gates=True, train_on_all=True)
    assert (len(data.train), data.val.identity, data.train.identity) == (60_000, "mnist/test", "mnist/train")


def test_the_splits_name_their_data(data: ImageData) -> None:
    assert data.val.identity == f"{data.name}/heldout-5000"
    assert len(data.checksums) == 4
    assert (data.mean, data.std) == ((0.1307,), (0.3081,))


def test_the_script_says_where_each_file_is(data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert download.main(["mnist", "--data-dir", data_dir]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"mnist: {data_dir}/mnist/train-images-idx3-ubyte is there and verified"
    assert len(lines) == 4
