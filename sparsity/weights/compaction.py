"""A smaller dense network with the function of a pruned one: units that do nothing are removed, with their weights.

A unit whose weights behind it are all gone is used by nobody; one whose own weights are all gone is a constant, which
is added to the biases behind it. Either may leave others without use, so both are looked for until none is found.
What a convolution makes of a constant varies at the border that it pads with zeros: there a unit stays, unless its
constant is 0. Units are found between layers that follow each other directly; sums, as of residual branches and
attention, keep their width.

torch-simplify (EIDOSLab) does the same with a map of biases in the place of a padded constant; it is for torchvision
up to 0.11 and for modules, not for functions, and was left at that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Chain:
    """Two layers that follow each other: the units of the first are the inputs of the second.

    norm: batch normalisation between them. is_rectified: whether ReLU is. spread: inputs of the second for each unit,
    where a map of that many pixels is flattened. dropout: of the units in training. is_per_token: whether both are used
    for each token of an example.
    """

    first: Layer
    second: Layer
    norm: nn.BatchNorm2d | None = None
    is_rectified: bool = True
    spread: int = 1
    dropout: float = 0.0
    is_per_token: bool = False

    def inputs(self, of: Tensor) -> Tensor:
        """A tensor of the second layer's shape as [outputs, units, pixels of a flattened map, kernel], a view."""
        return of.view(len(of), len(self.first.weight), self.spread, -1)

    def used(self, of: Tensor) -> Tensor:
        """Which units any of the second layer's weights is left of, by these themselves or by their mask."""
        return self.inputs(of).flatten(2).any(2).any(0)


@torch.no_grad()
def compact(model: nn.Module) -> dict[str, int]:
    """Remove in place what does nothing, and return name -> units left of each layer that could lose some.

    Args:
        model: pruned weights are zeros; in evaluation mode it computes the same before and after, up to rounding.

    Raises:
        ValueError: if it is a network whose layers are not known here.
    """
    chains = chains_of(model)
    while any([_free(chain) for chain in chains]):  # a list: each of them, every time
        pass
    for chain in chains:
        _cut(chain, chain.used(chain.second.weight))
    names = {module: name for name, module in model.named_modules()}
    return {names[chain.first]: len(chain.first.weight) for chain in chains}


def chains_of(model: nn.Module) -> list[Chain]:
    """The chains of LeNet-5, of VGGs, of ResNet's blocks and of the Transformer's feed-forward parts.

    Raises:
        ValueError: if it is none of them.
    """
    found = [chain for module in model.modules() for chain in _KNOWN.get(_address(type(module)), _none)(module)]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no layers that are known to follow each other: compact a LeNet5, a VGG, a "
            "ResNet or a Transformer of this package."
        )
    return found


@torch.no_grad()
def resize(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a new model the widths of a compacted one's state_dict, and load it. Raises as `compact`."""
    names = {module: name for name, module in model.named_modules()}
    for chain in chains_of(model):
        _cut(chain, torch.arange(len(chain.first.weight)) < len(weights[f"{names[chain.first]}.weight"]))
    model.load_state_dict(weights)


def _lenet(model: nn.Module) -> list[Chain]:
    conv1, conv2, fc1, fc2 = (_layer(model.get_submodule(name)) for name in ("conv1", "conv2", "fc1", "fc2"))
    is_rectified, spread = bool(model.conv_relu), _num_inputs(fc1) // len(conv2.weight)
    first, second = (Chain(conv1, conv2, is_rectified=is_rectified), Chain(conv2, fc1, None, is_rectified, spread))
    return [first, second, Chain(fc1, fc2)]


def _vgg(model: nn.Module) -> list[Chain]:
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):  # torchvision's vgg16_bn
        return []
    layers = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    dropout = max((module.p for module in model.modules() if isinstance(module, nn.Dropout)), default=0.0)
    return [
        Chain(
            *(first, second),
            spread=_num_inputs(second) // len(first.weight),
            dropout=dropout if isinstance(first, nn.Linear) else 0.0,
        )
        for first, second in pairwise(layers)
    ]


