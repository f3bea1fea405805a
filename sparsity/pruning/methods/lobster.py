"""LOBSTER, "LOss-Based SensiTivity rEgulaRization": each step shrinks every weight, the less the loss depends on it.

Rule: w -= lambda w max(0, 1 - |dL/dw|) after the optimiser's step, whatever its rate. Source: Tartaglione et al. 2021
(arXiv 2011.09905). Knobs: lambda, of_new_weights. Prunes at a plateau of the validation loss (`pruner.trigger`).
"""

import torch
from torch import Tensor

from sparsity.pruning.penalty import Penalty, Strength
from sparsity.pruning.scores import insensitivity


class Lobster(Penalty):
    """w -= lambda w max(0, 1 - |g|), decoupled and free of the rate.

    Args:
        strength: lambda.
        of_new_weights: whether w is the weight after the optimiser's step, as in its authors' code, not before it.
    """

    rate_free = True

    def __init__(self, strength: Strength, of_new_weights: bool = False) -> None:
        super().__init__(strength)
        self._of_new_weights = of_new_weights
        self._insensitivities: list[Tensor] = []

    def direction(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """The pull, w max(0, 1 - |g|)."""
        pull = [insensitivity(gradient) for gradient in gradients]
        if self._of_new_weights:
            self._insensitivities = [each.clone() for each in pull]
        torch._foreach_mul_(pull, weights)
        return pull

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Shrink the weights."""
        if not self._of_new_weights:
            return super().after_step(parameters, learning_rate)
        for parameter, size in zip(parameters, self._insensitivities, strict=True):
            # a rate of 0 is the stop after a non-finite loss, where the gradient may be NaN
            parameter.mul_(torch.where(learning_rate > 0, 1 - self._strength.value * size, 1.0))
