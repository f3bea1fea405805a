"""CIFAR-10 and its twins are split as the baseline asks, and normalised as the experiment says."""

import numpy as np
import pytest
import torch

from sparsity.data import cifar
from sparsity.data.cifar import cifar10
from sparsity.data.images.arrays import SourceImages
from sparsity.data.vision import ImageData

PARTS = ("train", "val", "test")


def built(source: str = "embedded", baseline: str = "train", **keys: str) -> ImageData:
    keys = {"augment": "crop_flip", "normalise": "own"} | keys
    return cifar10(source=source, baseline=baseline, data_dir="unused", **keys)


def rows(data: ImageData, part: str) -> set[bytes]:
    return {image.tobytes() for image in getattr(data, part).images.numpy()}


def test_validation_images_are_held_out_of_training() -> None:
    data = built()
    assert [getattr(data, part).identity for part in PARTS] == [
        "shapes/train-minus-heldout",
        "shapes/heldout-500",
        "shapes/test",
    ]
    assert [len(getattr(data, part)) for part in PARTS] == [2_000, 500, 1_000]


def test_a_published_baseline_is_gated_on_half_the_test_set_and_tested_on_the_other_half() -> None:
    data = built(baseline="published")
    assert [getattr(data, part).identity for part in PARTS] == [
        "shapes/train",
        "shapes/test-heldout-500",
        "shapes/test-minus-heldout",
    ]
    assert rows(data, "val") | rows(data, "test") == rows(built(), "test")


def test_the_names_of_the_splits_say_that_the_published_checkpoint_was_chosen_on_the_test_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class_of = np.arange(60_000) % 10
    blank = np.zeros((60_000, 3, 1, 1), dtype=np.uint8)
    parts = (blank[:50_000], class_of[:50_000], blank[50_000:], class_of[50_000:])
    whole = SourceImages("cifar10", *parts, mean=(0.0,) * 3, std=(1.0,) * 3)
    monkeypatch.setattr(cifar, "published_cifar10", lambda _: whole)
    data, name = built("real", "published"), "cifar10/test-which-chose-the-checkpoint"
    assert [data.val.identity, data.test.identity] == [f"{name}-heldout-5000", f"{name}-minus-heldout"]
    assert built("real").test.identity == "cifar10/test"


@pytest.mark.parametrize("baseline", ["train", "published"])
def test_no_image_is_in_two_parts(baseline: str) -> None:
    data = built(baseline=baseline)
    assert (
        sum(len(rows(data, part)) for part in PARTS) == len(set.union(*(rows(data, part) for part in PARTS))) == 3_500
    )


@pytest.mark.parametrize("baseline", ["train", "published"])
def test_validation_images_are_as_many_of_each_class(baseline: str) -> None:
    assert built(baseline=baseline).val.labels.bincount().tolist() == [50] * 10


def test_images_are_normalised_by_their_own_statistics_or_by_those_of_imagenet() -> None:
    own, imagenet = built(), built(normalise="imagenet")
    pixels = own.train.images.double() / 255
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.tensor(own.mean).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(pixels.std((0, 2, 3)), torch.tensor(own.std).double(), atol=0.01, rtol=0)
    assert (imagenet.mean, imagenet.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_training_batches_are_cropped_if_that_is_wanted() -> None:
    plain, cropped = (
        built(augment=augment).training_batches(100, seed=0, kind="regularise").batch(0, 0)
        for augment in ("none", "crop_flip")
    )
    assert torch.equal(plain[1], cropped[1])
    assert not torch.equal(plain[0], cropped[0])


def test_generated_images_have_the_number_and_shape_of_the_real() -> None:
    data = built(source="generated")
    assert (data.name, data.train.images.shape) == ("generated-3x32x32", (45_000, 3, 32, 32))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"source": "reel"}, "source is 'reel', but it must be one of real, embedded, generated"),
        ({"augment": "mixup"}, "dataset.augment is 'mixup', but it must be one of none, crop_flip"),
        ({"normalise": "mnist"}, "dataset.normalise is 'mnist', but it must be one of own, imagenet"),
    ],
)
def test_an_unknown_word_is_answered_with_the_known_ones(keys: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        built(**keys)
