"""Builder of ImageNet: folders as they are unpacked, and what of them trains, gates and tests.

The published weights have seen all training images, so nothing is held out of those: the validation images gate and
test. Their division is a fixed draw; the authors gate on the first of them, a tenth of the classes, and test on all.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sparsity.data.images.arrays import HELD_OUT_SEED, balanced_draw, without
from sparsity.data.images.drawn_folder import draw_folder
from sparsity.data.images.folders import Listing, is_flat, list_classes, list_flat, numbered
from sparsity.data.images.loading import FolderSplit
from sparsity.data.images.noise import NoiseData, noise_pool
from sparsity.data.images.streaming import Reading, StreamedData
from sparsity.data.published.download import MIRROR_VARIABLE, DataError
from sparsity.data.sizes import SplitSizes, published_sizes, split_sizes

NUM_CLASSES = 1000
_HOW_TO_GET_ALL = (
    "get the training and validation images of ILSVRC2012 at https://image-net.org/download (it takes an account) and "
    "unpack them as {0}/train/WNID/*.JPEG and {0}/val/WNID/*.JPEG"
)
_HOW_TO_GET_A_SAMPLE = (
    "put one image of each class of ILSVRC2012 (https://image-net.org/download, it takes an account) there as "
    "{0}/WNID/*.JPEG, with neither train nor val between"
)
_log = logging.getLogger(__name__)


def imagenet(
    source: str,
    data_dir: str,
    image_size: int = 224,
    min_area: float = 0.08,
    max_damaged: int = 0,
    num_workers: int = 0,
    baseline: str = "train",
    test_set_gates: bool = False,
) -> StreamedData | NoiseData:
    """ImageNet (ILSVRC2012), or what stands for it.

    Args:
        source: `real`: `imagenet` below `data_dir` or the mirror folder; `sample`: `imagenet-sample` there, one image a
            class, which shows that the pipeline runs and no more; `embedded`: drawn shapes as JPEG files, 10 classes;
            `generated`: noise on the device.
        data_dir: also keeps the index of the folders.
        image_size: of the network's input, in pixels; evaluation takes the centre of an image resized to 8/7 of it.
        min_area: smallest share of an image that a training crop takes, in (0, 1].
        max_damaged: how many images may be damaged; each is named, and the next one takes its place.
        num_workers: threads or processes that read and decode; 0 is one per core that this process may use.
        baseline: source of the baseline: published weights know all 1,000 classes by their numbers.
        test_set_gates: the first validation images of the sorted folder gate, and all of them test.

    Raises:
        ValueError: an unknown word; data that cannot be had or do not fit (DataError).
    """
    sizes = split_sizes("imagenet", source, test_set_gates=test_set_gates)
    reading = Reading(image_size, min_area, max_damaged, num_workers)
    if source == "generated":
        return noise_pool(image_size, NUM_CLASSES, sizes.train, sizes.val, sizes.test)
    if source == "sample":
        return _with_known_numbers(_sample(data_dir, sizes, reading), baseline)
    if source == "embedded":
        published = published_sizes("imagenet", source)
        root = Path(data_dir) / f"embedded-figures-{image_size}"
        draw_folder(root, published.train, published.test, image_size * 5 // 4)
        return _divided("embedded-figures", root, data_dir, test_set_gates, sizes, reading)
    root = find_folder("imagenet", data_dir, _HOW_TO_GET_ALL)
    return _with_known_numbers(_divided("imagenet", root, data_dir, test_set_gates, sizes, reading), baseline)


def find_folder(name: str, data_dir: str, how_to_get: str) -> Path:
    """The folder `name` below `data_dir` or the mirror folder.

    Raises:
        DataError: there is none; the message ends with `how_to_get`, in which {} is where to put the data.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    places = [Path(data_dir) / name, *([Path(mirror) / name] if mirror else [])]
    for place in places:
        if place.is_dir():
            return place
    raise DataError(f"There is no {' and no '.join(map(str, places))}: {how_to_get.format(places[0])}.")


