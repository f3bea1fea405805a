"""Weights on a path from input to output, on networks whose paths one can count."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.models.lenet import LeNet5
from sparsity.models.resnet import resnet32
from sparsity.models.vgg import vgg16
from sparsity.pruning.paths import has_any, on_a_path, traced


def two_layers() -> tuple[nn.Sequential, nn.Linear, nn.Linear]:
    """Three inputs, two units, two outputs, every weight -1: signs must not matter."""
    first, second = nn.Linear(3, 2), nn.Linear(2, 2)
    model = nn.Sequential(first, nn.ReLU(), second)
    for parameter in model.parameters():
        nn.init.constant_(parameter, -1.0)
    return model, first, second


def test_a_unit_without_inputs_takes_the_weights_behind_it_along_and_one_without_outputs_those_before_it() -> None:
    model, first, second = two_layers()
    with torch.no_grad():
        first.weight[0] = 0  # unit 0 gets nothing
        second.weight[1, 1] = 0
    found = on_a_path(model, (3,))
    assert found["0.weight"].tolist() == [[False] * 3, [True] * 3]
    assert found["2.weight"].tolist() == [[False, True], [False, False]]


def test_layers_that_miss_each_other_leave_no_path_although_each_has_weights() -> None:
    model, first, second = two_layers()
    with torch.no_grad():
        first.weight[0] = 0
        second.weight[:, 1] = 0
    assert not any(mask.any() for mask in on_a_path(model, (3,)).values())


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (LeNet5(), (1, 28, 28)),
        (resnet32(width=4), (3, 32, 32)),
        (vgg16(10, [4, "M", 8, "M"], 16), (3, 28, 28)),
    ],
)
def test_in_a_dense_network_every_weight_is_on_a_path(model: nn.Module, shape: tuple[int, ...]) -> None:
    with torch.no_grad():  # a norm that scales by a negative number is no end
        for name, parameter in model.named_parameters():
            parameter.fill_(-1.0 if "bn" in name else 1.0)
    found = on_a_path(model, shape)
    assert all(mask.all() for mask in found.values())
    assert not any(name.endswith("bias") for name in found)


def test_a_block_of_a_residual_network_may_be_empty() -> None:
    model = resnet32(width=4)
    with torch.no_grad():
        model.layer2[1].conv1.weight.zero_()  # type: ignore[operator, union-attr]
    found = on_a_path(model, (3, 32, 32))
    assert not found["layer2.1.conv2.weight"].any() and not found["layer2.1.bn1.weight"].any()
    assert found["conv1.weight"].all() and found["linear.weight"].all()


def test_of_a_kind_in_whose_dense_twin_no_path_is_found_nothing_is_known() -> None:
    empty = {name: torch.zeros_like(value) for name, value in two_layers()[0].state_dict().items()}
    found = traced(lambda: two_layers()[0], empty, (3,))
    assert found is not None and not has_any(found)
    normed = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2))
    assert traced(lambda: normed, normed.state_dict(), (3,)) is None


def test_a_path_leads_through_frozen_weights_too() -> None:
    model, first, _ = two_layers()
    first.requires_grad_(False)
    assert all(mask.all() for mask in on_a_path(model, (3,)).values())


class OfFloats(nn.Linear):
    """A forward pass that says of which type its inputs are to be."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.float())


def test_of_a_network_that_cannot_be_traced_nothing_is_known() -> None:
    assert traced(lambda: OfFloats(3, 2), OfFloats(3, 2).state_dict(), (3,)) is None


class Pooled(nn.Conv2d):
    def forward(self, inputs: Tensor) -> Tensor:
        return F.max_pool2d(super().forward(inputs), kernel_size=2)


def test_pooling_may_name_its_size() -> None:
    assert has_any(on_a_path(Pooled(1, 1, 1), (1, 2, 2)))
