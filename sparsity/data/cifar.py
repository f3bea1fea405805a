"""Builder of CIFAR-10, the published images or drawn shapes, and how they are normalised."""

from dataclasses import replace

import numpy as np

from sparsity.data.images.arrays import SourceImages, checksums, generated
from sparsity.data.images.pickles import read_cifar_batch
from sparsity.data.images.shapes import draw_shapes
from sparsity.data.published.catalogue import fetch_dataset
from sparsity.data.sizes import check_word, published_sizes
from sparsity.data.vision import AUGMENTATIONS, ImageData, image_data

# Mean and std that an experiment may normalise by; `own` are those of its images.
NORMALISATIONS = ("own", "imagenet")
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHOOSING_TEST = "test-which-chose-the-checkpoint"  # Deviation 16


def cifar10(source: str, augment: str, normalise: str, data_dir: str, baseline: str) -> ImageData:
    """CIFAR-10, or its twin when `source` is `embedded` (drawn shapes) or `generated`.

    5,000 images are held out of train; with a published `baseline`, which has seen all of train, the test set is halved
    instead. The published checkpoint was chosen on that set, so its name says so.

    Args:
        augment: of training batches: `crop_flip` or `none`.
        normalise: by whose mean and std: `own`, or `imagenet`, for a network that was trained so.

    Raises:
        ValueError: an unknown word; data that cannot be had or is damaged (DataError).
    """
    check_word("dataset.augment", augment, AUGMENTATIONS)
    check_word("dataset.normalise", normalise, NORMALISATIONS)
    published = _published(source, data_dir)
    if source == "real" and baseline == "published":
        published = replace(published, test_name=CHOOSING_TEST)
    if normalise == "imagenet":
        published = replace(published, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
    return replace(image_data("cifar10", published, source, baseline), augment=augment)


def _published(source: str, data_dir: str) -> SourceImages:
    sizes = published_sizes("cifar10", source)
    if source == "real":
        return published_cifar10(data_dir)
    if source == "embedded":
        return embedded_shapes(sizes.train, sizes.test)
    return generated((3, 32, 32), sizes.train, sizes.test)


def published_cifar10(data_dir: str) -> SourceImages:
    """The published CIFAR-10, fetched where it is missing; mean and std are those of its 50,000 training images.

    Raises:
        DataError: a file could not be had, or is damaged.
    """
    batches = {role: read_cifar_batch(path) for role, path in fetch_dataset("cifar10", data_dir)}
    test_images, test_labels = batches.pop("test_batch")
    images, labels = (np.concatenate(parts) for parts in zip(*batches.values(), strict=True))
    return SourceImages(
        name="cifar10",
        train_images=images,
        train_labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        checksums=checksums("cifar10"),
    )


def embedded_shapes(num_train: int, num_test: int) -> SourceImages:
    """Shapes drawn in colour on 32 x 32 pixels, which a small network learns in a minute."""
    images, labels = draw_shapes(32, num_train + num_test)
    parts = (images[:num_train], labels[:num_train], images[num_train:], labels[num_train:])
    return SourceImages("shapes", *parts, mean=(0.500,) * 3, std=(0.306,) * 3)
