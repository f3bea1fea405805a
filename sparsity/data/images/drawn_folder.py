"""A stand-in for ImageNet's folders where nothing can be had: shapes drawn as JPEG files in the same layout.

So the smoke run goes the way of the real one: it lists folders, and reads, decodes and crops files.
"""

import os
import shutil
from pathlib import Path

from PIL import Image

from sparsity.data.images.shapes import draw_shapes
from sparsity.data.published.download import DataError

_QUALITY = 90


def draw_folder(root: Path, num_train: int, num_val: int, size: int) -> None:
    """Write `root`/train/CLASS/*.JPEG and `root`/val/CLASS/*.JPEG, of `size` x `size` pixels, unless they are there.

    Raises:
        DataError: the disk refused.
    """
    if root.is_dir():
        return
    part = root.with_name(f"{root.name}.{os.getpid()}.part")
    images, labels = draw_shapes(size, num_train + num_val)
    try:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = part / ("train" if number < num_train else "val") / f"figure{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number:05}.JPEG", "JPEG", quality=_QUALITY)
        part.rename(root)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if not root.is_dir():  # else another run was faster
            raise DataError(f"{root} could not be written ({error}); free some space or set data_dir.") from error
