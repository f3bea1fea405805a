"""The drawn shapes are the same everywhere, balanced, and give their class away by shape alone."""

import hashlib

import numpy as np

from sparsity.data.images.shapes import SHAPES, draw_shapes


def test_each_class_has_as_many_images() -> None:
    images, labels = draw_shapes(size=16, num_images=200)
    assert images.shape == (200, 3, 16, 16)
    assert np.bincount(labels).tolist() == [20] * 10


def test_images_are_the_same_on_every_platform() -> None:
    images, _ = draw_shapes(size=32, num_images=100)
    assert hashlib.md5(images.tobytes()).hexdigest() == "130d0ef916b1fc2345abc21c296bad1d"


def test_colour_does_not_tell_the_class() -> None:
    images, labels = draw_shapes(size=32, num_images=2_000)
    colours = images.mean(axis=(2, 3))
    centres = np.stack([colours[:1_000][labels[:1_000] == label].mean(axis=0) for label in range(10)])
    nearest = ((colours[1_000:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == labels[1_000:]).mean() < 0.2


def test_no_image_comes_twice() -> None:
    images, _ = draw_shapes(size=32, num_images=1_000)
    assert len({image.tobytes() for image in images}) == 1_000


def test_every_figure_is_its_own_mirror_image() -> None:
    across, down = np.meshgrid(np.arange(-12, 13), np.arange(-12, 13))
    for shape in SHAPES:
        inside = shape(across, down, np.array(10))
        assert inside.any()
        assert np.array_equal(inside, shape(-across, down, np.array(10)))
