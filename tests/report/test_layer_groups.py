"""Layers are counted in the paper's columns."""

import pytest

from sparsity.models.resnet import resnet32
from sparsity.report.layer_groups import residual_by_group
from sparsity.report.records import Layer


def layer(parameter: str, total: int, kept: int) -> Layer:
    return Layer("last", parameter, "1", total, kept, 1 - kept / total)


def test_weights_and_biases_of_a_layer_are_one_column() -> None:
    layers = [layer("conv1.weight", 90, 20), layer("conv1.bias", 10, 5), layer("fc2.weight", 10, 1)]
    assert residual_by_group("lenet5", layers) == {"Conv1": 0.25, "FC2": 0.1}


def test_every_parameter_of_resnet32_is_in_a_stage_or_at_its_ends() -> None:
    layers = [layer(name, p.numel(), p.numel() // 2) for name, p in resnet32().named_parameters()]
    groups = residual_by_group("resnet32", layers)
    assert list(groups) == ["Stem", "Stage 1", "Stage 2", "Stage 3", "Classifier"]
    assert groups["Stage 2"] == pytest.approx(0.5)


def test_a_model_without_a_rule_has_no_columns() -> None:
    assert residual_by_group("perceptron", [layer("conv1.weight", 10, 1)]) == {}


def test_a_parameter_outside_all_columns_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"head.weight of lenet5 is in no column .*conv1\.\*.*add a rule"):
        residual_by_group("lenet5", [layer("head.weight", 10, 1)])
