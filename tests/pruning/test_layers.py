"""Which layers have weights of their own, with inputs and outputs."""

from torch import nn

from sparsity.models.lenet import LeNet5
from sparsity.pruning.layers import weighted_layers
from tests.training.tiny_bart import tiny_bart


def test_convolutions_and_linear_layers_are_found_under_the_names_of_their_weights() -> None:
    model = LeNet5()
    assert list(weighted_layers(model)) == ["conv1", "conv2", "fc1", "fc2"]
    parameters = dict(model.named_parameters())
    assert all(parameters[f"{name}.weight"] is layer.weight for name, layer in weighted_layers(model).items())


def test_an_embedding_is_none_nor_is_the_head_that_it_is_tied_to() -> None:
    found = weighted_layers(tiny_bart())
    assert all(isinstance(layer, nn.Linear) for layer in found.values())
    assert "lm_head" not in found and "model.encoder.layers.0.fc1" in found


def test_a_weight_that_is_not_trained_takes_no_part() -> None:
    model = LeNet5()
    model.fc1.weight.requires_grad_(False)
    assert list(weighted_layers(model)) == ["conv1", "conv2", "fc2"]
