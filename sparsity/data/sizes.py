"""How many examples does each split of each data set hold? Facts for the planner, readable without torch.

Three sources feed the same builders: `real` (the published files), `embedded` (scikit-learn's handwritten digits,
enlarged, or drawn figures, for `scale=smoke`) and `generated` (random images of the real shape and number, for
`scale=rehearsal`). Two protocols split them: `sound` holds validation images out of the training images, or out of the
test images where the baseline has seen all training images; `authors` does what the authors' code did, which for MNIST
is to validate on the test set itself. ImageNet's validation images gate and test under both: `sound` divides them,
`authors` gates on the first and tests on all. Its `sample` source, one image a class, shows that the pipeline runs.
"""

from dataclasses import dataclass

PROTOCOLS = ("sound", "authors")


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
_AUTHORS_VALIDATE_ON_TEST = ("mnist",)


def published_sizes(dataset: str, source: str) -> PublishedSizes:
    """Sizes of `dataset` as its `source` provides it, before a protocol splits it.

    Raises:
        ValueError: an unknown data set or source, with the known ones.
    """
    check_word("dataset", dataset, tuple(_PUBLISHED))
    check_word("source", source, tuple(_PUBLISHED[dataset]))
    return _PUBLISHED[dataset][source]


def validates_on_test(dataset: str, protocol: str) -> bool:
    """Whether `protocol` takes the test set itself for validation (the authors' flaw on MNIST).

    Raises:
        ValueError: an unknown data set or protocol, with the known ones.
    """
    check_word("dataset", dataset, tuple(_PUBLISHED))
    check_word("protocol", protocol, PROTOCOLS)
    return protocol == "authors" and dataset in _AUTHORS_VALIDATE_ON_TEST


def validates_beside_test(protocol: str, baseline: str) -> bool:
    """Whether validation images are held out of the test set: a published baseline has seen all training images."""
    return protocol == "sound" and baseline == "published"


def split_sizes(dataset: str, source: str, protocol: str, baseline: str = "train") -> SplitSizes:
    """Sizes of the three splits of `dataset` from `source` under `protocol`, for a baseline of that source.

    Raises:
        ValueError: an unknown data set, source or protocol, with the known ones.
    """
    published = published_sizes(dataset, source)
    if validates_on_test(dataset, protocol) or source == "sample":
        return SplitSizes(published.train, published.test, published.test)
    if dataset == "imagenet":  # Deviation 19
        tested = published.test - published.held_out if protocol == "sound" else published.test
        return SplitSizes(published.train, published.held_out, tested)
    if validates_beside_test(protocol, baseline):
        return SplitSizes(published.train, published.held_out, published.test - published.held_out)
    return SplitSizes(published.train - published.held_out, published.held_out, published.test)


def check_word(what: str, got: str, allowed: tuple[str, ...]) -> None:
    """Hold a word of the configuration to those allowed.

    Raises:
        ValueError: with what was got and what is allowed.
    """
    if got not in allowed:
        raise ValueError(f"{what} is {got!r}, but it must be one of {', '.join(allowed)}: correct it in the config.")
