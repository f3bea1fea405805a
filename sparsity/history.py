"""What history hashed and spelt: today's settings in the words of the fingerprints, commands and records of old runs.

Every table here is frozen. Who moves a constructor, renames a setting or shows an argument in a YAML file adds a line
or an entry that leads back to the old word; none is ever changed or removed, so that a finished run stays found.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sparsity import constructors


@dataclass(frozen=True)
class Constructor:
    """A `_target_` as fingerprints know it.

    address: under which it was hashed. shown: arguments that stood in its YAML file then, which are hashed whatever
    their value. retired: arguments that it no longer takes, as they stood in every fingerprint.
    """

    address: str
    shown: tuple[str, ...] = ()
    retired: dict[str, Any] = field(default_factory=dict)


_TEXTS = ("source", "vocabulary_size", "max_tokens", "batch_by", "length_multiple", "widths")
_SEARCH = ("num_beams", "length_penalty", "max_length", "label_smoothing", "num_sentences", "chunk_tokens")

CONSTRUCTORS = {
    "sparsity.models.lenet.LeNet5": Constructor("sparsity.models.lenet.LeNet5", ("num_classes",)),
    "sparsity.models.resnet.resnet32": Constructor(
        "sparsity.models.resnet.resnet32", ("num_classes", "blocks_per_stage", "width")
    ),
    "sparsity.models.vgg.vgg16": Constructor(
        "sparsity.models.vgg.vgg16", ("num_classes", "layers", "classifier_width", "dropout")
    ),
    "sparsity.models.transformer.transformer": Constructor(
        "sparsity.models.transformer.transformer",
        ("vocabulary_size", "num_layers", "width", "ffn_width", "num_heads", "dropout"),
    ),
    "sparsity.data.vision.mnist": Constructor("sparsity.data.vision.mnist", ("source",)),
    "sparsity.data.vision.fashion_mnist": Constructor("sparsity.data.vision.fashion_mnist", ("source",)),
    "sparsity.data.cifar.cifar10": Constructor("sparsity.data.cifar.cifar10", ("source", "augment", "normalise")),
    "sparsity.data.imagenet.imagenet": Constructor(
        "sparsity.data.imagenet.imagenet",
        ("source", "image_size", "min_area", "max_damaged"),
        retired={"decoder": "auto"},
    ),
    "sparsity.data.text.wmt14": Constructor("sparsity.data.text.wmt14", _TEXTS),
    "sparsity.data.text.taskmaster1": Constructor("sparsity.data.text.taskmaster1", _TEXTS),
    "sparsity.training.tasks.Classification": Constructor("sparsity.training.tasks.Classification"),
    "sparsity.training.translation.Translation": Constructor("sparsity.training.translation.Translation", _SEARCH),
}
"""Today's address -> what was hashed."""

SPELT = {"finetune.from": "finetune.start_from"}
"""A setting as commands and config.yaml spelt it -> its path today."""

_METHODS = "sparsity.pruning.methods."
KINDS = {
    f"{_METHODS}dense.Dense": None,
    f"{_METHODS}magnitude.Magnitude": None,
    f"{_METHODS}l1.L1": "l1",
    f"{_METHODS}l2.L2": "l2",
    f"{_METHODS}relevance.Relevance": "relevance",
    f"{_METHODS}lobster.Lobster": "lobster",
}
"""Methods of the time when a penalty had a kind -> that kind, which was hashed under `pruner.penalty.kind` if any."""

UNKNOWN = ("pruner.penalty.is_weight_decay", "pruner.penalty.is_control")
"""Settings that follow from the method and were none of their own."""


def in_old_words(changed: dict[str, Any]) -> dict[str, Any]:
    """Dotted path -> value of the settings that differ from their defaults, as fingerprints know paths and values."""
    hashed = {path: as_hashed(value) for path, value in changed.items() if path not in UNKNOWN}
    method = hashed.get("pruner.method", {})
    if set(method) == {"_target_"} and method["_target_"] in KINDS:
        kind = KINDS[hashed.pop("pruner.method")["_target_"]]
        return hashed if kind is None else hashed | {"pruner.penalty.kind": kind}
    return hashed


def as_hashed(value: Any) -> Any:
    """The value of a setting as its fingerprint knows it.

    A constructor stands there with its old address; of its arguments those that were shown then, and those that differ
    from their defaults.
    """
    if not isinstance(value, dict) or "_target_" not in value:
        return value
    address = str(value["_target_"])
    known, defaults = CONSTRUCTORS.get(address, Constructor(address)), constructors.defaults(address)
    differing = {key: of for key, of in value.items() if key not in defaults or of != defaults[key]}
    shown = {key: value.get(key, defaults.get(key)) for key in known.shown if key in value or key in defaults}
    return known.retired | differing | shown | {"_target_": known.address}


def respelt(words: Iterable[str]) -> list[str]:
    """A command line in today's words: that of a finished run works as it is printed."""
    return [_respelt(*word.partition("=")) for word in words]


def _respelt(key: str, equals: str, value: str) -> str:
    path = key.lstrip("+~")
    return f"{key.removesuffix(path)}{SPELT.get(path, path)}{equals}{value}"
