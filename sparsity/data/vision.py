"""Which images does a run train, validate and test on, and how do they become batches on the device?

A builder (`mnist`, `fashion_mnist`) loads a whole data set as uint8; `ImageData.to(device)` moves it once; `Batches`
gathers and normalises by index there. Nothing touches single images in Python.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsity.data.arrays import (
    NUM_CLASSES,
    Published,
    balanced_draw,
    embedded_digits,
    generated,
    published_idx,
    without,
)
from sparsity.data.sizes import SplitSizes, published_sizes, split_sizes, validates_on_test

EVALUATION_BATCH_SIZE = 500
_HELD_OUT_SEED = 5000  # of the fixed held-out part of every data set, never the seed of a run
_MNIST_MEAN, _MNIST_STD = 0.1307, 0.3081  # the authors take MNIST's for Fashion-MNIST too


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Images uint8 (N, C, H, W) with labels int64 (N,) and the name of exactly these examples."""

    images: Tensor
    labels: Tensor
    identity: str

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "ImageSplit":
        """The same split on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set, split for a run.

    Attributes:
        name: of what was really loaded: `mnist`, `fashion_mnist`, `digits`, `generated-1x28x28`.
        mean, std: per channel, for pixels scaled to [0, 1].
        checksums: md5 by published file; empty where nothing was fetched.
        extra_tests: further splits that are scored beside `test`.
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

    def to(self, device: torch.device | str) -> Self:
        """The same data, all of it, on `device`."""
        extra = {name: split.to(device) for name, split in self.extra_tests.items()}
        train, val, test = self.train.to(device), self.val.to(device), self.test.to(device)
        return replace(self, train=train, val=val, test=test, extra_tests=extra)

    def training_batches(self, batch_size: int, seed: int, kind: str) -> "Batches":
        """Shuffled training batches; their order is that of (seed, kind of phase, epoch)."""
        return Batches(self.train, self.mean, self.std, batch_size, seed, kind)

    def evaluation_batches(self, split: ImageSplit) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole of a split in order."""
        return evaluation_batches(split, self.mean, self.std, EVALUATION_BATCH_SIZE)


def mnist(source: str, protocol: str, data_dir: str) -> ImageData:
    """MNIST, or its twin when `source` is `embedded` or `generated`; `protocol` is `sound` or `authors`.

    Raises:
        ValueError: an unknown source or protocol; data that cannot be had or is damaged (DataError).
    """
    return _image_data("mnist", source, protocol, data_dir)


def fashion_mnist(source: str, protocol: str, data_dir: str) -> ImageData:
    """Fashion-MNIST, or its twin when `source` is `embedded` or `generated`; `protocol` is `sound` or `authors`.

    Raises:
        ValueError: an unknown source or protocol; data that cannot be had or is damaged (DataError).
    """
    return _image_data("fashion_mnist", source, protocol, data_dir)


class Batches:
    """Shuffled, normalised training batches of a split, on the device where the split lies.

    The order of epoch e is a permutation drawn by torch's CPU generator, seeded with the first 63 bits of
    sha256("<seed>/<phase>/<e>"): it depends on nothing else, so a resumed run sees the same batches. The last partial
    batch of an epoch is dropped.
    """

    is_resident = True

    def __init__(
        self, split: ImageSplit, mean: tuple[float, ...], std: tuple[float, ...], batch_size: int, seed: int, phase: str
    ) -> None:
        """Raises ValueError when `batch_size` (examples) is below 1 or above the size of the split."""
        if not 1 <= batch_size <= len(split):
            raise ValueError(f"batch_size is {batch_size}, but {split.identity} allows 1 to {len(split)}: change it.")
        self._split, self._batch_size, self._seed, self._phase = split, batch_size, seed, phase
        self._normalise = Normalise(mean, std, split.images.device)
        device = split.images.device
        self._epoch: int | None = None
        self._order = torch.zeros(len(split), dtype=torch.int64, device=device)
        self._places = torch.arange(batch_size, device=device)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self._split) // self._batch_size  # Deviation 9

    def indices(self, epoch: int) -> Tensor:
        """All indices of the split, int64 (N,), in the order of `epoch`, on the CPU."""
        return torch.randperm(len(self._split), generator=_generator(self._seed, self._phase, epoch))

    def start_epoch(self, epoch: int) -> None:
        """Load the order of `epoch` into place."""
        if epoch != self._epoch:
            self._order.copy_(self.indices(epoch))
            self._epoch = epoch

    def at(self, position: Tensor, step: int = 0) -> tuple[Tensor, Tensor]:
        """Images float32 (B, C, H, W), normalised, and labels int64 (B,) at `position`, int64 0-dim on the device.

        `step` is not looked at: nothing is asked of the device (capturable).
        """
        indices = self._order.index_select(0, position * self._batch_size + self._places)
        images = self._split.images.index_select(0, indices)
        return self._normalise(images), self._split.labels.index_select(0, indices)

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """The batch at `step` of `epoch`, both counted from 0."""
        assert 0 <= step < self.steps_per_epoch
        self.start_epoch(epoch)
        return self.at(torch.tensor(step, device=self._order.device))


def evaluation_batches(
    split: ImageSplit, mean: tuple[float, ...], std: tuple[float, ...], batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The whole split in order, normalised, the last partial batch included."""
    normalise = Normalise(mean, std, split.images.device)
    for start in range(0, len(split), batch_size):
        yield normalise(split.images[start : start + batch_size]), split.labels[start : start + batch_size]


class Normalise:
    """(pixel / 255 - mean) / std as one multiply-add: uint8 (B, C, H, W) to float32, channels_last where C > 1."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        channel_mean, channel_std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
        self._scale = (1 / (255 * channel_std)).float().to(device)
        self._shift = (-channel_mean / channel_std).float().to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised images; the argument is left as it was."""
        # With one channel the two layouts are the same bytes.
        layout = torch.channels_last if images.shape[1] > 1 else torch.contiguous_format
        pixels = images.to(dtype=torch.float32, memory_format=layout)
        return torch.addcmul(self._shift, pixels, self._scale, out=pixels)


def _generator(seed: int, phase: str, epoch: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{phase}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _image_data(dataset: str, source: str, protocol: str, data_dir: str) -> ImageData:
    sizes = split_sizes(dataset, source, protocol)
    published = _published(dataset, source, data_dir)
    images, labels = published.train_images, published.train_labels
    test = _split(published, "test", published.test_images, published.test_labels)
    if validates_on_test(dataset, protocol):
        train, val = _split(published, "train", images, labels), test
    else:
        held_out = balanced_draw(labels, sizes.val, _HELD_OUT_SEED)
        rest = without(len(labels), held_out)
        train = _split(published, "train-minus-heldout", images[rest], labels[rest])
        val = _split(published, f"heldout-{sizes.val}", images[held_out], labels[held_out])
    assert sizes == SplitSizes(len(train), len(val), len(test))
    return ImageData(published.name, train, val, test, published.mean, published.std, NUM_CLASSES, published.checksums)


def _published(dataset: str, source: str, data_dir: str) -> Published:
    if source == "real":
        return published_idx(dataset, data_dir, _MNIST_MEAN, _MNIST_STD)
    if source == "embedded":
        return embedded_digits()
    sizes = published_sizes(dataset, source)
    return generated((1, 28, 28), sizes.train, sizes.test)


def _split(published: Published, part: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> ImageSplit:
    return ImageSplit(torch.from_numpy(images), torch.from_numpy(labels), f"{published.name}/{part}")
