"""Sparse variational dropout: its divergence, the noise of its layers, and which weights an evaluation has."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Steps
from sparsity.pruning.methods.sparse_vd import SparseVd, divergence, log_alpha
from tests.training.tiny_bart import tiny_bart

KNOBS: dict[str, Any] = {
    "log_alpha_threshold": 3.0,
    "initial_log_variance": -4.0,
    "kl_weight": 0.5,
    "rise_begin": 0.25,
    "rise_end": 0.75,
    "variance_rate": None,
}
STEPS = Steps(total=40, per_epoch=10, per_evaluation=4, num_examples=80)
NOTHING = torch.zeros(())


def network() -> nn.Sequential:
    """A convolution, normalised, and a linear layer, in double precision."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 3, 2, stride=2, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4)).double()


def method(model: nn.Module, **changes: Any) -> SparseVd:
    return SparseVd(model, Masks(dict(model.named_parameters())), STEPS, **KNOBS | changes)


def set_variances(subject: SparseVd, of: Callable[[Tensor], Tensor]) -> None:
    """Set log sigma^2 of each layer, from what it is."""
    variances = {name: of(value) for name, value in subject.state_dict()["log_variances"].items()}
    subject.load_state_dict({"log_variances": variances, "count": torch.zeros(())})


@pytest.mark.parametrize(("noise", "value"), [(-8.0, 4.6359), (0.0, 0.43124), (3.0, 0.02542), (8.0, 0.00017)])
def test_the_divergence_has_the_values_of_molchanovs_approximation(noise: float, value: float) -> None:
    assert divergence(torch.tensor(noise, dtype=torch.float64)).item() == pytest.approx(value, abs=6e-6 + 1e-5 * value)


def test_the_divergence_falls_towards_zero() -> None:
    values = divergence(torch.linspace(-8, 40, 500, dtype=torch.float64))
    assert bool((values[1:] < values[:-1]).all()) and 0 < values[-1] < 1e-12


def test_log_alpha_is_the_variance_over_the_square_of_the_weight_within_its_limits() -> None:
    weight = torch.tensor([0.5, -0.1, 1e-3, 0.0], dtype=torch.float64)
    variance = torch.tensor([0.01, 0.2, 0.3, 0.1], dtype=torch.float64)
    found = log_alpha(weight, variance.log())
    assert found.tolist() == pytest.approx([math.log(0.04), math.log(20), 8.0, 8.0], abs=1e-5)
    assert log_alpha(torch.tensor(1.0), torch.tensor(-20.0)).item() == -8.0


def test_a_layers_output_is_its_mean_and_as_much_noise_as_its_weights_have_in_double_precision() -> None:
    model = network()
    subject = method(model)
    torch.manual_seed(5)
    set_variances(subject, lambda value: torch.randn_like(value) - 3)
    variances = subject.state_dict()["log_variances"]
    inputs = {"0": torch.randn(6, 2, 5, 5, dtype=torch.float64), "3": torch.randn(6, 27, dtype=torch.float64)}
    for name, forward in subject.forwards().items():
        layer: Any = model.get_submodule(name)
        torch.manual_seed(7)
        found = forward(layer, inputs[name])
        torch.manual_seed(7)
        drawn = torch.randn(found.shape, dtype=torch.float64)
        weight = layer.weight
        alphas = (variances[name].exp() / (weight**2 + 1e-8)).clamp(math.exp(-8), math.exp(8))
        patches = F.unfold(inputs[name], 2, padding=1, stride=2).mT if name == "0" else inputs[name]
        mean = patches @ weight.flatten(1).T + layer.bias
        spread = (patches**2 @ (alphas * weight**2).flatten(1).T).clamp_min(1e-8).sqrt()
        if name == "0":
            mean, spread = (each.mT.reshape(found.shape) for each in (mean, spread))
        torch.testing.assert_close(found, mean + spread * drawn)


