"""How does a file become an image of the network's size? Decoded and cropped on the CPU, or many at once on a GPU.

The CPU path is Pillow's, as of torchvision's own reference and so of its published weights. Pillow releases Python's
lock while it decodes and resizes, so that threads share the work of all cores, without a copy between processes.

What limits, on paper: the CPU path its cores. An image of 500 x 375 pixels, ImageNet's usual size, takes 1.7 ms to
decode and 1.2 ms to crop and resize, measured on a busy core: some 350 images a second and core, so that 16 cores feed
a GPU that trains VGG-16 in bfloat16 on 3,000 a second. The GPU path is limited by nvJPEG and by the reading of the
files. FFCV decodes less, from files that it has written smaller beforehand; DALI decodes on the GPU, as here.
"""

import io
import threading
import warnings
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from sparsity.data.crops import Crop

EVALUATION_MARGIN = 8 / 7  # of the shorter side around the central crop: 256 around 224
_on_gpu = threading.Lock()


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
    except DamagedImageError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise DamagedImageError(str(error).replace(" <_io.BytesIO", "").split(" object at")[0]) from error


def decode_on_gpu(paths: list[Path], device: torch.device) -> list[Tensor]:
    """The files as RGB images uint8 (3, H, W), decoded together on the GPU.

    Raises:
        DamagedImageError: the GPU cannot decode one of them: damaged, no JPEG, or in a colour space it does not know.
    """
    from torchvision.io import ImageReadMode, decode_jpeg  # on their way out of torchvision

    data = [torch.frombuffer(bytearray(_bytes(path)), dtype=torch.uint8) for path in paths]
    with _on_gpu, warnings.catch_warnings():  # which is not made for several threads at once
        warnings.filterwarnings("ignore", "The image decoding", DeprecationWarning)
        try:
            images: list[Tensor] = decode_jpeg(data, ImageReadMode.RGB, device)
        except RuntimeError as error:
            raise DamagedImageError(str(error)) from error
    return images


def cropped(image: Image.Image | Tensor, crop: Crop, size: int) -> Tensor:
    """The crop, resized to uint8 (3, size, size), and mirrored where it says so."""
    part = F.resized_crop(image, crop.top, crop.left, crop.height, crop.width, [size, size], antialias=True)
    return _tensor(F.horizontal_flip(part) if crop.flip else part)


def central(image: Image.Image | Tensor, size: int) -> Tensor:
    """The central uint8 (3, size, size) of the image resized to 8/7 of `size` on its shorter side."""
    resized = F.resize(image, [round(size * EVALUATION_MARGIN)], antialias=True)
    return _tensor(F.center_crop(resized, [size, size]))


def _tensor(image: Image.Image | Tensor) -> Tensor:
    return image if isinstance(image, Tensor) else F.pil_to_tensor(image)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedImageError(str(error.strerror)) from error
