"""Sparse variational dropout: each weight learns how noisy it may be; what is noise above all is none.

A weight theta has a variance sigma^2 of its own; log alpha = log sigma^2 - log theta^2, held to [-8, 8]. In training a
layer draws its outputs, not its weights (local reparametrisation): mean x theta, variance x^2 alpha theta^2, with one
draw for each output element. Term: (share / N) sum KL, KL = k1 sigmoid(-(k2 + k3 log alpha)) + log(1 + 1 / alpha) / 2,
Molchanov's approximation; the share rises from 0 to 1. An evaluation has theta where log alpha is below the threshold.
Source: Molchanov et al. 2017 (arXiv 1701.05369). Each layer is computed twice, so a step takes about twice as long.

Takes part: linear layers and convolutions. Embeddings, heads tied to them, norms and biases have no noise and stay; the
total has them all.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.pruning.layers import weighted_layers
from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method, Ramp, Steps
from sparsity.training.extensions import Forward, OwnParameters

K1, K2, K3 = 0.63576, 1.87320, 1.48695
MOST_LOG_ALPHA = 8.0
SMALLEST = 1e-8  # beside squares and variances that may be 0


def log_alpha(weight: Tensor, log_variance: Tensor) -> Tensor:
    """How noisy weights are: the logarithm of their variance over their square, in [-8, 8]."""
    return (log_variance - torch.log(weight.square() + SMALLEST)).clamp(-MOST_LOG_ALPHA, MOST_LOG_ALPHA)


def divergence(noise: Tensor) -> Tensor:
    """KL of weights from their log-uniform prior, from log alpha: positive, and falling towards 0."""
    return K1 * torch.sigmoid(-(K2 + K3 * noise)) + 0.5 * F.softplus(-noise)


class SparseVd(Method):
    """Noisy layers, and the divergence of their weights from the prior as a term of the loss.

    Args:
        model: whose linear layers and convolutions have noise.
        masks: follow log alpha, which may fall again.
        steps: of the phase, and whose number of examples is N.
        log_alpha_threshold: of log alpha, from which on a weight is off.
        initial_log_variance: log sigma^2 at first.
        kl_weight: of the term, once it has risen.
        rise_begin, rise_end: of its share, as fractions of the phase.
        variance_rate: constant learning rate of log sigma^2; None: the network's.

    Raises:
        ValueError: if there is no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Masks,
        steps: Steps,
        log_alpha_threshold: float,
        initial_log_variance: float,
        kl_weight: float,
        rise_begin: float,
        rise_end: float,
        variance_rate: float | None,
    ) -> None:
        layers = weighted_layers(model)
        if not layers:
            raise ValueError("pruner=sparse_vd has noise for linear layers and convolutions; this network has none.")
        masks.let_return()
        self._weights: dict[str, Tensor] = {name: layer.weight for name, layer in layers.items()}
        self._log_variances = {
            name: nn.Parameter(torch.full_like(weight, initial_log_variance).detach())
            for name, weight in self._weights.items()
        }
        self._threshold, self._rate, self._scale = log_alpha_threshold, variance_rate, kl_weight / steps.num_examples
        self._rise = Ramp(rise_begin * steps.total, rise_end * steps.total, None)
        zero = next(iter(self._weights.values())).detach().new_zeros(())
        self._count = zero
        self.recorded = {"penalty/value": zero.clone(), "sparse_vd/divergence": zero.clone()}

    def forwards(self) -> Mapping[str, Forward]:
        """Noisy outputs of each layer that takes part."""
        return {name: partial(_noisy, log_variance) for name, log_variance in self._log_variances.items()}

    def term(self, outputs: Tensor, batch: object) -> Tensor:
        """The divergence from the prior, weighed by its share at this step."""
        value = torch.stack([divergence(noise).sum() for noise in self._noise().values()]).sum()
        term = self._scale * self._rise.passed(self._count) * value
        self.recorded["sparse_vd/divergence"].copy_(value.detach())
        self.recorded["penalty/value"].copy_(term.detach())
        return term

    def own_parameters(self) -> list[OwnParameters]:
        """Log sigma^2 of all weights, at a rate of its own and without decay."""
        return [OwnParameters(list(self._log_variances.values()), self._rate)]

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Count the step."""
        self._count.add_(1)

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        """In an evaluation the weight where it is not off; the noise of training is the layers'."""
        log_variance = self._log_variances.get(name.removesuffix(".weight"))
        if is_training or log_variance is None or not name.endswith(".weight"):
            return weight
        return weight * (log_alpha(weight, log_variance) < self._threshold)

    def kept(self) -> dict[str, Tensor]:
        """The weights whose log alpha is below the threshold."""
        return {f"{name}.weight": noise < self._threshold for name, noise in self._noise().items()}

    def state_dict(self) -> dict[str, Any]:
        """Log sigma^2 of each layer, and steps made."""
        variances = {name: of.detach() for name, of in self._log_variances.items()}
        return {"log_variances": variances, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore log sigma^2 and the steps made."""
        for name, log_variance in state["log_variances"].items():
            self._log_variances[name].detach().copy_(log_variance)
        self._count.copy_(state["count"])

    def _noise(self) -> dict[str, Tensor]:
        """Layer -> log alpha of its weights."""
        return {name: log_alpha(weight, self._log_variances[name]) for name, weight in self._weights.items()}


def _noisy(log_variance: Tensor, layer: nn.Module, inputs: Tensor) -> Tensor:
    """A layer's output with the noise of its weights, one draw for each element."""
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    variances = log_alpha(layer.weight, log_variance).exp() * layer.weight.square()
    mean = _product(layer, inputs, layer.weight, layer.bias)
    variance = _product(layer, inputs.square(), variances, None)
    # no less than SMALLEST: a fast convolution may round a sum of squares to below 0
    return torch.addcmul(mean, variance.clamp_min(SMALLEST).sqrt(), _drawn_like(mean))


def _drawn_like(mean: Tensor) -> Tensor:
    """Standard normal numbers, drawn in the order of the memory: ten times as fast where that is channels_last."""
    noise = torch.empty_like(mean).detach()
    noise.as_strided((noise.numel(),), (1,)).normal_()
    return noise


def _product(layer: nn.Linear | nn.Conv2d, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(layer, nn.Linear):
        return F.linear(inputs, weight, bias)
    return layer._conv_forward(inputs, weight, bias)
