"""Builders of MNIST and Fashion-MNIST: a data set as published, split, on the device.

A builder (`mnist`, `fashion_mnist`; `cifar10` has a file of its own) loads a whole data set as uint8;
`ImageData.to(device)` moves it once; `batches` gathers and normalises by index there. Nothing touches single images in
Python.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from sparsity.data.images.arrays import (
    HELD_OUT_SEED,
    NUM_CLASSES,
    SourceImages,
    balanced_draw,
    embedded_digits,
    generated,
    published_idx,
    without,
)
from sparsity.data.images.augment import MOST_CHANNELS, CropFlip
from sparsity.data.images.batches import EvaluationBatches, ImageBatches, ImageSplit
from sparsity.data.sizes import (
    SplitSizes,
    check_word,
    published_sizes,
    split_sizes,
)

AUGMENTATIONS = ("none", "crop_flip")
EVALUATION_BATCH_SIZE = 500
NORMALISATIONS = ("own", "by_256")  # of MNIST
_MNIST_MEAN, _MNIST_STD = 0.1307, 0.3081  # the authors take MNIST's for Fashion-MNIST too


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set, split for a run.

    Attributes:
        name: of what was really loaded: `mnist`, `fashion_mnist`, `digits`, `generated-1x28x28`.
        mean, std: per channel, for pixels scaled to [0, 1].
        checksums: md5 by published file; empty where nothing was fetched.
        extra_tests: further splits that are scored beside `test`.
        augment: of training batches, one of AUGMENTATIONS.

    Raises:
        ValueError: if a label is no class, mean or std is not one number per channel, or images cannot be augmented so.
    """

    name: str
    train: ImageSplit
    val: ImageSplit
    test: ImageSplit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    checksums: dict[str, str]
    extra_tests: dict[str, ImageSplit] = field(default_factory=dict)
    augment: str = "none"

    def __post_init__(self) -> None:
        num_channels = self.image_shape[0]
        if {len(self.mean), len(self.std)} != {num_channels} or min(self.std) <= 0:
            raise ValueError(
                f"{self.name} has mean {self.mean} and std {self.std}: give each a number per channel, {num_channels}, "
                "and those of std above 0."
            )
        check_word(f"The augment of {self.name}", self.augment, AUGMENTATIONS)
        if self.augment == "crop_flip" and num_channels > MOST_CHANNELS:
            raise ValueError(
                f"crop_flip takes images of up to {MOST_CHANNELS} channels, and {self.name} has {num_channels}."
            )
        for split in (self.train, self.val, self.test, *self.extra_tests.values()):
            labels = split.labels
            if labels.is_cpu and len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise ValueError(
                    f"{split.identity} has labels from {labels.min()} to {labels.max()}, but {self.name} has "
                    f"{self.num_classes} classes: give labels from 0 to {self.num_classes - 1}."
                )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return tuple(self.train.images.shape[1:])

    def to(self, device: torch.device | str) -> Self:
        """The same data, all of it, on `device`."""
        extra = {name: split.to(device) for name, split in self.extra_tests.items()}
        train, val, test = self.train.to(device), self.val.to(device), self.test.to(device)
        return replace(self, train=train, val=val, test=test, extra_tests=extra)

    def training_batches(self, batch_size: int, seed: int, kind: str) -> "ImageBatches":
        """Shuffled training batches; their order is that of (seed, kind of phase, epoch)."""
        crops = CropFlip(self.train.images) if self.augment == "crop_flip" else None
        return ImageBatches(self.train, self.mean, self.std, batch_size, seed, kind, crops)

    def evaluation_batches(self, split: ImageSplit) -> EvaluationBatches:
        """The whole of a split in order."""
        return EvaluationBatches(split, self.mean, self.std, EVALUATION_BATCH_SIZE)


def mnist(
    source: str, data_dir: str, normalise: str = "own", test_set_gates: bool = False, train_on_all: bool = False
) -> ImageData:
    """MNIST, or its twin when `source` is `embedded` or `generated`.

    Args:
        normalise: by the data's `own` mean and deviation, or `by_256`: pixels over 256 and no more, as Caffe does.
        test_set_gates: the test set itself is the validation set.
        train_on_all: the images that are held out for validation are trained on too.

    Raises:
        ValueError: an unknown source or word; data that cannot be had or is damaged (DataError).
    """
    check_word("dataset.normalise", normalise, NORMALISATIONS)
    data = image_data("mnist", _mnist_like("mnist", source, data_dir), source, "train", test_set_gates, train_on_all)
    return data if normalise == "own" else replace(data, mean=(0.0,), std=(256 / 255,))  # of pixels over 255


def fashion_mnist(source: str, data_dir: str) -> ImageData:
    """Fashion-MNIST, or its twin when `source` is `embedded` or `generated`.

    Raises:
        ValueError: an unknown source; data that cannot be had or is damaged (DataError).
    """
    return image_data("fashion_mnist", _mnist_like("fashion_mnist", source, data_dir), source)


def image_data(
    dataset: str,
    found: SourceImages,
    source: str,
    baseline: str = "train",
    test_set_gates: bool = False,
    train_on_all: bool = False,
) -> ImageData:
    """What was found of a data set in its source, split for a baseline of that kind; the last two are protocol keys.

    Raises:
        ValueError: an unknown source.
    """
    sizes = split_sizes(dataset, source, baseline, "", test_set_gates, train_on_all)
    train = _split(found, "train", found.train_images, found.train_labels)
    test = _split(found, found.test_name, found.test_images, found.test_labels)
    num_held_out = published_sizes(dataset, source).held_out
    if baseline == "published":
        test, val = _held_out(test, num_held_out, f"{test.identity}-heldout-{num_held_out}")
    else:
        rest, val = _held_out(train, num_held_out, f"{found.name}/heldout-{num_held_out}")
        train, val = train if train_on_all else rest, test if test_set_gates else val
    assert sizes == SplitSizes(len(train), len(val), len(test))
    return ImageData(found.name, train, val, test, found.mean, found.std, NUM_CLASSES, found.checksums)


def _mnist_like(dataset: str, source: str, data_dir: str) -> SourceImages:
    sizes = published_sizes(dataset, source)
    if source == "real":
        return published_idx(dataset, data_dir, _MNIST_MEAN, _MNIST_STD)
    if source == "embedded":
        return embedded_digits()
    return generated((1, 28, 28), sizes.train, sizes.test)


def _held_out(split: ImageSplit, size: int, identity: str) -> tuple[ImageSplit, ImageSplit]:
    """`split` without `size` of its examples, as many of each class, and these under the name `identity`."""
    held_out = balanced_draw(split.labels.numpy(), size, HELD_OUT_SEED)
    rest = without(len(split), held_out)
    return _part(split, rest, f"{split.identity}-minus-heldout"), _part(split, held_out, identity)


def _part(split: ImageSplit, indices: NDArray[np.int64], identity: str) -> ImageSplit:
    chosen = torch.from_numpy(indices)
    return ImageSplit(split.images[chosen], split.labels[chosen], identity)


def _split(found: SourceImages, part: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> ImageSplit:
    return ImageSplit(torch.from_numpy(images), torch.from_numpy(labels), f"{found.name}/{part}")
