"""A few hundred images of noise that stand for ImageNet's 1.28 million in a rehearsal.

They lie on the device, so that nothing is read or decoded: what is timed is the training step, not the loader. Steps
are executed as those of the real data set are: not captured, since those cannot be.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sparsity.data.images.batches import Normalise
from sparsity.data.images.streaming import EVALUATION_BATCH_SIZE, MEAN, STD

NUM_IMAGES = 512
_SEED = 224


@dataclass(frozen=True)
class PoolSplit:
    """So many images, which the pool stands for."""

    num_images: int
    identity: str

    def __len__(self) -> int:
        return self.num_images


@dataclass(frozen=True, eq=False)
class NoiseData:
    """A data set of noise: images uint8 (P, 3, size, size) with labels int64 (P,), again and again."""

    name: str
    train: PoolSplit
    val: PoolSplit
    test: PoolSplit
    num_classes: int
    images: Tensor
    labels: Tensor
    checksums: dict[str, str] = field(default_factory=dict)
    extra_tests: dict[str, PoolSplit] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return tuple(self.images.shape[1:])

    def to(self, device: torch.device | str) -> Self:
        """The same pool on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def training_batches(self, batch_size: int, seed: int, kind: str) -> "PoolBatches":
        """Batches in the order of the pool, whatever the seed and the kind of phase."""
        return PoolBatches(self, batch_size)

    def evaluation_batches(self, split: PoolSplit) -> Iterator[tuple[Tensor, Tensor]]:
        """As many images as the split has, the last partial batch included."""
        normalise = Normalise(MEAN, STD, self.images.device)
        for start in range(0, len(split), EVALUATION_BATCH_SIZE):
            images, labels = self.part(start, min(EVALUATION_BATCH_SIZE, len(split) - start))
            yield normalise(images), labels

    def part(self, start: int, size: int) -> tuple[Tensor, Tensor]:
        """`size` images from `start` on, which may lie beyond the end of the pool."""
        places = torch.arange(start, start + size, device=self.labels.device) % len(self.labels)
        return self.images[places], self.labels[places]


class PoolBatches:
    """Normalised batches of a pool, the same in every epoch."""

    is_resident = False

    def __init__(self, pool: NoiseData, batch_size: int) -> None:
        self._pool, self._batch_size = pool, batch_size
        self._normalise = Normalise(MEAN, STD, pool.images.device)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch of the data set that the pool stands for."""
        return len(self._pool.train) // self._batch_size

    def start_epoch(self, epoch: int) -> None:
        """Nothing changes."""

    def at(self, position: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 (B, 3, size, size), normalised, and labels int64 (B,) at `step`."""
        images, labels = self._pool.part(step * self._batch_size, self._batch_size)
        return self._normalise(images), labels


def noise_pool(size: int, num_classes: int, num_train: int, num_val: int, num_test: int) -> NoiseData:
    """Noise of `size` x `size` pixels in colour, with labels in turn; always the same."""
    words = np.random.PCG64(_SEED).random_raw(-(-NUM_IMAGES * 3 * size * size // 8))
    pixels = words.astype("<u8").view(np.uint8)[: NUM_IMAGES * 3 * size * size]
    name = f"generated-3x{size}x{size}"
    return NoiseData(
        name=name,
        train=PoolSplit(num_train, f"{name}/train"),
        val=PoolSplit(num_val, f"{name}/heldout-{num_val}"),
        test=PoolSplit(num_test, f"{name}/test"),
        num_classes=num_classes,
        images=torch.from_numpy(pixels.reshape(NUM_IMAGES, 3, size, size)),
        labels=torch.arange(NUM_IMAGES) % num_classes,
    )
