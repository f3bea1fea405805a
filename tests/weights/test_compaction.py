"""Smaller dense networks with the same function: against the masked network, on inputs of any kind."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from sparsity.models.lenet import LeNet5
from sparsity.models.resnet import resnet32
from sparsity.models.vgg import vgg16
from sparsity.weights.compaction import chains_of, compact, resize
from tests.training.tiny_bart import tiny_bart


def small_vgg() -> nn.Module:
    return vgg16(10, [8, "M", 16, 16, "M"], 32)


def caffe_lenet() -> nn.Module:
    return LeNet5(conv_relu=False)


IMAGES = {
    LeNet5: (1, 28, 28),
    caffe_lenet: (1, 28, 28),
    small_vgg: (3, 28, 28),
    lambda: resnet32(width=8, blocks_per_stage=2): (3, 32, 32),
}


@torch.no_grad()
def pruned(build: Callable[[], nn.Module], share: float) -> nn.Module:
    """A network with biases and norms of every kind, of which so large a share is gone, whole units among them."""
    torch.manual_seed(0)
    model = build().eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.normal_()  # constants on both sides of ReLU
        parameter.mul_(torch.rand_like(parameter) > share)
        if parameter.dim() > 1 and "embed" not in name and "shared" not in name:
            parameter[::3] = 0  # units of which nothing but the bias is left
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight[1::4] = 0
    return model


def num_weights(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("build", IMAGES)
@torch.no_grad()
def test_a_compacted_network_computes_what_the_masked_one_does(build: Callable[[], nn.Module], share: float) -> None:
    model, images = pruned(build, share), torch.randn(16, *IMAGES[build])
    expected, before = model(images), num_weights(model)
    left = compact(model)
    assert num_weights(model) < before and left
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert compact(model) == left, "nothing is left to be done"


@torch.no_grad()
def test_what_leads_to_nothing_is_cut_off_back_to_the_first_layer() -> None:
    model = LeNet5().eval()
    model.fc2.weight[:, 0] = 0
    model.fc1.weight[1:, :16] = 0  # the first map is for the first unit alone, which nobody hears
    model.conv2.weight[1:, 0] = 0
    assert list(compact(model).values()) == [19, 49, 499]


@torch.no_grad()
def test_the_feed_forward_parts_of_a_transformer_shrink() -> None:
    model = pruned(tiny_bart, 0.8)
    tokens = torch.randint(4, 12, (3, 7))
    expected = model(input_ids=tokens, decoder_input_ids=tokens).logits
    left = compact(model)
    assert {name.split(".")[1] for name in left} == {"encoder", "decoder"} and all(
        name.endswith("fc1") for name in left
    )
    torch.testing.assert_close(model(input_ids=tokens, decoder_input_ids=tokens).logits, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_constants_go_into_the_biases_behind_them_and_what_only_they_used_goes_too() -> None:
    model = LeNet5()
    for parameter in model.parameters():
        parameter.zero_()
    model.conv1.weight[:2] = 1.0
    model.conv2.weight[0, 0] = 1.0  # map 1 of conv1 is not used
    torch.as_tensor(model.conv2.bias)[1] = 2.0  # a constant
    model.fc1.weight[0, :32] = 1.0  # unit 0 sums both maps of 16 pixels
    model.fc2.weight[3, 0] = 1.0
    assert compact(model) == {"conv1": 1, "conv2": 1, "fc1": 1}
    assert model.fc1.bias.tolist() == [32.0]
    assert [tuple(p.shape) for p in model.parameters() if p.dim() > 1] == [(1, 1, 5, 5), (1, 1, 5, 5), (1, 16), (10, 1)]


@torch.no_grad()
def test_a_constant_before_a_padded_convolution_keeps_its_unit_unless_it_is_zero() -> None:
    model = vgg16(10, [4, 4, "M"], 8)
    features: nn.Sequential = model.features
    first, second = features[0], features[2]
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
    first.weight[:2] = 0
    assert first.bias is not None
    first.bias[0], first.bias[1] = 1.0, -1.0  # behind ReLU 1 and 0
    for layer in (first, second):
        layer.weight[2:] = layer.weight[2:].abs() + 0.1
    images = torch.randn(2, 3, 14, 14)
    expected = model.eval()(images)
    assert compact(model)["features.0"] == 3
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_network_without_a_path_keeps_a_unit_in_each_layer_and_says_its_biases() -> None:
    model = LeNet5()
    for parameter in model.parameters():
        parameter.zero_()
    model.fc2.bias.copy_(torch.arange(10.0))
    assert compact(model) == {"conv1": 1, "conv2": 1, "fc1": 1}
    assert torch.equal(model(torch.randn(2, 1, 28, 28)), torch.arange(10.0).expand(2, 10))


@torch.no_grad()
def test_a_new_network_takes_the_widths_of_a_compacted_one() -> None:
    model, images = pruned(LeNet5, 0.95), torch.randn(4, 1, 28, 28)
    compact(model)
    again = LeNet5().eval()
    resize(again, model.state_dict())
    assert torch.equal(again(images), model(images))
    assert (again.fc1.in_features, again.fc1.out_features) == tuple(reversed(again.fc1.weight.shape))


def test_a_network_of_layers_that_nobody_knows_is_refused() -> None:
    with pytest.raises(
        ValueError, match="Sequential has no layers that are known to follow each other: compact a LeNet5"
    ):
        compact(nn.Sequential(nn.Linear(2, 2)))


def normed_vgg() -> nn.Module:
    with torch.device("meta"):  # its classifier is large
        return torchvision.models.vgg11_bn(init_weights=False)


class VGG(nn.Sequential):
    """Anybody's network of the name."""


@pytest.mark.parametrize("build", [normed_vgg, lambda: VGG(nn.Linear(2, 2), nn.Flatten(), nn.Linear(2, 2))])
def test_a_network_that_only_bears_a_known_name_is_of_no_known_kind(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match="VGG has no layers that are known to follow each other"):
        chains_of(build())


def test_tensors_stay_apart() -> None:
    model = pruned(LeNet5, 0.9)
    compact(model)
    tensors: list[Tensor] = [parameter.data for parameter in model.parameters()]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)
