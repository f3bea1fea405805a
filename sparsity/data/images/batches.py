"""Batches of images that lie on the device: gathered by index there, cropped where wanted, normalised."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparsity.data.images.augment import CropFlip
from sparsity.hardware.machine import mixed_seed
from sparsity.hardware.ranks import Part


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Images uint8 (N, C, H, W) with labels int64 (N,) and the name of exactly these examples.

    Raises:
        ValueError: if they are of other types or shapes.
    """

    images: Tensor
    labels: Tensor
    identity: str

    def __post_init__(self) -> None:
        kinds = [(of.dtype, of.dim(), len(of)) for of in (self.images, self.labels)]
        if kinds != [(torch.uint8, 4, len(self.images)), (torch.int64, 1, len(self.images))]:
            images, labels = (f"{of.dtype} of {tuple(of.shape)}" for of in (self.images, self.labels))
            raise ValueError(
                f"{self.identity} has images {images} and labels {labels}: give torch.uint8 of (number, channels, "
                "height, width) and torch.int64 of (number,)."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """Of the pixels and the labels, in their order."""
        content = hashlib.sha256()
        for tensor in (self.images, self.labels):
            content.update(tensor.cpu().contiguous().numpy().data)
        return content.hexdigest()

    def to(self, device: torch.device | str) -> "ImageSplit":
        """The same split on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


class ImageBatches:
    """Shuffled, normalised training batches of a split, on the device where the split lies.

    The order of epoch e is a permutation drawn by torch's CPU generator, seeded with the first 63 bits of
    sha256("<seed>/<phase>/<e>"): it depends on nothing else, so a resumed run sees the same batches. The last partial
    batch of an epoch is dropped. `crops`, if given, takes its draws from the same generator.
    """

    is_resident = True
    weight = 1.0

    def __init__(
        self,
        split: ImageSplit,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        batch_size: int,
        seed: int,
        phase: str,
        crops: CropFlip | None = None,
    ) -> None:
        """Raises ValueError when `batch_size` (examples) is below 1 or above the size of the split."""
        if not 1 <= batch_size <= len(split):
            raise ValueError(f"batch_size is {batch_size}, but {split.identity} allows 1 to {len(split)}: change it.")
        self._split, self._batch_size, self._seed, self._phase = split, batch_size, seed, phase
        self._crops = crops
        device = split.images.device
        self._normalise = normaliser(mean, std, device)
        self._epoch: int | None = None
        self._order = torch.zeros(len(split), dtype=torch.int64, device=device)
        self._places = torch.arange(batch_size, device=device)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self._split) // self._batch_size  # Deviation 9

    def take(self, part: Part) -> None:
        """Give this part of each batch from now on. Raises ValueError where a batch has fewer examples than parts."""
        part.check(self._batch_size)
        self._places = torch.arange(self._batch_size, device=self._order.device)[part.examples]
        self.weight = part.size * len(self._places) / self._batch_size

    def indices(self, epoch: int) -> Tensor:
        """All indices of the split, int64 (N,), in the order of `epoch`, on the CPU."""
        return self._drawn(epoch)[0]

    def start_epoch(self, epoch: int) -> None:
        """Load the order of `epoch`, and the draws of its crops, into place."""
        if epoch != self._epoch:
            order, generator = self._drawn(epoch)
            self._order.copy_(order)
            if self._crops is not None:
                self._crops.load(order, generator)
            self._epoch = epoch

    def at(self, position: Tensor, step: int = 0) -> tuple[Tensor, Tensor]:
        """Images float32 (B, C, H, W), normalised, and labels int64 (B,) at `position`, int64 0-dim on the device.

        `step` is not looked at: nothing is asked of the device (capturable).
        """
        places = position * self._batch_size + self._places
        indices = self._order.index_select(0, places)
        images = self._split.images.index_select(0, indices) if self._crops is None else self._crops.at(places)
        return self._normalise(images), self._split.labels.index_select(0, indices)

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """The batch at `step` of `epoch`, both counted from 0."""
        assert 0 <= step < self.steps_per_epoch
        self.start_epoch(epoch)
        return self.at(torch.tensor(step, device=self._order.device))

    def _drawn(self, epoch: int) -> tuple[Tensor, torch.Generator]:
        generator = epoch_generator(self._seed, self._phase, epoch)
        return torch.randperm(len(self._split), generator=generator), generator


@dataclass(frozen=True, eq=False)
class EvaluationBatches:
    """A whole split in order, normalised, the last partial batch included; or a rank's share of its examples."""

    split: ImageSplit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        split, size = self.split, self.batch_size
        normalise = normaliser(self.mean, self.std, split.images.device)
        for start in range(0, len(split), size):
            yield normalise(split.images[start : start + size]), split.labels[start : start + size]

    def share(self, place: int, size: int) -> "EvaluationBatches":
        """The examples of one of `size` ranks, one after the other."""
        start, end = (len(self.split) * end // size for end in (place, place + 1))
        images, labels = self.split.images[start:end], self.split.labels[start:end]
        return replace(self, split=replace(self.split, images=images, labels=labels))


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


@functools.cache
def normaliser(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> Normalise:
    """`Normalise`, made once: an evaluation that is captured as a CUDA graph must not copy anything from the host."""
    return Normalise(mean, std, device)


def epoch_generator(seed: int, phase: str, epoch: int) -> torch.Generator:
    """The generator of one epoch of one kind of phase, on the CPU."""
    return torch.Generator().manual_seed(mixed_seed(seed, f"{phase}/{epoch}"))
