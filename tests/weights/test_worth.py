"""What zeros are worth, on networks that one can count by hand."""

import torch
from torch import nn

from sparsity.data.sizes import image_shape
from sparsity.models.lenet import LeNet5
from sparsity.weights.worth import bytes_as_csr, gzip_bytes, operations, worth
from tests.tiny_runs import TinyNet


@torch.no_grad()
def lonely() -> LeNet5:
    """One path of one weight a layer, and a weight of fc2 that nothing reaches."""
    model = LeNet5()
    for parameter in model.parameters():
        parameter.zero_()
    model.conv1.weight[3, 0, 0, 0] = model.conv2.weight[4, 3, 0, 0] = 1.0
    model.fc1.weight[5, 4 * 16] = model.fc2.weight[6, 5] = model.fc2.weight[6, 7] = 1.0
    return model


def test_a_dense_network_is_worth_what_it_has() -> None:
    found = worth(LeNet5, LeNet5().state_dict(), (1, 28, 28))
    assert (found.num_weights, found.num_on_path, found.num_compact) == (430_500, 430_500, 431_080)
    forward = 24 * 24 * 500 + 8 * 8 * 25_000 + 400_000 + 5_000
    assert found.operations == found.operations_kept == found.operations_compact == forward
    assert found.units == {
        name: {"total": size, "left": size} for name, size in (("conv1", 20), ("conv2", 50), ("fc1", 500))
    }


def test_what_does_nothing_is_told_from_what_is_kept() -> None:
    found = worth(LeNet5, lonely().state_dict(), (1, 28, 28))
    assert (found.num_weights, found.num_on_path) == (5, 4)
    assert found.operations_kept == 24 * 24 + 8 * 8 + 1 + 2
    assert [of["left"] for of in found.units.values()] == [1, 1, 1]
    assert found.num_compact == 25 + 1 + 25 + 1 + 16 + 1 + 10 + 10
    assert found.operations_compact == 24 * 24 * 25 + 8 * 8 * 25 + 16 + 10


def test_of_a_network_of_unknown_layers_the_rest_is_told() -> None:
    model = TinyNet()
    found = worth(TinyNet, model.state_dict(), (1, 4, 4))
    assert (found.num_compact, found.operations_compact, found.units) == (None, None, {})
    assert found.operations == 32 + 8 and found.num_on_path == 32 + 8 + 4


def test_of_a_network_of_texts_no_path_is_traced_and_no_operation_counted() -> None:
    found = worth(TinyNet, TinyNet().state_dict(), None)
    assert (found.num_on_path, found.operations) == (None, None) and found.num_weights == 44


def test_a_matrix_in_rows_takes_a_value_and_an_index_each_and_the_starts_of_its_rows() -> None:
    matrix = torch.zeros(3, 4, 5)
    matrix[0, 1, 1] = matrix[2, 3, 4] = 1.0
    assert bytes_as_csr(matrix) == 4 * (2 * 2 + 3 + 1)
    assert bytes_as_csr(torch.zeros(7)) == 28


def test_zeros_compress_and_weights_do_not() -> None:
    weights = {"a": torch.rand(10_000), "b": torch.zeros(10_000)}
    assert 35_000 < gzip_bytes({"a": weights["a"]}) <= gzip_bytes(weights) < 41_000


def test_counting_leaves_the_network_and_the_random_numbers_alone() -> None:
    model = nn.Linear(3, 2)
    assert operations(model, (3,)) == (6, 6) and not model._forward_hooks
    weights = TinyNet().state_dict()
    state = torch.get_rng_state()
    worth(TinyNet, weights, (1, 4, 4))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_shapes_of_images_are_known_without_them() -> None:
    names = {"mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32), "wmt14": None}
    assert {name: image_shape({"_target_": f"a.{name}"}) for name in names} == names
    assert image_shape({"_target_": "a.imagenet", "image_size": 56}) == (3, 56, 56)