def _with_known_numbers(data: StreamedData, baseline: str) -> StreamedData:
    """The data, unless published weights, which number all classes of ImageNet, are to tell some of them apart."""
    if baseline == "published" and data.num_classes != NUM_CLASSES:
        raise DataError(
            f"{data.train.root} has {data.num_classes} classes, whose numbers are not those that the published weights "
            f"give to ImageNet's {NUM_CLASSES}: make a folder for every class, be it empty, or use baseline=train."
        )
    return data


def _divided(
    name: str, root: Path, data_dir: str, test_set_gates: bool, sizes: SplitSizes, reading: Reading
) -> StreamedData:
    """The folder's training images, and its validation images divided into those that gate and those that test."""
    index_folder = Path(data_dir) / "index"
    train = list_classes(root / "train", index_folder)
    every = _validation(root, train.classes, index_folder)
    num_held_out = _num_held_out(every, sizes, test_set_gates)
    if test_set_gates:
        gate, tested, part = np.arange(num_held_out), np.arange(len(every)), "first"
    else:
        gate = balanced_draw(every.labels, num_held_out, HELD_OUT_SEED, len(every.classes))  # Deviation 19
        tested, part = without(len(every), gate), "stratified"
    if not (len(gate) and len(tested)):
        raise DataError(f"{root}/val holds {len(every)} images of the training classes, too few to gate and to test.")
    val = _split(every, gate, f"{name}/validation-{part}-{num_held_out}")
    test = _split(every, tested, f"{name}/validation-minus-stratified-{num_held_out}")
    whole = _split(every, np.arange(len(every)), f"{name}/validation")
    _warn_of_gaps(SplitSizes(len(train), len(val), len(tested)), sizes, root)
    return StreamedData(
        name=name,
        train=_split(train, np.arange(len(train)), f"{name}/train"),
        val=val,
        test=whole if test_set_gates else test,
        num_classes=len(train.classes),
        checksums={f"{name}/train (names)": train.digest, f"{name}/val (names)": every.digest},
        reading=reading,
        extra_tests={} if test_set_gates else {"whole_validation_set_with_gate": whole},
    )


def _num_held_out(every: Listing, sizes: SplitSizes, test_set_gates: bool) -> int:
    """How many validation images gate: the same share of however many there are, but one of each class if that is more.

    Never more than half of them: the others test.
    """
    whole = sizes.test if test_set_gates else sizes.val + sizes.test
    return max(len(every) * sizes.val // whole, min(len(every.classes), len(every) // 2))


def _validation(root: Path, classes: tuple[str, ...], index_folder: Path) -> Listing:
    if is_flat(root / "val"):
        return list_flat(root / "val", root, classes)
    listing = list_classes(root / "val", index_folder)
    if unknown := sorted({file.partition("/")[0] for file in listing.files} - set(classes)):
        raise DataError(
            f"{root}/val has images of {len(unknown)} classes that {root}/train has not, {unknown[0]} among them: "
            "remove those folders, or add them to the training images."
        )
    return numbered(root / "val", listing.files, classes)


def _sample(data_dir: str, sizes: SplitSizes, reading: Reading) -> StreamedData:
    """One image of each class: a tenth are held out, which gate and test."""
    root = find_folder("imagenet-sample", data_dir, _HOW_TO_GET_A_SAMPLE)
    listing = list_classes(root, Path(data_dir) / "index")
    num_held_out = len(listing) * sizes.val // (sizes.train + sizes.val)
    order = np.argsort(np.random.PCG64(HELD_OUT_SEED).random_raw(len(listing)), kind="stable")
    held_out = _split(listing, np.sort(order[:num_held_out]), f"imagenet-sample/heldout-{num_held_out}")
    _log.warning("warning: %d images of %s both gate and test: no accuracy on them is a result.", num_held_out, root)
    train = np.sort(order[num_held_out:])
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
