"""LOBSTER, "LOss-Based SensiTivity rEgulaRization": each step shrinks every weight, the less the loss depends on it.

Rule: w -= lambda w max(0, 1 - |dL/dw|) after the optimiser's step, whatever its rate. Source: Tartaglione et al. 2021
(arXiv 2011.09905). Knobs: lambda. Prunes at a plateau of the validation loss (`pruner.trigger`).
"""

import torch
from torch import Tensor

from sparsity.pruning.penalty import Penalty
from sparsity.pruning.scores import insensitivity


class Lobster(Penalty):
    """w -= lambda w max(0, 1 - |g|), decoupled and free of the rate."""

    is_positive = True
    rate_free = True

    def direction(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """The pull, w max(0, 1 - |g|)."""
        pull = [insensitivity(gradient) for gradient in gradients]
        torch._foreach_mul_(pull, weights)
        return pull
