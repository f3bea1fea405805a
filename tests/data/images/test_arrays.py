"""The twins have the right shapes, hold the promised draws, and are the same on every platform."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sparsity.data.images.arrays import balanced_draw, embedded_digits, generated, without
from sparsity.data.vision import mnist

LABELS = np.arange(200) % 10


def test_a_balanced_draw_takes_the_same_number_of_every_class() -> None:
    assert np.bincount(LABELS[balanced_draw(LABELS, 50, seed=1)]).tolist() == [5] * 10


def test_a_balanced_draw_of_no_round_number_takes_the_rest_from_the_first_classes() -> None:
    assert np.bincount(LABELS[balanced_draw(LABELS, 13, seed=1)]).tolist() == [2, 2, 2, 1, 1, 1, 1, 1, 1, 1]


def test_another_seed_draws_other_examples() -> None:
    assert balanced_draw(LABELS, 50, seed=1).tolist() != balanced_draw(LABELS, 50, seed=2).tolist()


def test_a_draw_is_the_same_on_every_platform_and_in_every_version() -> None:
    in_order = "0 3 7 11 32 36 58 61 67 73 104 105 115 138 149 162 164 169 186 190"
    assert " ".join(map(str, balanced_draw(LABELS, 20, seed=5000))) == in_order


def test_what_is_not_drawn_stays_once_each() -> None:
    drawn = balanced_draw(LABELS, 50, seed=1)
    assert sorted([*drawn, *without(200, drawn)]) == list(range(200))


def test_digits_are_28_by_28_bytes_over_the_full_range() -> None:
    digits = embedded_digits()
    assert digits.train_images.shape == (1497, 1, 28, 28)
    assert digits.test_images.shape == (300, 1, 28, 28)
    assert digits.train_images.dtype == np.uint8
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)


def test_digits_are_enlarged_as_torch_interpolates() -> None:
    digits = embedded_digits()
    source = torch.from_numpy(load_digits().images)[:, None] * 255 / 16
    reference = torch.nn.functional.interpolate(source, size=(28, 28), mode="bilinear", align_corners=False).numpy()
    test = balanced_draw(load_digits().target, 300, seed=1797)
    np.testing.assert_allclose(digits.test_images, reference[test], atol=0.5 + 1e-9)


def test_digits_keep_the_test_set_apart_and_lose_nothing() -> None:
    digits = embedded_digits()
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    assert np.bincount(digits.test_labels).tolist() == [30] * 10
    assert np.bincount(labels).tolist() == np.bincount(load_digits().target).tolist()


def test_digits_are_the_same_on_every_platform() -> None:
    digits = embedded_digits()
    content = digits.train_images.tobytes() + digits.test_images.tobytes()
    assert hashlib.md5(content).hexdigest() == "4e650874174d0e0a375d3153f684ffef"


def test_mean_and_std_of_the_digits_are_those_of_the_training_part() -> None:
    data = mnist("embedded", data_dir="unused")
    pixels = data.train.images.numpy() / 255
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (*data.mean, *data.std)


def test_mean_and_std_of_generated_images_are_theirs() -> None:
    data = generated((1, 28, 28), num_train=2_000, num_test=10)
    pixels = data.train_images / 255
    assert (pixels.mean(), pixels.std()) == pytest.approx((*data.mean, *data.std), abs=0.002)


def test_generated_images_have_the_wanted_shape_and_number() -> None:
    data = generated((3, 8, 6), num_train=40, num_test=20)
    assert data.train_images.shape == (40, 3, 8, 6)
    assert data.test_images.shape == (20, 3, 8, 6)
    assert data.name == "generated-3x8x6"
    assert len(data.mean) == len(data.std) == 3


def test_generated_images_are_the_same_each_time() -> None:
    first, second = (generated((1, 8, 8), num_train=40, num_test=20) for _ in range(2))
    assert np.array_equal(first.train_images, second.train_images)


def test_generated_images_can_be_told_apart_by_class() -> None:
    data = generated((1, 28, 28), num_train=500, num_test=100)
    centres = np.stack([data.train_images[data.train_labels == label].mean(axis=0) for label in range(10)])
    distances = ((data.test_images[:, None].astype(float) - centres) ** 2).sum(axis=(2, 3, 4))
    assert (distances.argmin(axis=1) == data.test_labels).all()
