"""A pruned network that computes with its kept weights alone: layers as products with compressed sparse rows (CSR)."""

import copy
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def as_csr(model: nn.Module) -> nn.Module:
    """A copy for inference on a CPU in which every linear layer and convolution is a sparse product.

    Args:
        model: pruned weights are zeros; biases, norms and embeddings stay as they are.

    Raises:
        ValueError: if a convolution is of a kind that is not known here.
    """
    sparse = copy.deepcopy(model).eval()
    for name, layer in list(sparse.named_modules()):
        if isinstance(layer, nn.Linear):
            sparse.set_submodule(name, _Linear(layer))
        elif isinstance(layer, nn.Conv2d):
            sparse.set_submodule(name, _Convolution(layer))
    return sparse


class _Linear(nn.Module):
    """Scores [..., outputs] of inputs [..., inputs]."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = _rows(layer.weight), layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = (self.weight @ inputs.flatten(0, -2).T).T
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.view(*inputs.shape[:-1], -1)


class _Convolution(nn.Module):
    """Maps [N, outputs, H', W'] of maps [N, inputs, H, W]: patches as columns, a product with those of each image."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError(f"{layer} is no plain convolution, and no sparse product is known for it.")
        self.weight, self.bias = _rows(layer.weight.flatten(1)), layer.bias
        self.kernel_size, self.dilation = layer.kernel_size, layer.dilation
        self.padding, self.stride = layer.padding, layer.stride

    def forward(self, inputs: Tensor) -> Tensor:
        patches = F.unfold(inputs, self.kernel_size, self.dilation, self.padding, self.stride)  # [N, C k k, H' W']
        # image by image: a kept weight adds a row of patches to one of outputs, and rows of all images leave the cache
        outputs = torch.stack([self.weight @ columns for columns in patches])
        if self.bias is not None:
            outputs = outputs + self.bias[:, None]
        across = inputs.shape[3] + 2 * self.padding[1] - self.dilation[1] * (self.kernel_size[1] - 1) - 1
        return outputs.unflatten(2, (-1, across // self.stride[1] + 1))


def _rows(weight: Tensor) -> Tensor:
    """A matrix as compressed rows with indices of 32 bits, those of the library that multiplies them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        found = weight.detach().to_sparse_csr()
        return torch.sparse_csr_tensor(
            found.crow_indices().int(), found.col_indices().int(), found.values(), found.shape, check_invariants=True
        )
