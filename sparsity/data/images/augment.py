"""Random crops and mirror images of a whole batch at once, by arithmetic on the pixels' indices.

The images are padded once and each pixel is packed into one 32-bit word; the random draws of a whole epoch are copied
to the device at its start. A batch is then one gather of words, whatever its crops.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_CHANNELS = 4  # a byte each in the word of a pixel
PADDING = 4  # pixels on each side, black: what He et al. 2016, section 4.2, pads with before normalisation


class CropFlip:
    """Random crops of the padded images at their own size, each mirrored with probability 1/2.

    Equal, for equal draws, to torchvision's RandomCrop(size, padding=4) followed by RandomHorizontalFlip on each image.

    Args:
        images: uint8 (N, C, H, W) of at most MOST_CHANNELS channels, on the device where batches are wanted.
    """

    def __init__(self, images: Tensor) -> None:
        num_images, self._num_channels, self._height, self._width = images.shape
        self._words = _packed(images)
        self._row = self._width + 2 * PADDING  # words from a pixel to the one below
        self._image = (self._height + 2 * PADDING) * self._row
        device = images.device
        self._down = self._row * torch.arange(self._height, device=device).view(1, -1, 1)
        self._across = torch.arange(self._width, device=device).view(1, 1, -1)
        self._corner = torch.zeros(num_images, dtype=torch.int64, device=device)
        self._direction = torch.ones(num_images, dtype=torch.int64, device=device)

    def load(self, order: Tensor, generator: torch.Generator) -> None:
        """Draw for each image of an epoch, in its order, int64 (N,) on the CPU, and put the draws into place."""
        top, left, is_mirrored = draw(len(order), generator)
        self._corner.copy_(order * self._image + top * self._row + left + is_mirrored * (self._width - 1))
        self._direction.copy_(1 - 2 * is_mirrored)

    def at(self, places: Tensor) -> Tensor:
        """The images at `places` of the epoch, int64 (B,) on the device, as uint8 (B, C, H, W) in channels_last."""
        corner, direction = (
            values.index_select(0, places).view(-1, 1, 1) for values in (self._corner, self._direction)
        )
        pixels = (corner + self._down) + direction * self._across
        words = self._words.index_select(0, pixels.flatten())  # on a CPU twice as fast as `take`
        channels = words.view(*pixels.shape, 1).view(torch.uint8)
        return channels[..., : self._num_channels].permute(0, 3, 1, 2)


def draw(num_images: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Top and left edge of each crop in the padded image, and whether it is mirrored (0 or 1): int64 (N,) each."""
    top, left = torch.randint(2 * PADDING + 1, (2, num_images), generator=generator)
    return top, left, torch.randint(2, (num_images,), generator=generator)


def _packed(images: Tensor) -> Tensor:
    """Padded pixels, row by row, as int32 words whose bytes are the channels."""
    missing = MOST_CHANNELS - images.shape[1]
    padded = F.pad(images, (PADDING, PADDING, PADDING, PADDING, 0, missing))
    return padded.permute(0, 2, 3, 1).contiguous().view(torch.int32).flatten()
