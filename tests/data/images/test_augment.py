"""Batches are cropped and mirrored as torchvision does it image by image, with draws of (seed, phase, epoch) alone."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as per_image

from sparsity.data.images.augment import CropFlip, draw
from sparsity.data.images.batches import ImageBatches, ImageSplit

MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.3, 0.4)
NUM_IMAGES = 40


@pytest.fixture
def split() -> ImageSplit:
    """Forty images of 12 x 10 pixels whose label is their index."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (NUM_IMAGES, 3, 12, 10), dtype=torch.uint8, generator=generator)
    return ImageSplit(images, torch.arange(NUM_IMAGES), "toy/train")


def batches(split: ImageSplit, seed: int = 0, phase: str = "regularise") -> ImageBatches:
    return ImageBatches(split, MEAN, STD, 8, seed, phase, CropFlip(split.images))


def reference(image: Tensor, top: int, left: int, is_mirrored: int) -> Tensor:
    """RandomCrop(size, padding=4), RandomHorizontalFlip, ToTensor and Normalize of one image, for given draws."""
    crop = per_image.crop(per_image.pad(image, [4]), top, left, *image.shape[1:])
    mirrored = per_image.hflip(crop) if is_mirrored else crop
    return per_image.normalize(mirrored.float() / 255, list(MEAN), list(STD))


def epoch(stream: ImageBatches, number: int) -> tuple[Tensor, Tensor]:
    parts = [stream.batch(number, step) for step in range(stream.steps_per_epoch)]
    images, labels = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_each_image_is_cropped_and_mirrored_as_torchvision_does_it(split: ImageSplit) -> None:
    stream = batches(split)
    images, labels = epoch(stream, 3)
    _, generator = stream._drawn(3)
    for place, (top, left, is_mirrored) in enumerate(torch.stack(draw(NUM_IMAGES, generator), dim=1).tolist()):
        expected = reference(split.images[labels[place]], top, left, is_mirrored)
        torch.testing.assert_close(images[place], expected, atol=2e-6, rtol=2e-6)


def test_images_and_labels_stay_together(split: ImageSplit) -> None:
    split.images[:] = 1 + torch.arange(NUM_IMAGES, dtype=torch.uint8).view(-1, 1, 1, 1)
    images, labels = epoch(batches(split), 0)
    brightest = images.amax((2, 3)) * torch.tensor(STD) + torch.tensor(MEAN)
    assert torch.equal((brightest * 255).round().long(), (labels + 1).view(-1, 1).expand(-1, 3))


def test_every_offset_and_both_sides_are_drawn() -> None:
    top, left, is_mirrored = draw(10_000, torch.Generator().manual_seed(0))
    for edge in (top, left):
        assert edge.bincount().tolist() == pytest.approx([10_000 / 9] * 9, rel=0.15)
    assert is_mirrored.bincount().tolist() == pytest.approx([5_000, 5_000], rel=0.05)
    assert not torch.equal(top, left)


def test_draws_are_the_same_for_equal_seed_phase_and_epoch(split: ImageSplit) -> None:
    later = batches(split)
    later.start_epoch(7)
    assert torch.equal(epoch(batches(split), 2)[0], epoch(later, 2)[0])


@pytest.mark.parametrize("other", [{"seed": 1}, {"phase": "finetune"}])
def test_draws_change_with_seed_and_phase(split: ImageSplit, other: dict) -> None:
    assert not torch.equal(epoch(batches(split), 0)[0], epoch(batches(split, **other), 0)[0])


def test_draws_change_with_the_epoch(split: ImageSplit) -> None:
    stream = batches(split)
    first, second = ([image[:, :, :] for image in epoch(stream, number)[0]] for number in (0, 1))
    assert not any(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_cropping_leaves_the_order_of_the_images_as_it_is_without(split: ImageSplit) -> None:
    plain = ImageBatches(split, MEAN, STD, 8, 0, "regularise")
    assert torch.equal(epoch(batches(split), 5)[1], epoch(plain, 5)[1])


def test_a_batch_comes_channels_last_and_as_float32(split: ImageSplit) -> None:
    images, _ = batches(split).batch(0, 0)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
