"""RandomResizedCrop and flip of a training image, drawn from (seed, kind, epoch, index) alone.

The draws are numpy's raw PCG64 stream: each epoch has one, and each image its own stretch of it, which is reached
without drawing what goes before. So a resumed run sees the same crops, whatever the number of workers.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

NUM_ATTEMPTS = 10
LOG_RATIO = math.log(4 / 3)  # sides between 3:4 and 4:3
_STRETCH = 32  # words that each image may draw, at least 2 * NUM_ATTEMPTS + 3


@dataclass(frozen=True)
class Crop:
    """A rectangle of an image, in pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


class EpochDraws:
    """The draws of one epoch.

    Args:
        seed, kind, epoch: of the run, its phase, and within that.
        min_area: smallest share of an image's area that a crop takes, in (0, 1].
    """

    def __init__(self, seed: int, kind: str, epoch: int, min_area: float) -> None:
        digest = hashlib.sha256(f"crops/{seed}/{kind}/{epoch}".encode()).digest()
        self._seed = int.from_bytes(digest[:16], "big")
        self._min_area = min_area

    def crop(self, index: int, height: int, width: int) -> Crop:
        """The crop of the image at `index`, which is `height` x `width` pixels, in this epoch.

        Area uniform in [min_area, 1], ratio of the sides log-uniform in [3/4, 4/3]; the largest central crop where ten
        attempts fit nowhere, as in torchvision's RandomResizedCrop.
        """
        draws = self._uniform(index)
        for _ in range(NUM_ATTEMPTS):
            area = height * width * (self._min_area + (1 - self._min_area) * next(draws))
            ratio = math.exp(LOG_RATIO * (2 * next(draws) - 1))
            crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                top = int((height - crop_height + 1) * next(draws))
                left = int((width - crop_width + 1) * next(draws))
                return Crop(top, left, crop_height, crop_width, next(draws) < 0.5)
        crop_height, crop_width = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
        top, left = (height - crop_height) // 2, (width - crop_width) // 2
        return Crop(top, left, crop_height, crop_width, next(draws) < 0.5)

    def _uniform(self, index: int) -> Iterator[float]:
        """Numbers in [0, 1) of 53 random bits."""
        words = np.random.PCG64(self._seed).advance(_STRETCH * index).random_raw(2 * NUM_ATTEMPTS + 3)
        return iter(((words >> np.uint64(11)) * 2.0**-53).tolist())
