"""What a file is called does not matter, what it holds does: every kind of image is read, damage is recognised."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from sparsity.data.images.crops import Crop
from sparsity.data.images.decoding import DamagedImageError, central, cropped, decode
from tests.data.images.jpegs import picture

WHOLE = Crop(0, 0, 40, 48, False)


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
    monkeypatch.setattr(Image.Image, "convert", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        decode(path)


def test_the_centre_is_that_of_torchvisions_reference(path: Path) -> None:
    image = picture(3, 100, 140)
    reference = v2.Compose([v2.Resize(64), v2.CenterCrop(56), v2.PILToTensor()])
    assert torch.equal(central(image, 56), reference(image))


def test_a_crop_is_cut_resized_and_mirrored(path: Path) -> None:
    image = picture(3)
    plain = cropped(image, WHOLE, 24)
    mirrored = cropped(image, Crop(0, 0, 40, 48, True), 24)
    part = cropped(image, Crop(5, 7, 24, 24, False), 24)
    assert plain.shape == (3, 24, 24) and plain.dtype == torch.uint8
    assert torch.equal(mirrored, plain.flip(2)) and not torch.equal(mirrored, plain)
    assert torch.equal(part, v2.functional.pil_to_tensor(image)[:, 5:29, 7:31])
