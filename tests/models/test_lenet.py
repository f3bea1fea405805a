"""Is it the Caffe LeNet-5 of the paper's Table 2: its 431,080 parameters, and ReLU before pooling in effect?"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sparsity.models.lenet import LeNet5


@pytest.fixture
def model() -> LeNet5:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LeNet5()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def as_published(model: LeNet5, images: Tensor) -> Tensor:
    """Convolution, ReLU, pooling; twice; then two linear layers with a ReLU between them."""
    hidden = F.max_pool2d(F.relu(F.conv2d(images, model.conv1.weight, model.conv1.bias)), 2)
    hidden = F.max_pool2d(F.relu(F.conv2d(hidden, model.conv2.weight, model.conv2.bias)), 2)
    hidden = F.relu(F.linear(hidden.flatten(1), model.fc1.weight, model.fc1.bias))
    return F.linear(hidden, model.fc2.weight, model.fc2.bias)


def test_it_has_the_papers_number_of_parameters(model: LeNet5) -> None:
    assert sum(p.numel() for p in model.parameters()) == 431_080


def test_each_layer_has_the_size_of_table_2(model: LeNet5) -> None:
    sizes = {name: sum(p.numel() for p in layer.parameters()) for name, layer in model.named_children()}
    assert sizes == {"conv1": 520, "conv2": 25_050, "fc1": 400_500, "fc2": 5_010}


def test_the_class_scores_are_those_of_the_published_order_of_layers(model: LeNet5, images: Tensor) -> None:
    assert torch.equal(model(images), as_published(model, images))


def test_the_gradients_are_those_of_the_published_order_of_layers(model: LeNet5, images: Tensor) -> None:
    parameters = list(model.parameters())
    ours = torch.autograd.grad(model(images).logsumexp(1).sum(), parameters)
    theirs = torch.autograd.grad(as_published(model, images).logsumexp(1).sum(), parameters)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_number_of_classes_is_the_width_of_the_output(images: Tensor) -> None:
    assert LeNet5(num_classes=7)(images).shape == (4, 7)


def test_without_relu_after_the_convolutions_they_are_linear() -> None:
    net, images = LeNet5(conv_relu=False), torch.rand(3, 1, 28, 28)
    hidden = F.max_pool2d(net.conv2(F.max_pool2d(net.conv1(images), 2)), 2).flatten(1)
    assert torch.equal(net(images), net.fc2(F.relu(net.fc1(hidden))))
    assert hidden.min() < 0
