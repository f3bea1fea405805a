"""A pool of threads that read and load batches ahead, and say which images are damaged.

A batch is uint8 (B, 3, size, size) and labels int64 (B,) on the CPU, in memory that a GPU fetches by itself where there
is one. Pixels are normalised on the device.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sparsity.data.images.crops import Crop
from sparsity.data.images.decoding import DamagedImageError, central, cropped, decode
from sparsity.data.published.download import DataError
from sparsity.files import sha256
from sparsity.hardware import cpu

NUM_BATCHES_AHEAD = 4

Batch = tuple[Tensor, Tensor]
ChooseCrop = Callable[[int, int, int], Crop]  # of an image's index, height and width in pixels
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
        num_workers: threads that read and decode; 0 is one per core that this process may use.
        max_damaged: how many images may be damaged.
    """

    def __init__(self, size: int, device: torch.device, num_workers: int, max_damaged: int) -> None:
        self.device = device
        self._size = size
        self._damage = DamageLimit(max_damaged)
        self._workers = ThreadPoolExecutor(num_workers or cpu.num_cores(), "images")
        self._assemblers = ThreadPoolExecutor(NUM_BATCHES_AHEAD, "batches")

    def submit(self, split: FolderSplit, indices: list[int], choose: ChooseCrop | None) -> "Future[Batch]":
        """Load the images at `indices`, cropped as `choose` says, or centrally where it is None.

        The next image of the split takes the place of a damaged one. The future raises DataError where too many are.
        """
        return self._assemblers.submit(self._assemble, split, indices, choose)

    def _assemble(self, split: FolderSplit, indices: list[int], choose: ChooseCrop | None) -> Batch:
        loaded = list(self._workers.map(lambda index: self._load(split, index, choose), indices))
        images = torch.empty(
            (len(indices), 3, self._size, self._size),
            dtype=torch.uint8,
            memory_format=torch.channels_last,
            pin_memory=self.device.type == "cuda",
        )
        for image, (pixels, _) in zip(images, loaded, strict=True):
            image.copy_(pixels)
        labels = split.labels[[place for _, place in loaded]]
        return images, labels.pin_memory() if self.device.type == "cuda" else labels

    def _load(self, split: FolderSplit, index: int, choose: ChooseCrop | None) -> tuple[Tensor, int]:
        """The image at `index`, or the first readable one after it, and where that stands."""
        for place in (*range(index, len(split)), *range(index)):
            path = split.root / split.files[place]
            try:
                return self._part(decode(path), index, choose), place
            except DamagedImageError as error:
                self._damage.report(path, str(error))
        raise DataError(f"{split.identity} holds no image that can be read: unpack the data set anew.")

    def _part(self, image: Image.Image, index: int, choose: ChooseCrop | None) -> Tensor:
        if choose is None:
            return central(image, self._size)
        return cropped(image, choose(index, image.height, image.width), self._size)


def sent(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`, without waiting for its arrival."""
    images, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
    return images, labels
