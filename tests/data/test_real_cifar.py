"""The published CIFAR-10 gives the published images, and the literature's ResNet-32 its accuracy on them.

Runs where the local mirror holds the data set, whole or as its six batches.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsity.data.cifar import cifar10
from sparsity.data.published.catalogue import ARCHIVES, FILES
from sparsity.data.published.checkpoints import PUBLISHED
from sparsity.data.published.download import fetch
from sparsity.data.vision import ImageData
from sparsity.models.resnet import resnet32
from sparsity.training.tasks import Classification
from sparsity.weights.given import read_weights

MIRROR = Path(os.environ.get("SPARSITY_DATA_MIRROR", "no mirror is set"))
HAS_DATA = any((MIRROR / file.path).exists() for file in (FILES["cifar10"]["test_batch"], ARCHIVES["cifar10"]))
pytestmark = pytest.mark.skipif(not HAS_DATA, reason="SPARSITY_DATA_MIRROR has no CIFAR-10")
HELD_OUT_MD5 = {"train": "dc5d85fdaa8483af433f495bdc77d99f", "published": "82bab1d36b456c110b0d761af7f9eb78"}
PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def rows(data: ImageData, part: str) -> np.ndarray:
    """Each image as one comparable value."""
    return getattr(data, part).images.numpy().reshape(-1, 3072).view("V3072")[:, 0]


@pytest.mark.parametrize("baseline", ["train", "published"])
def test_the_published_images_are_split_without_a_rest(data_dir: str, baseline: str) -> None:
    data = cifar10("real", "crop_flip", "own", data_dir, baseline)
    sizes = {"train": (45_000, 5_000, 10_000), "published": (50_000, 5_000, 5_000)}
    assert tuple(len(getattr(data, part)) for part in PARTS) == sizes[baseline]
    assert data.val.labels.bincount().tolist() == [500] * 10
    assert hashlib.md5(data.val.images.numpy().tobytes()).hexdigest() == HELD_OUT_MD5[baseline]
    assert len(data.checksums) == 6


def test_no_image_stands_in_two_parts(data_dir: str) -> None:
    data = cifar10("real", "crop_flip", "own", data_dir, "train")
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not np.intersect1d(rows(data, one), rows(data, other)).size


def test_mean_and_std_are_those_of_the_training_images(data_dir: str) -> None:
    data = cifar10("real", "crop_flip", "own", data_dir, "published")
    std, mean = torch.std_mean(data.train.images.float() / 255, (0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor(data.mean), atol=5e-5, rtol=0)
    torch.testing.assert_close(std, torch.tensor(data.std), atol=5e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif("not (MIRROR / 'checkpoints').exists()", reason="SPARSITY_DATA_MIRROR has no checkpoints")
def test_the_literatures_checkpoint_scores_what_its_publisher_says(data_dir: str) -> None:
    published = PUBLISHED["resnet32", "cifar10"]
    data = cifar10("real", "none", "imagenet", data_dir, "train")
    model = resnet32().to(memory_format=torch.channels_last)
    model.load_state_dict(read_weights(fetch(published.file, data_dir), model).weights)
    metrics = Classification().evaluate(model, data.evaluation_batches(data.test))
    assert float(metrics["accuracy"]) == pytest.approx(published.metric, abs=0.02)
