"""Soft weight sharing: weights gather around a few means that are learned with them, the first of which is zero.

Term: (tau / N) (-sum_i log sum_j pi_j N(w_i | mu_j, 1 / lambda_j) + sum_j (1 - a_j) gamma_j + b_j e^gamma_j), with
gamma = log lambda, a Gamma prior of the precisions lambda, N training examples, and mu_0 = 0 and pi_0 fixed. At the end
of the phase like components are merged and each weight is put at its component's mean: only then zeros appear. Source:
Ullrich et al. 2017 (arXiv 1702.04008). Knobs: below; the fourth of its rates, that of the weights, is the optimiser's.

A step looks at each weight once for each component, by the rule itself: with 17 of them LeNet-5 takes half as
long again on a CPU.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.pruning.method import Method, Steps
from sparsity.pruning.mixtures import Mixture
from sparsity.training.extensions import OwnParameters


class Sws(Method):
    """Quantises what is counted.

    Args:
        counted: the parameters that are in the mixture.
        steps: the number of examples.
        num_components: with that at zero.
        zero_share: pi_0, in (0, 1).
        tau: of the term.
        extent: the other means begin evenly between minus and plus this.
        deviation: of all components, at first.
        mean_rate, precision_rate, share_rate: learning rates of mu, gamma, and of rho, whose softmax the other pi are.
        zero_prior_shape, zero_prior_rate, prior_shape, prior_rate: a and b of the precision at zero, and of the others.
        merging_divergence: the KL divergence below which two components become one, in nats.
    """

    only_finishes = True

    def __init__(
        self,
        counted: Mapping[str, Tensor],
        steps: Steps,
        num_components: int = 17,
        zero_share: float = 0.99,
        tau: float = 3e-3,
        extent: float = 0.6,
        deviation: float = 0.25,
        mean_rate: float = 1e-4,
        precision_rate: float = 3e-3,
        share_rate: float = 3e-3,
        zero_prior_shape: float = 5e3,
        zero_prior_rate: float = 2.0,
        prior_shape: float = 250.0,
        prior_rate: float = 0.1,
        merging_divergence: float = 1e-10,
    ) -> None:
        self._weights, self._scale = dict(counted), tau / steps.num_examples
        self._log_zero_share, self._log_rest = math.log(zero_share), math.log1p(-zero_share)
        self._rates, self._merging_divergence = (mean_rate, precision_rate, share_rate), merging_divergence
        first, num_others = next(iter(counted.values())), num_components - 1
        self._shapes = first.new_tensor([zero_prior_shape] + num_others * [prior_shape])
        self._inverse_scales = first.new_tensor([zero_prior_rate] + num_others * [prior_rate])
        self._means = nn.Parameter(torch.linspace(-extent, extent, num_others).to(first))
        self._log_precisions = nn.Parameter(first.new_full((num_components,), -2 * math.log(deviation)))
        self._rho = nn.Parameter(first.new_zeros(num_others))
        self._term, self._deviation = first.new_zeros(()), first.new_full((), deviation)
        self.recorded = {"sws/term": self._term, "sws/deviation_at_zero": self._deviation}

    def term(self, outputs: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        """How unlikely the weights are, and the precisions, times tau / N."""
        weights = torch.cat([weight.flatten() for weight in self._weights.values()])
        priors = (1 - self._shapes) * self._log_precisions + self._inverse_scales * self._log_precisions.exp()
        term = self._scale * (self._mixture().surprise(weights) + priors.sum())
        self._term.copy_(term.detach())
        self._deviation.copy_((-self._log_precisions[0].detach() / 2).exp())
        return term

    def own_parameters(self) -> list[OwnParameters]:
        """Means, precisions and shares, each at a rate of its own."""
        return [OwnParameters([of], rate) for of, rate in zip(self._own(), self._rates, strict=True)]

    def finish(self) -> dict[str, Tensor]:
        """Merge the components and put each weight at the mean of its own; those at zero are gone."""
        mixture = self._mixture().merged(self._merging_divergence).with_a_zero()
        for weight in self._weights.values():
            weight.copy_(mixture.quantised(weight))
        return {name: weight != 0 for name, weight in self._weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """The mixture."""
        return {"own": [of.detach().clone() for of in self._own()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the mixture."""
        for own, saved in zip(self._own(), state["own"], strict=True):
            own.data.copy_(saved)

    def _own(self) -> list[nn.Parameter]:
        return [self._means, self._log_precisions, self._rho]

    def _mixture(self) -> Mixture:
        """With the component at zero as the first."""
        means = torch.cat([self._means.new_zeros(1), self._means])
        log_zero_share = self._rho.new_full((1,), self._log_zero_share)
        log_shares = torch.cat([log_zero_share, self._log_rest + self._rho.log_softmax(0)])
        return Mixture(means, self._log_precisions, log_shares)
