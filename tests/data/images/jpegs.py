"""Folders of small images for the tests of what is streamed."""

from pathlib import Path

import torch
from PIL import Image


def picture(number: int, height: int = 40, width: int = 48) -> Image.Image:
    """A smooth image of a colour of its own."""
    colour = torch.tensor([40 * (number % 5) + 30, 25 * (number % 7) + 50, 20 * (number % 11) + 20])
    slope = torch.linspace(-20, 20, width).expand(3, height, width)
    pixels = (colour.view(3, 1, 1) + slope).clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def write_folder(root: Path, num_classes: int, per_class: int) -> None:
    """`root`/class0/0.JPEG and so on, each image another."""
    for label in range(num_classes):
        (root / f"class{label}").mkdir(parents=True)
        for place in range(per_class):
            number = label * per_class + place
            picture(number).save(root / f"class{label}" / f"{number:03}.JPEG", "JPEG", quality=95)
