"""A JPEG file made an image of the network's size: decoded and cropped by Pillow, on the CPU.

Torchvision's own reference, and so its published weights, use Pillow too. It releases Python's lock while it decodes
and resizes, so that threads share the work of all cores, without a copy between processes.

What limits: first the cores, then Python's lock. An image of 500 x 375 pixels, ImageNet's usual size, takes 1.7 ms to
decode and 1.2 ms to crop and resize, measured on a busy core: some 350 images a second and core. But of the time of an
image 0.7 to 1.4 ms are under the lock (23 to 38 % of samples of one worker, on a busy core), so that one process loads
700 to 1,500 images a second, however many cores it has: less than a GPU that trains VGG-16 in bfloat16 can take.
`scripts/bench.py loader` says what a machine does; a rehearsal, which reads nothing, does not. FFCV decodes less, from
files that it has written smaller beforehand; DALI decodes on the GPU.
"""

import io
from pathlib import Path

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from sparsity.data.images.crops import Crop

EVALUATION_MARGIN = 8 / 7  # of the shorter side around the central crop: 256 around 224


class DamagedImageError(Exception):
    """A file is no image that can be read; the message is the reason."""


def decode(path: Path) -> Image.Image:
    """The file as an RGB image, whatever its name says it is; grey and CMYK images are converted.

    Raises:
        DamagedImageError: it is missing, no image, or incomplete.
    """
    try:
        with Image.open(io.BytesIO(_bytes(path))) as image:
            return image.convert("RGB")
    except (DamagedImageError, MemoryError):  # a machine without memory is no fault of the file
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise DamagedImageError(str(error).replace(" <_io.BytesIO", "").split(" object at")[0]) from error


def cropped(image: Image.Image, crop: Crop, size: int) -> Tensor:
    """The crop, resized to uint8 (3, size, size), and mirrored where it says so."""
    part = F.resized_crop(image, crop.top, crop.left, crop.height, crop.width, [size, size], antialias=True)
    return F.pil_to_tensor(F.horizontal_flip(part) if crop.flip else part)


def central(image: Image.Image, size: int) -> Tensor:
    """The central uint8 (3, size, size) of the image resized to 8/7 of `size` on its shorter side."""
    resized = F.resize(image, [round(size * EVALUATION_MARGIN)], antialias=True)
    return F.pil_to_tensor(F.center_crop(resized, [size, size]))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedImageError(str(error.strerror)) from error
