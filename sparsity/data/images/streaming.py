"""Data too large for the device, brought there batch by batch, loaded ahead of the training.

What a batch holds depends on (seed, kind, epoch, step) alone: neither on the number of workers, nor on where in the
epoch the first batch is asked for, so that a resumed run decodes nothing of what went before.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from sparsity.data.images.batches import Normalise, epoch_generator
from sparsity.data.images.crops import EpochDraws
from sparsity.data.images.loading import NUM_BATCHES_AHEAD, Batch, FolderSplit, Loader, sent
from sparsity.hardware.ranks import Part

EVALUATION_BATCH_SIZE = 100
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, which its published weights expect


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        size: of the square images that the network takes, in pixels.
        min_area: smallest share of an image that a training crop takes, in (0, 1].
        max_damaged: how many images may be damaged.
        num_workers: threads or processes that read and decode; 0 is one per core that this process may use.
    """

    size: int = 224
    min_area: float = 0.08
    max_damaged: int = 0
    num_workers: int = 0


@dataclass(frozen=True, eq=False)
class StreamedData:
    """Image files, split for a run.

    Attributes:
        name: of what is really read: `imagenet`, `imagenet-sample`, `embedded-figures`.
        checksums: of the names of the files, by folder.
        extra_tests: further splits that are scored beside `test`.
    """

    name: str
    train: FolderSplit
    val: FolderSplit
    test: FolderSplit
    num_classes: int
    checksums: dict[str, str]
    reading: Reading
    extra_tests: dict[str, FolderSplit] = field(default_factory=dict)
    loader: Loader | None = None
    kept: dict[tuple[str, range], list[Batch]] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width, as the network takes them."""
        return (3, self.reading.size, self.reading.size)

    def to(self, device: torch.device | str) -> Self:
        """The same data, ready to be streamed to `device`."""
        reading = self.reading
        loader = Loader(reading.size, torch.device(device), reading.num_workers, reading.max_damaged)
        return replace(self, loader=loader, kept={})

    def training_batches(self, batch_size: int, seed: int, kind: str) -> "StreamedBatches":
        """Shuffled training batches; their order and crops are those of (seed, kind of phase, epoch)."""
        assert self.loader is not None, "the data were not sent to a device"
        return StreamedBatches(self.loader, self.train, batch_size, seed, kind, self.reading.min_area)

    def evaluation_batches(self, split: FolderSplit) -> "StreamedEvaluation":
        """The whole of a split in order; of the images that gate all that was read is kept."""
        assert self.loader is not None, "the data were not sent to a device"
        return StreamedEvaluation(self.loader, split, range(len(split)), self.kept if split is self.val else None)


@dataclass(frozen=True, eq=False)
class StreamedEvaluation:
    """Images of a split in order, normalised, the last partial batch included.

    Attributes:
        places: which images.
        kept: the images that gate are read once and kept here on the device, as bytes: they are evaluated hundreds of
            times.
    """

    loader: Loader
    split: FolderSplit
    places: range
    kept: dict[tuple[str, range], list[Batch]] | None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        normalise = Normalise(MEAN, STD, self.loader.device)
        for images, labels in self._read():
            yield normalise(images), labels

    def share(self, place: int, size: int) -> "StreamedEvaluation":
        """The images of one of `size` ranks, one after the other."""
        start, end = (len(self.places) * end // size for end in (place, place + 1))
        return replace(self, places=self.places[start:end])

    def _read(self) -> Iterator[Batch]:
        name = self.split.identity, self.places
        if self.kept is None:
            yield from _in_order(self.loader, self.split, self.places)
            return
        if name in self.kept:
            yield from self.kept[name]
            return
        batches = []
        for batch in _in_order(self.loader, self.split, self.places):
            batches.append(batch)
            yield batch
        self.kept[name] = batches


class StreamedBatches:
    """Shuffled, cropped and normalised training batches of a split, on the loader's device.

    The order of an epoch is drawn as that of data which lie on the device. The last partial batch of an epoch is
    dropped.
    """

    is_resident = False
    weight = 1.0

    def __init__(
        self, loader: Loader, split: FolderSplit, batch_size: int, seed: int, kind: str, min_area: float
    ) -> None:
        """Raises ValueError when `batch_size` (examples) is below 1 or above the size of the split."""
        if not 1 <= batch_size <= len(split):
            raise ValueError(f"batch_size is {batch_size}, but {split.identity} allows 1 to {len(split)}: change it.")
        self._loader, self._split, self._batch_size = loader, split, batch_size
        self._seed, self._kind, self._min_area = seed, kind, min_area
        self._normalise = Normalise(MEAN, STD, loader.device)
        self._ahead, self._part = Ahead(self._submit, 0), Part()

    def take(self, part: Part) -> None:
        """Give this part of each batch from now on. Raises ValueError where a batch has fewer examples than parts."""
        part.check(self._batch_size)
        self._part = part
        self.weight = part.size * len(range(self._batch_size)[part.examples]) / self._batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self._split) // self._batch_size  # Deviation 9

    def start_epoch(self, epoch: int) -> None:
        """Load the order of `epoch`, and the draws of its crops, into place; nothing is read yet."""
        generator = epoch_generator(self._seed, self._kind, epoch)
        self._order = torch.randperm(len(self._split), generator=generator)
        self._draws = EpochDraws(self._seed, self._kind, epoch, self._min_area)
        self._ahead = Ahead(self._submit, len(self._steps))

    def at(self, position: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 (B, 3, size, size), normalised, and labels int64 (B,) at `step`; `position` is not looked at.

        Raises:
            DataError: too many images are damaged.
        """
        images, labels = sent(self._ahead.at(self._steps.index(step)), self._loader.device)
        return self._normalise(images), labels

    @property
    def _steps(self) -> range:
        """Those of an epoch that are read here."""
        return range(self._part.first, self.steps_per_epoch, self._part.stride)

    def _submit(self, place: int) -> "Future[Batch]":
        start = self._steps[place] * self._batch_size
        indices = self._order[start : start + self._batch_size][self._part.examples].tolist()
        return self._loader.submit(self._split, indices, self._draws.crop)


class Ahead:
    """Keeps the batches that come next under way.

    Args:
        submit: starts loading the batch at a place.
        num_batches: places in all.
    """

    def __init__(self, submit: "Callable[[int], Future[Batch]]", num_batches: int) -> None:
        self._submit, self._num_batches = submit, num_batches
        self._start, self._queue = 0, deque["Future[Batch]"]()

    def at(self, place: int) -> Batch:
        """The batch at `place`; those that follow are under way on return. A place out of turn starts anew."""
        if place != self._start:
            self._start = place
            self._queue.clear()
        while len(self._queue) <= NUM_BATCHES_AHEAD and self._start + len(self._queue) < self._num_batches:
            self._queue.append(self._submit(self._start + len(self._queue)))
        self._start += 1
        return self._queue.popleft().result()


def _in_order(loader: Loader, split: FolderSplit, places: range) -> Iterator[Batch]:
    """The images of a split at `places`, batch by batch, on the device."""
    starts = range(0, len(places), EVALUATION_BATCH_SIZE)

    def submit(place: int) -> "Future[Batch]":
        indices = places[starts[place] : starts[place] + EVALUATION_BATCH_SIZE]
        return loader.submit(split, list(indices), None)

    ahead = Ahead(submit, len(starts))
    for place in range(len(starts)):
        yield sent(ahead.at(place), loader.device)
