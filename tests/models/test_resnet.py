"""Is it the literature's ResNet-32: its 464,154 parameters, its names, its shortcuts, its output?"""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.models.resnet import ResNet, resnet32

STAGES = ("layer1", "layer2", "layer3")


@pytest.fixture(scope="module")
def model() -> ResNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = resnet32()
        for module in model.modules():  # nothing at its neutral start, so that each term shows in the output
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                    assert tensor is not None
                    tensor.uniform_(0.5, 1.5)
        return model


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def reference(state: dict[str, Tensor], images: Tensor, training: bool) -> Tensor:
    """ResNet-32 in plain functional calls over a state dict, after He et al. 2016, section 4.2, option A."""
    state = {name: value.clone() for name, value in state.items()}  # training moves the running statistics

    def norm(hidden: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(hidden, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training)

    hidden = F.relu(norm(F.conv2d(images, state["conv1.weight"], padding=1), "bn1"))
    for stage in STAGES:
        for block in range(5):
            name, is_first = f"{stage}.{block}", stage != "layer1" and block == 0
            inner = F.conv2d(hidden, state[f"{name}.conv1.weight"], stride=2 if is_first else 1, padding=1)
            inner = F.relu(norm(inner, f"{name}.bn1"))
            inner = norm(F.conv2d(inner, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if is_first:
                zeros = torch.zeros_like(inner[:, : hidden.shape[1] // 2])
                hidden = torch.cat([zeros, hidden[:, :, ::2, ::2], zeros], dim=1)
            hidden = F.relu(inner + hidden)
    pooled = F.avg_pool2d(hidden, hidden.shape[3]).flatten(1)
    return F.linear(pooled, state["linear.weight"], state["linear.bias"])


def test_it_has_the_papers_number_of_parameters(model: ResNet) -> None:
    assert sum(p.numel() for p in model.parameters()) == 464_154


@pytest.mark.parametrize("training", [False, True])
def test_the_class_scores_are_those_of_the_reference(model: ResNet, images: Tensor, training: bool) -> None:
    expected = reference(model.state_dict(), images, training)
    with torch.no_grad():
        found = model.train(training)(images)
    torch.testing.assert_close(found, expected)


def test_the_gradients_are_those_of_the_reference(model: ResNet, images: Tensor) -> None:
    parameters = dict(model.eval().double().named_parameters())
    state = model.state_dict() | parameters
    images = images.double()
    ours = torch.autograd.grad(model(images).logsumexp(1).sum(), list(parameters.values()))
    # the reference clones, so its gradients are taken at leaves of its own
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    theirs = torch.autograd.grad(
        reference(state | leaves, images, training=False).logsumexp(1).sum(), list(leaves.values())
    )
    model.float()
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected)


def test_matrices_start_with_hes_standard_deviation() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = resnet32()
    for weight, fan_in in ((model.layer3[4].get_parameter("conv1.weight"), 64 * 9), (model.linear.weight, 64)):
        assert float(weight.detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)


def test_a_smaller_relative_has_fewer_blocks_and_channels(images: Tensor) -> None:
    small = resnet32(num_classes=7, blocks_per_stage=1, width=4)
    assert [len(getattr(small, stage)) for stage in STAGES] == [1, 1, 1]
    assert small.linear.weight.shape == (7, 16)
    assert small(images).shape == (2, 7)


@pytest.mark.skipif("SPARSITY_DATA_MIRROR" not in os.environ, reason="SPARSITY_DATA_MIRROR is not set")
def test_the_literatures_checkpoint_loads_strictly() -> None:
    path = Path(os.environ["SPARSITY_DATA_MIRROR"], "checkpoints", "resnet32-d509ac18.th")
    saved = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    resnet32().load_state_dict({name.removeprefix("module."): value for name, value in saved.items()})
