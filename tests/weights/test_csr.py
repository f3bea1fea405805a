"""Networks as sparse products: the same function, with none of the zeros."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sparsity.models.lenet import LeNet5
from sparsity.models.resnet import resnet32
from sparsity.weights.csr import as_csr
from sparsity.weights.inputs import check_same, drawn_inputs, scorer
from tests.training.tiny_bart import tiny_bart


class Strided(nn.Module):
    """A convolution with everything that one may have, on maps that are no squares."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.conv(images)
        return scores


NETWORKS: dict[Callable[[], nn.Module], tuple[int, ...] | None] = {
    LeNet5: (1, 28, 28),
    lambda: resnet32(width=4, blocks_per_stage=1): (3, 32, 32),
    Strided: (2, 7, 9),
    tiny_bart: None,
}


@torch.no_grad()
def pruned(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    model = build().eval()
    for parameter in model.parameters():
        parameter.mul_(torch.rand_like(parameter) > 0.6)
    return model


@pytest.mark.parametrize("build", NETWORKS)
def test_sparse_products_say_what_the_dense_ones_do(build: Callable[[], nn.Module]) -> None:
    model = pruned(build)
    inputs = drawn_inputs(model, NETWORKS[build], 3)
    with torch.no_grad():
        found, expected = (scorer(each)(*inputs.tensors.values()) for each in (as_csr(model), model))
    assert found.shape == expected.shape
    check_same(found, expected, "CSR")


def test_a_layer_holds_its_kept_weights_alone_and_the_network_itself_is_left_alone() -> None:
    model = pruned(LeNet5)
    sparse = as_csr(model)
    kept = sparse.get_submodule("fc1").weight
    assert isinstance(kept, Tensor) and kept.values().numel() == model.state_dict()["fc1.weight"].count_nonzero()
    assert isinstance(model.get_submodule("fc1"), nn.Linear)


def test_a_layer_that_lost_everything_gives_its_bias() -> None:
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.weight)
    with torch.no_grad():
        assert torch.equal(as_csr(nn.Sequential(model))(torch.randn(4, 3)), model.bias.expand(4, 2))


def test_a_convolution_in_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="is no plain convolution"):
        as_csr(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)))


def test_other_scores_are_told_from_rounding() -> None:
    expected = torch.tensor([1.0, -200.0])
    assert check_same(expected + 0.01, expected, "CSR") == pytest.approx(0.01, rel=1e-2)
    for other in (expected + 0.03, expected * torch.nan):
        with pytest.raises(ValueError, match="CSR says something else than the network in torch"):
            check_same(other, expected, "CSR")
