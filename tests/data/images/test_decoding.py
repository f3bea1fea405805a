"""What a file is called does not matter, what it holds does: every kind of image is read, damage is recognised."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile
from torchvision.transforms import v2

from sparsity.data.images.crops import Crop
from sparsity.data.images.decoding import DamagedImageError, central, cropped, decode
from tests.data.images.jpegs import picture

WHOLE = Crop(0, 0, 40, 48, False)


def noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def planes(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(3, H, W) of (H, W, 3)."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.JPEG"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_colour_grey_and_cmyk_jpegs_are_read_as_rgb(mode: str, path: Path) -> None:
    picture(3).convert(mode).save(path, "JPEG", quality=95)
    image = decode(path)
    assert (image.mode, image.size) == ("RGB", (48, 40))


def test_a_png_that_is_called_jpeg_is_read(path: Path) -> None:
    picture(3).save(path, "PNG")
    assert decode(path).tobytes() == picture(3).tobytes()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_file_is_damaged(share: float, path: Path) -> None:
    picture(3, 200, 200).save(path, "JPEG", quality=95)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DamagedImageError):
        decode(path)


def test_what_is_no_image_is_damaged_and_the_reason_is_readable(path: Path) -> None:
    path.write_text("<html>404</html>")
    with pytest.raises(DamagedImageError, match=r"^cannot identify image file$"):
        decode(path)


def test_a_missing_file_is_damaged_too(path: Path) -> None:
    with pytest.raises(DamagedImageError, match="No such file or directory"):
        decode(path)


def test_a_machine_without_memory_is_no_fault_of_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(3).save(path, "JPEG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        decode(path)


@pytest.mark.parametrize(("height", "width"), [(100, 140), (141, 99), (64, 64), (20, 333), (375, 500), (77, 30)])
def test_the_centre_is_that_of_torchvisions_reference(height: int, width: int) -> None:
    image = noise(height, width)
    reference = v2.Compose([v2.Resize(64), v2.CenterCrop(56), v2.PILToTensor()])
    assert torch.equal(planes(central(image, 56)), reference(image))


@pytest.mark.parametrize("crop", [Crop(0, 0, 90, 120, False), Crop(5, 7, 24, 24, False), Crop(11, 30, 77, 60, True)])
def test_a_crop_is_that_of_torchvisions_reference(crop: Crop) -> None:
    image = noise(90, 120)
    part = v2.functional.resized_crop(image, crop.top, crop.left, crop.height, crop.width, [24, 24])
    reference = v2.functional.pil_to_tensor(v2.functional.horizontal_flip(part) if crop.flip else part)
    assert torch.equal(planes(cropped(image, crop, 24)), reference)


def test_a_crop_is_cut_resized_and_mirrored() -> None:
    image = picture(3)
    plain = planes(cropped(image, WHOLE, 24))
    mirrored = planes(cropped(image, Crop(0, 0, 40, 48, True), 24))
    part = planes(cropped(image, Crop(5, 7, 24, 24, False), 24))
    assert plain.shape == (3, 24, 24) and plain.dtype == torch.uint8
    assert torch.equal(mirrored, plain.flip(2)) and not torch.equal(mirrored, plain)
    assert torch.equal(part, v2.functional.pil_to_tensor(image)[:, 5:29, 7:31])
