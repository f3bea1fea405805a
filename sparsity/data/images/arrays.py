"""Images in memory by source, before a protocol splits them: published files, embedded digits, generated noise.

Everything drawn here comes from the raw 64-bit stream of numpy's PCG64, which numpy guarantees to be the same on every
platform and in every version (the methods of `Generator` and torch's samplers carry no such promise). Seeds are
constants of the data set, never the seed of a run.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsity.data.images.idx import read_idx
from sparsity.data.published.catalogue import FILES, fetch_dataset

NUM_CLASSES = 10
HELD_OUT_SEED = 5000  # of the part of every data set that is held out, the same for every run
_DIGITS_TEST_SEED = 1797
_DIGITS_TEST_SIZE = 300
_GENERATED_SEED = 28


@dataclass(frozen=True, eq=False)
class SourceImages:
    """Training and test examples as their source gives them: images uint8 (N, C, H, W), labels int64 (N,).

    Attributes:
        name: of what was really loaded: `mnist`, `digits`, `generated-1x28x28`.
        mean, std: per channel, of pixels scaled to [0, 1].
        checksums: md5 as published, by file; empty where nothing was fetched.
        test_name: of the test set, which tells what else it was used for.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    checksums: dict[str, str] = field(default_factory=dict)
    test_name: str = "test"


def balanced_draw(labels: NDArray[np.int64], size: int, seed: int, num_classes: int = NUM_CLASSES) -> NDArray[np.int64]:
    """Indices, ascending, of `size` examples with an equal number of each class.

    Where `size` is no multiple of `num_classes` the first classes give one more. The same (labels, size, seed) give the
    same indices on every platform.
    """
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    share, rest = divmod(size, num_classes)
    drawn = [order[labels[order] == label][: share + (label < rest)] for label in range(num_classes)]
    return np.sort(np.concatenate(drawn))


def without(num_examples: int, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices below `num_examples`, ascending, that were not drawn."""
    return np.setdiff1d(np.arange(num_examples), drawn, assume_unique=True)


def published_idx(dataset: str, data_dir: str, mean: float, std: float) -> SourceImages:
    """The published idx files of `dataset`, fetched where they are missing.

    Raises:
        DataError: a file could not be had, or is damaged.
    """
    paths = dict(fetch_dataset(dataset, data_dir))
    return SourceImages(
        name=dataset,
        train_images=read_idx(paths["train_images"], 3)[:, None],
        train_labels=read_idx(paths["train_labels"], 1).astype(np.int64),
        test_images=read_idx(paths["test_images"], 3)[:, None],
        test_labels=read_idx(paths["test_labels"], 1).astype(np.int64),
        mean=(mean,),
        std=(std,),
        checksums=checksums(dataset),
    )


def embedded_digits() -> SourceImages:
    """1,797 real handwritten digits that scikit-learn carries (UCI, 8 x 8, 16 greys), enlarged to 28 x 28.

    The 300 test digits, 30 a class, are a fixed draw. Mean and std are those of the 1,200 that stay in training when
    297 are held out.
    """
    from sklearn.datasets import load_digits  # half a second that only this source pays

    digits = load_digits()
    images = _enlarged(digits.images.astype(np.int64))[:, None]
    labels = digits.target.astype(np.int64)
    test = balanced_draw(labels, _DIGITS_TEST_SIZE, _DIGITS_TEST_SEED)
    train = without(len(labels), test)
    return SourceImages(
        "digits", images[train], labels[train], images[test], labels[test], mean=(0.3057,), std=(0.3251,)
    )


def generated(shape: tuple[int, int, int], num_train: int, num_test: int) -> SourceImages:
    """Random images of `shape` (C, H, W): one random mean image per class, plus noise: a network can learn them."""
    num_images, num_pixels = num_train + num_test, int(np.prod(shape))
    stream = np.random.PCG64(_GENERATED_SEED)
    labels = np.arange(num_images) % NUM_CLASSES
    means = _random_bytes(stream, NUM_CLASSES * num_pixels).reshape(NUM_CLASSES, *shape) >> 1
    images = _random_bytes(stream, num_images * num_pixels).reshape(num_images, *shape)
    images >>= 1
    images += means[labels]
    channels, height, width = shape
    return SourceImages(
        name=f"generated-{channels}x{height}x{width}",
        train_images=images[:num_train],
        train_labels=labels[:num_train],
        test_images=images[num_train:],
        test_labels=labels[num_train:],
        mean=(0.498,) * channels,
        std=(0.205,) * channels,
    )


def checksums(dataset: str) -> dict[str, str]:
    """md5 by file, as published."""
    return {file.path: file.md5 for file in FILES[dataset].values() if file.md5 is not None}


def _random_bytes(stream: np.random.PCG64, num_bytes: int) -> NDArray[np.uint8]:
    words = stream.random_raw(-(-num_bytes // 8))
    return words.astype("<u8").view(np.uint8)[:num_bytes]


def _enlarged(images: NDArray[np.int64]) -> NDArray[np.uint8]:
    """8 x 8 images of values 0..16 as 28 x 28 of 0..255, bilinear with half-pixel centres.

    In integers, so that no platform rounds differently: the interpolation weights are multiples of 1/14.
    """
    centre = np.clip(4 * np.arange(28) - 5, 0, 14 * 7)  # of each target pixel, in 1/14 of a source pixel
    left = np.minimum(centre // 14, 6)
    weights = np.zeros((28, 8), dtype=np.int64)
    weights[np.arange(28), left] = 14 - (centre - 14 * left)
    weights[np.arange(28), left + 1] = centre - 14 * left
    enlarged = weights @ images @ weights.T
    full = 16 * 14 * 14
    return ((enlarged * 255 + full // 2) // full).astype(np.uint8)
