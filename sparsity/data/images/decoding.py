"""A JPEG file made an image of the network's size: decoded and cropped by Pillow, on the CPU.

Torchvision's own reference, and so its published weights, use Pillow too; these are its steps and its pixels, without
torch, so that a process which decodes starts at once. Pillow releases Python's lock while it decodes and resizes, so
that a few threads share the work of all cores.

What limits: the cores. An image of 500 x 375 pixels, ImageNet's usual size, takes 1.7 ms to decode and 1.2 ms to crop
and resize, measured on a busy core: some 350 images a second and core. More than a few threads would wait for Python's
lock, under which a quarter of the work is done, and so would the thread that launches a GPU's kernels; so they are
processes (`decoders`). `scripts/bench.py loader` says what a machine does; a rehearsal, which reads nothing, does not.
FFCV decodes less, from files that it has written smaller beforehand; DALI decodes on the GPU.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparsity.data.images.crops import Crop

ChooseCrop = Callable[[int, int, int], Crop]  # of an image's index, height and width in pixels
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
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # which would copy an RGB image too
    except (DamagedImageError, MemoryError):  # a machine without memory is no fault of the file
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise DamagedImageError(str(error).replace(" <_io.BytesIO", "").split(" object at")[0]) from error


def read(path: Path, index: int, choose: ChooseCrop | None, size: int) -> NDArray[np.uint8]:
    """The image at `index`, whose file this is, cropped as `choose` says, or centrally where it is None.

    Raises:
        DamagedImageError: it cannot be read.
    """
    image = decode(path)
    return central(image, size) if choose is None else cropped(image, choose(index, image.height, image.width), size)


def cropped(image: Image.Image, crop: Crop, size: int) -> NDArray[np.uint8]:
    """The crop, resized to uint8 (size, size, 3), and mirrored where it says so."""
    part = image.crop((crop.left, crop.top, crop.left + crop.width, crop.top + crop.height))
    resized = part.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.flip else resized)


def central(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """The central uint8 (size, size, 3) of the image resized to 8/7 of `size` on its shorter side."""
    shorter = round(size * EVALUATION_MARGIN)
    width, height = (int(shorter * side / min(image.size)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedImageError(str(error.strerror)) from error