def test_outputs_are_as_noisy_as_if_the_weights_had_been_drawn() -> None:
    model = network()
    subject = method(model)
    layer: Any = model.get_submodule("3")
    inputs = torch.randn(1, 27, dtype=torch.float64)
    torch.manual_seed(1)
    drawn = subject.forwards()["3"](layer, inputs.expand(20_000, 27))
    weights = layer.weight + math.exp(-2) * torch.randn(20_000, 4, 27, dtype=torch.float64)  # sigma of log sigma^2 = -4
    by_weights = (weights @ inputs[0]) + layer.bias
    torch.testing.assert_close(drawn.mean(0), by_weights.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(0), by_weights.std(0), atol=0, rtol=0.03)


def test_the_term_is_the_divergence_over_n_and_rises_with_the_steps() -> None:
    model = network()
    subject = method(model)
    weights = [model.get_parameter(f"{name}.weight") for name in ("0", "3")]
    divergences = [divergence(log_alpha(weight, torch.tensor(-4.0))) for weight in weights]
    full = 0.5 * sum(of.sum().item() for of in divergences) / 80
    found = []
    for step in range(41):
        if step in (0, 10, 15, 20, 30, 40):
            found.append(subject.term(NOTHING, NOTHING).item() / full)
        subject.after_step([], NOTHING)
    assert found == pytest.approx([0, 0, 0.25, 0.5, 1, 1], abs=1e-12)
    assert subject.recorded["penalty/value"].item() == pytest.approx(full)
    assert subject.recorded["sparse_vd/divergence"].item() == pytest.approx(2 * 80 * full)


def test_the_terms_gradient_is_that_of_the_approximation_in_double_precision() -> None:
    model = network()
    subject = method(model, rise_begin=0.0, rise_end=0.0)
    subject.after_step([], NOTHING)
    (own,) = subject.own_parameters()
    gradients = torch.autograd.grad(subject.term(NOTHING, NOTHING), [*own.parameters, *subject._weights.values()])
    for weight, by_variance, by_weight in zip(subject._weights.values(), gradients[:2], gradients[2:], strict=True):
        noise = -4 - torch.log(weight.detach() ** 2 + 1e-8)
        s = 1 / (1 + torch.exp(-(1.87320 + 1.48695 * noise)))
        slope = -0.63576 * 1.48695 * s * (1 - s) - 0.5 / (1 + torch.exp(noise))
        torch.testing.assert_close(by_variance, 0.5 / 80 * slope)
        torch.testing.assert_close(by_weight, 0.5 / 80 * slope * -2 * weight.detach() / (weight.detach() ** 2 + 1e-8))


def test_an_evaluation_has_the_weights_below_the_threshold_and_counts_them() -> None:
    model = network()
    subject = method(model, log_alpha_threshold=1.0)
    kept = subject.kept()
    assert kept.keys() == {"0.weight", "3.weight"}
    for name, parameter in model.named_parameters():
        effective = subject.effective(name, parameter, is_training=False)
        if name not in kept:
            assert effective is parameter
            continue
        is_below = -4 - torch.log(parameter**2) < 1
        assert 0 < int(is_below.sum()) < is_below.numel()
        assert torch.equal(kept[name], is_below) and torch.equal(effective, parameter * is_below)
        assert subject.effective(name, parameter, is_training=True) is parameter


def test_variances_have_their_own_rate_and_no_decay() -> None:
    (own,) = method(network(), variance_rate=0.3).own_parameters()
    assert (own.learning_rate, own.weight_decay) == (0.3, 0.0)
    assert [bool((of == -4).all()) for of in own.parameters] == [True, True]


def test_an_embedding_and_the_head_tied_to_it_have_no_noise() -> None:
    forwards = method(tiny_bart()).forwards()
    assert "model.decoder.layers.1.fc2" in forwards
    assert not any("shared" in name or "embed" in name or "lm_head" in name for name in forwards)


def test_a_network_without_such_a_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="has noise for linear layers and convolutions; this network has none"):
        method(nn.BatchNorm2d(3))
