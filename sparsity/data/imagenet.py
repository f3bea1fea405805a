"""Which of ImageNet's images train, gate and test? Folders as they are unpacked, split as the protocol says.

The published weights have seen all training images, so nothing is held out of those: the validation images gate and
test. Their division is a fixed draw, or, under `protocol=authors`, the authors' own (PAPER.md: 100 classes gate).
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sparsity.data.arrays import balanced_draw, without
from sparsity.data.download import MIRROR_VARIABLE, DataError
from sparsity.data.drawn_folder import draw_folder
from sparsity.data.folders import Listing, is_flat, list_classes, list_flat
from sparsity.data.loading import FolderSplit
from sparsity.data.pool import PoolData, noise_pool
from sparsity.data.sizes import SplitSizes, check_word, published_sizes, split_sizes
from sparsity.data.streaming import DECODERS, Reading, StreamedData

NUM_CLASSES = 1000
_HELD_OUT_SEED = 5000  # of the fixed division of the validation images, never the seed of a run
_log = logging.getLogger(__name__)


def imagenet(
    source: str,
    protocol: str,
    data_dir: str,
    image_size: int = 224,
    min_area: float = 0.08,
    decoder: str = "auto",
    max_damaged: int = 0,
    num_workers: int = 0,
) -> StreamedData | PoolData:
    """ImageNet (ILSVRC2012), or what stands for it.

    Args:
        source: `real`: `imagenet` below `data_dir` or the mirror folder; `sample`: `imagenet-sample` there, one image a
            class, which shows that the pipeline runs and no more; `embedded`: drawn figures as JPEG files, 10 classes;
            `generated`: noise on the device.
        protocol: `sound` or `authors`.
        data_dir: also keeps the index of the folders.
        image_size: of the network's input, in pixels; evaluation takes the centre of an image resized to 8/7 of it.
        min_area: smallest share of an image that a training crop takes, in (0, 1].
        decoder: `cpu`, `gpu` or `auto`.
        max_damaged: how many images may be damaged; each is named, and the next one takes its place.
        num_workers: threads that read and decode; 0 is one per processor core.

    Raises:
        ValueError: an unknown word; data that cannot be had or do not fit (DataError).
    """
    sizes = split_sizes("imagenet", source, protocol)
    check_word("decoder", decoder, DECODERS)
    reading = Reading(image_size, min_area, decoder, max_damaged, num_workers)
    if source == "generated":
        return noise_pool(image_size, NUM_CLASSES, sizes.train, sizes.val, sizes.test)
    if source == "sample":
        return _sample(data_dir, sizes, reading)
    if source == "embedded":
        published = published_sizes("imagenet", source)
        root = Path(data_dir) / f"embedded-figures-{image_size}"
        draw_folder(root, published.train, published.test, image_size * 5 // 4)
        return _divided("embedded-figures", root, data_dir, protocol, sizes, reading)
    return _divided("imagenet", find_folder("imagenet", data_dir), data_dir, protocol, sizes, reading)


def find_folder(name: str, data_dir: str) -> Path:
    """The folder `name` below `data_dir` or the mirror folder.

    Raises:
        DataError: there is none; how to get the data and where to put them.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    places = [Path(data_dir) / name, *([Path(mirror) / name] if mirror else [])]
    for place in places:
        if place.is_dir():
            return place
    raise DataError(
        f"There is no {' and no '.join(map(str, places))}: get the training and validation images of ILSVRC2012 at "
        f"https://image-net.org/download (it takes an account) and unpack them as {places[0]}/train/WNID/*.JPEG and "
        f"{places[0]}/val/WNID/*.JPEG."
    )


def _divided(name: str, root: Path, data_dir: str, protocol: str, sizes: SplitSizes, reading: Reading) -> StreamedData:
    """The folder's training images, and its validation images divided into those that gate and those that test."""
    index_folder = Path(data_dir) / "index"
    train = list_classes(root / "train", index_folder)
    every = _validation(root, train.classes, index_folder)
    if protocol == "sound":
        gate = balanced_draw(every.labels, sizes.val, _HELD_OUT_SEED, len(every.classes))  # Deviation 19
        tested, part = without(len(every), gate), "stratified"
    else:
        gate, tested, part = np.arange(sizes.val), np.arange(len(every)), "first"
    val = _split(every, gate, f"{name}/validation-{part}-{sizes.val}")
    test = _split(every, tested, f"{name}/validation-minus-stratified-{sizes.val}")
    whole = _split(every, np.arange(len(every)), f"{name}/validation")
    _warn_of_gaps(SplitSizes(len(train), len(val), len(tested)), sizes, root)
    return StreamedData(
        name=name,
        train=_split(train, np.arange(len(train)), f"{name}/train"),
        val=val,
        test=test if protocol == "sound" else whole,
        num_classes=len(train.classes),
        checksums={f"{name}/train (names)": train.digest, f"{name}/val (names)": every.digest},
        reading=reading,
        extra_tests={"whole_validation_set_with_gate": whole} if protocol == "sound" else {},
    )


def _validation(root: Path, classes: tuple[str, ...], index_folder: Path) -> Listing:
    if is_flat(root / "val"):
        return list_flat(root / "val", root, classes)
    listing = list_classes(root / "val", index_folder)
    if listing.classes != classes:
        missing = sorted(set(classes) ^ set(listing.classes))[0]
        raise DataError(
            f"{root}/train has {len(classes)} classes and {root}/val {len(listing.classes)}; {missing} is not in both: "
            "unpack the data set anew."
        )
    return listing


def _sample(data_dir: str, sizes: SplitSizes, reading: Reading) -> StreamedData:
    """One image of each class: 100 are held out, which gate and test."""
    listing = list_classes(find_folder("imagenet-sample", data_dir), Path(data_dir) / "index")
    order = np.argsort(np.random.PCG64(_HELD_OUT_SEED).random_raw(len(listing)), kind="stable")
    held_out = _split(listing, np.sort(order[: sizes.val]), f"imagenet-sample/heldout-{sizes.val}")
    train = np.sort(order[sizes.val :])
    return StreamedData(
        name="imagenet-sample",
        train=_split(listing, train, f"imagenet-sample/train-{len(train)}"),
        val=held_out,
        test=held_out,
        num_classes=len(listing.classes),
        checksums={"imagenet-sample (names)": listing.digest},
        reading=reading,
    )


def _split(listing: Listing, indices: Sequence[int] | np.ndarray, identity: str) -> FolderSplit:
    files = tuple(listing.files[index] for index in indices)
    return FolderSplit(listing.root, files, torch.from_numpy(listing.labels[indices]), identity)


def _warn_of_gaps(found: SplitSizes, expected: SplitSizes, root: Path) -> None:
    for part in ("train", "val", "test"):
        if getattr(found, part) != getattr(expected, part):
            _log.warning(
                "warning: %s gives %d images to %s, but the data set has %d: the results are of these images.",
                root,
                getattr(found, part),
                part,
                getattr(expected, part),
            )
