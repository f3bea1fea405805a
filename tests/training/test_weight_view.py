"""Effective weights and layers of one's own: what the forward pass sees, what is trained, what is handed on."""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.training import weight_view
from sparsity.training.execution import Execution
from sparsity.training.extensions import Extensions, Forward
from tests.training.fakes import FakeBatches, finish, gradients, network, phase, same, trainer, weights


class Halved:
    """Shows the network its kernels at half their size, in evaluation at a quarter."""

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        if not name.endswith("weight"):
            return weight
        return weight * (0.5 if is_training else 0.25)


class Rounded:
    """Rounds all weights to tenths, straight through."""

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        return weight + ((10 * weight).round() / 10 - weight).detach()


class Noisy:
    """Multiplies each weight by 0 or 2 in training."""

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        return weight * 2 * (torch.rand_like(weight) < 0.5) if is_training else weight


def with_views(*views: object) -> Extensions:
    return Extensions.of(views)


def test_the_gradient_is_that_of_the_weights_through_their_effective_ones() -> None:
    loop, plain = trainer(network(), phase(1, every=1), with_views(Halved())), network()
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.mul_(0.5 if name.endswith("weight") else 1)
    expected = gradients(plain, FakeBatches().batch(0, 0))
    loop.train_step()
    for (name, weight), gradient in zip(loop.model.named_parameters(), expected, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, gradient * (0.5 if name.endswith("weight") else 1))


def test_straight_through_the_weights_are_trained_as_if_they_were_the_effective_ones() -> None:
    loop, rounded = trainer(network(), phase(1, every=1), with_views(Rounded())), network()
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.copy_((10 * weight).round() / 10)
    expected = gradients(rounded, FakeBatches().batch(0, 0))
    loop.train_step()
    for weight, gradient in zip(loop.model.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def test_an_evaluation_sees_the_weights_that_are_handed_on_and_leaves_those_that_are_trained() -> None:
    seen: list[list[Tensor]] = []
    model = network()

    def evaluate() -> dict[str, Tensor]:
        seen.append(weights(model))
        return {}

    loop = trainer(model, phase(1, every=1), with_views(Halved()), evaluate=evaluate)
    before = weights(model)
    loop.evaluate()
    assert same(weights(model), before)
    quarter = [0.25 if name.endswith("weight") else 1 for name, _ in model.named_parameters()]
    assert same(seen[0], [share * weight for share, weight in zip(quarter, before, strict=True)])


def test_views_are_applied_in_their_order() -> None:
    loop = trainer(network(), phase(1), with_views(Rounded(), Halved()))
    start = dict(network().named_parameters())["4.weight"].detach()
    with loop.baked():
        torch.testing.assert_close(dict(loop.model.named_parameters())["4.weight"].detach(), (10 * start).round() / 40)


def test_noise_is_drawn_anew_at_each_step_and_resumed_with_the_checkpoint() -> None:
    def noisy() -> Extensions:
        return with_views(Noisy())

    torch.manual_seed(5)
    whole = finish(trainer(network(), phase(2, every=4), noisy()))
    torch.manual_seed(5)
    first = trainer(network(), phase(2, every=4), noisy())
    next(first.run())
    state, kept = first.state_dict(), first.model.state_dict()
    torch.manual_seed(99)
    second = trainer(network(), phase(2, every=4), noisy())
    second.model.load_state_dict(kept)
    second.load_state_dict(state)
    assert same(weights(finish(second)), weights(whole))
    torch.manual_seed(6)
    assert not same(weights(finish(trainer(network(), phase(2, every=4), noisy()))), weights(whole))


def test_a_tied_weight_is_viewed_once_and_everywhere() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second(self.first(inputs.flatten(1)[:, :3]))

    model = Tied()
    start = model.first.weight.detach().clone()
    loop = trainer(model, phase(1, every=1), with_views(Halved()))
    loop.train_step()
    inputs, labels = FakeBatches().batch(0, 0)
    weight = (0.5 * start).requires_grad_()
    outputs = inputs.flatten(1)[:, :3] @ weight.T @ weight.T
    (expected,) = torch.autograd.grad(F.cross_entropy(outputs, labels), weight)
    torch.testing.assert_close(model.first.weight.grad, 0.5 * expected)


class Doubled:
    """Gives the last linear layer twice its output, in training."""

    def forwards(self) -> Mapping[str, Forward]:
        return {"6": lambda layer, inputs: 2 * F.linear(inputs, layer.weight, layer.bias)}


@pytest.mark.parametrize("is_training", [True, False])
def test_a_layer_computes_by_its_own_forward_pass_in_training_alone(is_training: bool) -> None:
    loop = trainer(network(), phase(1), with_views(Doubled()))
    inputs, _ = FakeBatches().batch(0, 0)
    loop.model.train(is_training)
    torch.testing.assert_close(loop.model(inputs), (2 if is_training else 1) * network()(inputs))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which torch's compiler asks effective weights for
def test_a_step_with_views_compiles_whole() -> None:
    loop = trainer(network(), phase(1, every=1), with_views(Rounded()), execution=Execution(compile="all"))
    plain = trainer(network(), phase(1, every=1), with_views(Rounded()))
    loop.train_step()
    plain.train_step()
    for ours, theirs in zip(weights(loop.model), weights(plain.model), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("permuted", [False, True])
def test_an_effective_weight_lies_in_memory_as_its_parameter_does(permuted: bool) -> None:
    conv = nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last)
    with torch.no_grad():
        conv.weight.as_strided_(conv.weight.shape, (9, 1, 3, 1))
    other = torch.randn(4, 1, 3, 3)
    value = other.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3) if permuted else other.clone()
    value.requires_grad_()
    laid = weight_view._laid_out(value, conv.weight)
    assert laid.stride() == conv.weight.stride() and torch.equal(laid, other)
    laid.square().sum().backward()
    assert torch.equal(value.grad, 2 * other)
