"""A pool of workers that read and load batches ahead, and say which images are damaged.

A batch is uint8 (B, 3, size, size) and labels int64 (B,) on the CPU, in memory that a GPU fetches by itself where there
is one. Pixels are normalised on the device.
"""

import hashlib
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsity.data.images.decoders import DecoderError, Decoders
from sparsity.data.images.decoding import ChooseCrop, DamagedImageError, read
from sparsity.data.published.download import DataError
from sparsity.files import sha256
from sparsity.hardware import cpu, ranks

NUM_BATCHES_AHEAD = 4
IMAGES_PER_TASK = 8  # few turns at Python's lock an image, and still many tasks a batch
MOST_THREADS = 3  # workers that share one lock without waiting for it: an image is a quarter of its time under it

Batch = tuple[Tensor, Tensor]
_log = logging.getLogger(__name__)


NUM_SIZES, NUM_CONTENTS = 100_000, 64  # files looked at by a digest: seconds at the size of ImageNet


@dataclass(frozen=True, eq=False)
class FolderSplit:
    """Image files below `root` with labels int64 (N,) and the name of exactly these images."""

    root: Path
    files: Sequence[str]
    labels: Tensor
    identity: str

    def __len__(self) -> int:
        return len(self.files)

    def digest(self) -> str:
        """Of names and labels, of the sizes of at most NUM_SIZES files, and of the contents of NUM_CONTENTS."""
        content = hashlib.sha256("\n".join(self.files).encode())
        content.update(self.labels.numpy().data)
        for path in self._spread(NUM_SIZES):
            content.update(f"{path.stat().st_size if path.is_file() else None} ".encode())
        for path in self._spread(NUM_CONTENTS):
            content.update(sha256(path).encode() if path.is_file() else b"")
        return content.hexdigest()

    def _spread(self, number: int) -> list[Path]:
        """At most `number` of the files, evenly spread over all."""
        return [self.root / name for name in self.files[:: -(-len(self.files) // number) or 1]]


class DamageLimit:
    """Names each damaged image of a run once, and gives up when there are more than `max_damaged`."""

    def __init__(self, max_damaged: int) -> None:
        self._max_damaged = max_damaged
        self._found: set[Path] = set()
        self._lock = threading.Lock()

    def report(self, path: Path, reason: str) -> None:
        """Take note of a damaged image.

        Raises:
            DataError: there are too many.
        """
        with self._lock:
            if path not in self._found:
                _log.warning("warning: %s is damaged (%s); the next image takes its place.", path, reason)
            self._found.add(path)
            if len(self._found) > self._max_damaged:
                raise DataError(
                    f"{len(self._found)} images are damaged, {path} among them ({reason}), and dataset.max_damaged="
                    f"{self._max_damaged} allows no more: unpack the data set anew, or raise that number."
                )


class Loader:
    """Loads batches of a split in the background.

    Args:
        size: of the images that the network takes, in pixels.
        device: where the batches are wanted.
        num_workers: threads or processes that read and decode; 0 is one per core that this process may use, which
            several ranks share.
        max_damaged: how many images may be damaged.
        in_processes: whether the workers are processes; None: where there are more than MOST_THREADS.
    """

    def __init__(
        self, size: int, device: torch.device, num_workers: int, max_damaged: int, in_processes: bool | None = None
    ) -> None:
        num_workers = num_workers or max(1, cpu.num_cores() // ranks.number_on_this_machine())
        if in_processes is None:
            in_processes = num_workers > MOST_THREADS
        self.device = device
        self._size = size
        self._damage = DamageLimit(max_damaged)
        self._workers = ThreadPoolExecutor(num_workers, "images")
        self._assemblers = ThreadPoolExecutor(NUM_BATCHES_AHEAD, "batches")
        self._decoders = Decoders(size) if in_processes else None

    def submit(self, split: FolderSplit, indices: list[int], choose: ChooseCrop | None) -> "Future[Batch]":
        """Load the images at `indices`, cropped as `choose` says, or centrally where it is None.

        The next image of the split takes the place of a damaged one. The future raises DataError where too many are.
        """
        return self._assemblers.submit(self._assemble, split, indices, choose)

    def _assemble(self, split: FolderSplit, indices: list[int], choose: ChooseCrop | None) -> Batch:
        is_pinned = self.device.type == "cuda"
        images = torch.empty((len(indices), self._size, self._size, 3), dtype=torch.uint8, pin_memory=is_pinned)
        pixels = images.numpy()

        def fill(start: int) -> list[int]:
            task = slice(start, start + IMAGES_PER_TASK)
            return self._fill(split, indices[task], choose, pixels[task])

        tasks = self._workers.map(fill, range(0, len(indices), IMAGES_PER_TASK))
        labels = split.labels[[place for places in tasks for place in places]]
        return images.permute(0, 3, 1, 2), labels.pin_memory() if is_pinned else labels

    def _fill(
        self, split: FolderSplit, indices: list[int], choose: ChooseCrop | None, pixels: NDArray[np.uint8]
    ) -> list[int]:
        """Where the images stand in the split that were written into `pixels` (len(indices), size, size, 3)."""
        is_read = bytes(len(indices))
        if self._decoders is not None:
            paths = [split.root / split.files[index] for index in indices]
            try:
                is_read = self._decoders.fill((paths, indices, choose), pixels)
            except DecoderError as error:
                raise DataError(
                    f"A process that decodes images {error}, with {paths[0]} and the next {len(paths) - 1} of its "
                    "batch to read: if memory is short, lower machine.num_workers; the same command goes on."
                ) from error
        return [
            index if done else self._load(split, index, choose, place)
            for index, done, place in zip(indices, is_read, pixels, strict=True)
        ]

    def _load(self, split: FolderSplit, index: int, choose: ChooseCrop | None, pixels: NDArray[np.uint8]) -> int:
        """Write the image at `index`, or the first readable one after it, into `pixels`; where that stands."""
        for place in (*range(index, len(split)), *range(index)):
            path = split.root / split.files[place]
            try:
                pixels[:] = read(path, index, choose, self._size)
            except DamagedImageError as error:
                self._damage.report(path, str(error))
            else:
                return place
        raise DataError(f"{split.identity} holds no image that can be read: unpack the data set anew.")


def sent(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`, without waiting for its arrival."""
    images, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
    return images, labels
