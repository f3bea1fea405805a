"""Which layers form a column of the paper's tables? One rule per model, all of them here.

A rule is an ordered list of (column, prefix of the parameter's name); the first match counts.
"""

from collections import defaultdict
from collections.abc import Iterable

from sparsity.report.records import Layer

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
}


def residual_by_group(model: str, layers: Iterable[Layer]) -> dict[str, float]:
    """The fraction of each group's parameters that is left; empty for a model without a rule.

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
        kept[group] += layer.kept
        total[group] += layer.total
    return {group: kept[group] / total[group] for group in total}


def _group(model: str, parameter: str) -> str:
    for group, prefix in RULES[model]:
        if parameter.startswith(prefix):
            return group
    known = ", ".join(prefix + "*" for _, prefix in RULES[model])
    raise ValueError(
        f"{parameter} of {model} is in no column of the paper's table ({known}); add a rule to layer_groups.py."
    )
