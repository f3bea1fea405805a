"""How does a file become an image of the network's size? Decoded and cropped on the CPU, or many at once on a GPU.

Cost of the CPU path, measured on one core at 256 x 256 pixels: 0.4 ms to decode, 0.35 ms to crop and resize; an
original of ImageNet (500 x 375 in the mean) has three times the pixels to decode. Decoding releases Python's lock, so
that threads share the work of all cores without a copy between processes.

On paper: FFCV avoids part of the decoding by storing smaller images in one file, and DALI moves it to the GPU's JPEG
engines. Neither is needed as long as cores x images per second and core exceeds what the network consumes; here the
JPEG decoding per core limits the CPU path, and on the GPU nvJPEG's engines and the upload of the files do.
"""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, decode_jpeg, read_file
from torchvision.transforms.v2 import functional as F

from sparsity.data.crops import Crop

EVALUATION_MARGIN = 8 / 7  # of the shorter side around the central crop: 256 around 224



class DamagedImageError(Exception):
    """A file is no image that can be read; the message is the reason."""


def read_bytes(path: Path) -> Tensor:
    """The file's bytes, uint8 (N,).

    Raises:
        DamagedImageError: it cannot be read.
    """
    try:
        return read_file(str(path))
    except RuntimeError as error:
        raise DamagedImageError(_reason(error)) from error


def decode(data: Tensor) -> Tensor:
    """The RGB image uint8 (3, H, W) of a JPEG or PNG, whatever its name; grey and CMYK images are converted.

    Raises:
        DamagedImageError: it is no such image, or incomplete.
    """
    try:
        return decode_image(data, ImageReadMode.RGB)
    except RuntimeError as error:
        raise DamagedImageError(_reason(error)) from error


def decode_on_gpu(data: list[Tensor], device: torch.device) -> list[Tensor]:
    """The RGB images of JPEGs, decoded together on the GPU.

    Raises:
        DamagedImageError: the GPU cannot decode one of them: damaged, no JPEG, or in a colour space it does not know.
    """
    try:
        images: list[Tensor] = decode_jpeg(data, ImageReadMode.RGB, device)
    except RuntimeError as error:
        raise DamagedImageError(_reason(error)) from error
    return images


def cropped(image: Tensor, crop: Crop, size: int) -> Tensor:
    """The crop, resized to uint8 (3, size, size), and mirrored where it says so."""
    part = F.resized_crop(image, crop.top, crop.left, crop.height, crop.width, [size, size], antialias=True)
    return F.horizontal_flip(part) if crop.flip else part


def central(image: Tensor, size: int) -> Tensor:
    """The central uint8 (3, size, size) of the image resized to 8/7 of `size` on its shorter side."""
    return F.center_crop(F.resize(image, [round(size * EVALUATION_MARGIN)], antialias=True), [size, size])


def _reason(error: RuntimeError) -> str:
    return str(error).splitlines()[0].rstrip(". ")