def _block(block: nn.Module) -> list[Chain]:
    norm = block.get_submodule("bn1")
    assert isinstance(norm, nn.BatchNorm2d)
    return [Chain(_layer(block.get_submodule("conv1")), _layer(block.get_submodule("conv2")), norm)]


def _feed_forward(layer: nn.Module) -> list[Chain]:
    first, second = (_layer(layer.get_submodule(name)) for name in ("fc1", "fc2"))
    dropout = float(getattr(layer, "activation_dropout", 0.0))
    return [Chain(first, second, dropout=dropout, is_per_token=True)]


def _none(_: nn.Module) -> list[Chain]:
    return []


def _address(kind: type[nn.Module]) -> str:
    """A class by its whole name: anybody's network may be called VGG."""
    return f"{kind.__module__}.{kind.__qualname__}"


_KNOWN: dict[str, Callable[[nn.Module], list[Chain]]] = {
    "sparsity.models.lenet.LeNet5": _lenet,
    "torchvision.models.vgg.VGG": _vgg,
    "sparsity.models.resnet.ResidualBlock": _block,
    "transformers.models.bart.modeling_bart.BartEncoderLayer": _feed_forward,
    "transformers.models.bart.modeling_bart.BartDecoderLayer": _feed_forward,
}


def _free(chain: Chain) -> bool:
    """Fold the constants of a chain into the biases behind it and silence its units that nobody uses; whether any."""
    first, second, inputs = chain.first, chain.second, chain.inputs(chain.second.weight)
    constants, is_constant = _constants(chain), _are_constant(chain)
    is_padded = isinstance(second, nn.Conv2d) and any(second.padding)
    used = chain.used(second.weight)
    foldable = is_constant & used & ((constants == 0) if is_padded or second.bias is None else True)
    if second.bias is not None:
        added = (inputs.double().sum((2, 3)) * (constants * foldable)).sum(1)
        second.bias += added.to(second.bias.dtype)
    inputs[:, foldable] = 0
    silent = ~chain.used(second.weight) & (first.weight.flatten(1).any(1) | _bias(first).bool())
    first.weight[silent] = 0
    if first.bias is not None:
        first.bias[silent] = 0
    return bool(foldable.any() or silent.any())


def _are_constant(chain: Chain) -> Tensor:
    """Which units say the same of everything."""
    are_empty = ~chain.first.weight.flatten(1).any(1)
    return are_empty if chain.norm is None else are_empty | (chain.norm.weight == 0)


def _constants(chain: Chain) -> Tensor:
    """What each unit says, in float64, if it says the same of everything."""
    values, norm = _bias(chain.first).double(), chain.norm
    if norm is not None:
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        values = (values - norm.running_mean.double()) * scale + norm.bias.double()
    return values.relu() if chain.is_rectified else values


def _cut(chain: Chain, keep: Tensor) -> None:
    """Leave the units of `keep`, at least one: a layer without any is none."""
    keep = keep.clone()
    keep[0] |= not keep.any()
    first, second, norm = chain.first, chain.second, chain.norm
    kept = chain.inputs(second.weight)[:, keep]
    second.weight = nn.Parameter(kept.reshape(len(kept), -1, *second.weight.shape[2:]))
    first.weight = nn.Parameter(first.weight[keep])
    if first.bias is not None:
        first.bias = nn.Parameter(first.bias[keep])
    if norm is not None:
        assert norm.running_mean is not None and norm.running_var is not None
        norm.weight, norm.bias = nn.Parameter(norm.weight[keep]), nn.Parameter(norm.bias[keep])
        norm.running_mean, norm.running_var = norm.running_mean[keep], norm.running_var[keep]
        norm.num_features = int(keep.sum())
    _say_widths(first)
    _say_widths(second)


def _say_widths(layer: Layer) -> None:
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    else:
        layer.out_channels, layer.in_channels = layer.weight.shape[:2]


def _bias(layer: Layer) -> Tensor:
    return torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias


def _layer(module: nn.Module) -> Layer:
    assert isinstance(module, (nn.Linear, nn.Conv2d))
    return module


def _num_inputs(layer: Layer) -> int:
    return layer.weight.shape[1]
