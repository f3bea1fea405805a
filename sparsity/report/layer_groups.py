"""The layers that form a column of the paper's tables: one rule per model, all of them here.

A rule is an ordered list of (column, how the parameter's name starts, * for any characters); the first match counts.
"""

from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase

from sparsity.records import Layer

RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "lenet5": (("Conv1", "conv1."), ("Conv2", "conv2."), ("FC1", "fc1."), ("FC2", "fc2.")),
    "resnet32": (
        ("Stem", "conv1."),
        ("Stem", "bn1."),
        ("Stage 1", "layer1."),
        ("Stage 2", "layer2."),
        ("Stage 3", "layer3."),
        ("Classifier", "linear."),
    ),
    "vgg16": (("Convolutional", "features."), ("Fully connected", "classifier.")),
    # a block's layer norms go with it: self_attn_layer_norm, encoder_attn_layer_norm, final_layer_norm
    "transformer": (
        ("Encoder attention", "model.encoder.layers.*.self_attn"),
        ("Decoder attention", "model.decoder.layers.*.self_attn"),
        ("Decoder attention", "model.decoder.layers.*.encoder_attn"),
        ("Encoder FFN", "model.encoder.layers."),
        ("Decoder FFN", "model.decoder.layers."),
        ("Embedding and head", "model.shared."),
        ("Embedding and head", "model.*coder.embed_positions."),
        ("Embedding and head", "model.*coder.layernorm_embedding."),
    ),
}

# Parameters that the authors' script counts twice, as shared embedding and as tied head, and the column that counts
# each tensor once, for which the paper has no numbers.
COUNTED_TWICE = {"transformer": "model.shared.weight"}
COUNTED_ONCE = {"transformer": {"Embedding and head": "Embedding and head, once"}}


def groups_of_our_own(model: str) -> list[str]:
    """Columns that stand in our rows only."""
    return list(COUNTED_ONCE.get(model, {}).values())


def residual_by_group(model: str, layers: Iterable[Layer]) -> dict[str, float]:
    """The fraction of each group's parameters that is left, as the paper counts; empty for a model without a rule.

    Args:
        model: name of the model, a key of `RULES`.
        layers: the layers of one row of one run.

    Raises:
        ValueError: a parameter belongs to no group.
    """
    if model not in RULES:
        return {}
    kept: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for layer in layers:
        group = _group(model, layer.parameter)
        times = 2 if layer.parameter == COUNTED_TWICE.get(model) else 1
        kept[group] += times * layer.kept
        total[group] += times * layer.total
        if once := COUNTED_ONCE.get(model, {}).get(group):
            kept[once] += layer.kept
            total[once] += layer.total
    return {group: kept[group] / total[group] for group in total}


def _group(model: str, parameter: str) -> str:
    for group, start in RULES[model]:
        if fnmatchcase(parameter, start + "*"):
            return group
    known = ", ".join(start + "*" for _, start in RULES[model])
    raise ValueError(
        f"{parameter} of {model} is in no column of the paper's table ({known}); add a rule to layer_groups.py."
    )
