"""How many examples each split of each data set holds: facts for the planner, readable without torch.

Three sources feed the same builders: `real` (the published files), `embedded` (scikit-learn's handwritten digits,
enlarged, or drawn shapes, for `scale=smoke`) and `generated` (random images of the real shape and number, for
`scale=rehearsal`). Validation images are held out of the training images, or out of the test images where the baseline
has seen all training images; ImageNet's validation images are divided into those that gate and those that test. Keys of
the protocol do what the authors did: `test_set_gates` (of MNIST all test images, of ImageNet the first, and all test)
and `train_on_all` (of MNIST). ImageNet's `sample` source, one image a class, shows that the pipeline runs.

Texts have sources of their own (`text`) and fixed splits. How many pairs Taskmaster-1's dialogues give is printed
nowhere: it is counted when they are first loaded, and estimated until then.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparsity.files import locked, write_json
from sparsity.settings import leaf_name


@dataclass(frozen=True)
class SplitSizes:
    """Number of examples trained on, validated on, and tested on."""

    train: int
    val: int
    test: int


@dataclass(frozen=True)
class PublishedSizes:
    """Number of training and test examples before any hold-out, and how many a hold-out takes."""

    train: int
    test: int
    held_out: int


_MNIST_LIKE = {
    "real": PublishedSizes(train=60_000, test=10_000, held_out=5_000),
    "embedded": PublishedSizes(train=1_497, test=300, held_out=297),
    "generated": PublishedSizes(train=60_000, test=10_000, held_out=5_000),
}
_CIFAR10 = {
    "real": PublishedSizes(train=50_000, test=10_000, held_out=5_000),
    "embedded": PublishedSizes(train=2_500, test=1_000, held_out=500),
    "generated": PublishedSizes(train=50_000, test=10_000, held_out=5_000),
}
_IMAGENET = {
    "real": PublishedSizes(train=1_281_167, test=50_000, held_out=5_000),
    "sample": PublishedSizes(train=900, test=100, held_out=0),
    "embedded": PublishedSizes(train=600, test=300, held_out=150),
    "generated": PublishedSizes(train=1_281_167, test=10_000, held_out=5_000),
}
_PUBLISHED = {"mnist": _MNIST_LIKE, "fashion_mnist": _MNIST_LIKE, "cifar10": _CIFAR10, "imagenet": _IMAGENET}

_TASKMASTER_TURNS = 21.99  # of a self-dialog, in the mean (Byrne et al. 2019, Table 2); every second one is answered
_TEXT = {
    "wmt14": {
        "real": SplitSizes(4_468_840, 3_000, 2_737),
        "hub": SplitSizes(4_508_785, 3_000, 3_003),
        "standin": SplitSizes(94_485, 3_000, 3_003),
        "embedded": SplitSizes(5_000, 200, 200),
        "generated": SplitSizes(100_000, 3_000, 2_737),
    },
    "taskmaster1": {
        "real": SplitSizes(*(round(num_dialogs * _TASKMASTER_TURNS / 2) for num_dialogs in (6_168, 770, 770))),
        "standin": SplitSizes(5_610, 720, 665),
        "taskmaster1-part": SplitSizes(8_645, 1_335, 1_140),
        "embedded": SplitSizes(3_142, 189, 189),
        "generated": SplitSizes(20_000, 8_466, 8_466),
    },
}
KNOWN = (*_PUBLISHED, *_TEXT)
_RECORD = "num_pairs.json"
_PAIRINGS = {False: "by speaker", True: "by position"}


def published_sizes(dataset: str, source: str) -> PublishedSizes:
    """Sizes of `dataset` as its `source` provides it, before it is split.

    Raises:
        ValueError: an unknown data set or source, with the known ones.
    """
    check_word("dataset", dataset, tuple(_PUBLISHED))
    check_word("source", source, tuple(_PUBLISHED[dataset]))
    return _PUBLISHED[dataset][source]


def image_shape(dataset: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Channels, height and width of the images of a data set; None of texts, and of data sets of one's own.

    Args:
        dataset: its settings, with `_target_`.
    """
    name = leaf_name(dict(dataset)).lower()
    pixels = {"cifar10": 32, "imagenet": dataset.get("image_size", 224)}.get(name)
    return (1, 28, 28) if name in ("mnist", "fashion_mnist") else (3, pixels, pixels) if pixels else None


def split_sizes(
    dataset: str,
    source: str,
    baseline: str = "train",
    data_dir: str = "data",
    test_set_gates: bool = False,
    train_on_all: bool = False,
    speakers_by_position: bool = False,
) -> SplitSizes:
    """Sizes of the three splits of `dataset` from `source` under those keys of the protocol that its builder reads.

    For Taskmaster-1 itself they are what was counted into `data_dir`, or an estimate before it was first loaded.

    Raises:
        ValueError: an unknown data set or source, with the known ones.
    """
    check_word("dataset", dataset, KNOWN)
    if dataset in _TEXT:
        return _text_sizes(dataset, source, speakers_by_position, data_dir)
    published = published_sizes(dataset, source)
    train, held_out, test = published.train, published.held_out, published.test
    if source == "sample":
        return SplitSizes(train, test, test)
    if dataset == "imagenet":  # Deviation 19
        return SplitSizes(train, held_out, test if test_set_gates else test - held_out)
    if dataset == "mnist":  # Deviation 1
        return SplitSizes(train if train_on_all else train - held_out, test if test_set_gates else held_out, test)
    if baseline == "published":  # it has seen all training images
        return SplitSizes(train, held_out, test - held_out)
    return SplitSizes(train - held_out, held_out, test)


def record_num_pairs(data_dir: str, dataset: str, speakers_by_position: bool, sizes: SplitSizes) -> None:
    """Keep the number of pairs that loading has counted, for later plans."""
    pairing = _PAIRINGS[speakers_by_position]
    path = Path(data_dir) / dataset / _RECORD
    if _recorded(path).get(pairing) == asdict(sizes):
        return  # without the lock: a folder that is only read stays as it is
    with locked(path.parent, wait=True):
        write_json(path, _recorded(path) | {pairing: asdict(sizes)})


def _text_sizes(dataset: str, source: str, speakers_by_position: bool, data_dir: str) -> SplitSizes:
    check_word("source", source, tuple(_TEXT[dataset]))
    path = Path(data_dir) / dataset / _RECORD
    known = _recorded(path) if source == "real" else {}
    pairing = _PAIRINGS[speakers_by_position]
    return SplitSizes(**known[pairing]) if pairing in known else _TEXT[dataset][source]


def _recorded(path: Path) -> dict[str, dict[str, int]]:
    known: dict[str, dict[str, int]] = json.loads(path.read_text()) if path.is_file() else {}
    return known


def check_word(what: str, got: str, allowed: tuple[str, ...]) -> None:
    """Hold a word of the configuration to those allowed.

    Raises:
        ValueError: with what was got and what is allowed.
    """
    if got not in allowed:
        raise ValueError(f"{what} is {got!r}, but it must be one of {', '.join(allowed)}: correct it in the config.")
