"""SNIP: which connections matter is asked once, of the untrained network; the others never train.

Score: the connection sensitivity |dL/dm| at m = 1, that is |w dL/dw|, of the loss over a few batches; the smallest of
the whole network go in one shot before the first step. Source: Lee et al. 2019 (arXiv 1810.02340): one batch.
Biases begin at zero in its code, so that all of them go; here they go by their own sensitivity. Its code trains another
copy under the mask, initialised anew; here the network that was asked trains on.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsity.pruning.method import Method


class Snip(Method):
    """Scores by connection sensitivity.

    Args:
        weights: name -> parameter, whose order the gradients have.
        num_scoring_batches: batches of training data whose mean gradient is taken.
    """

    def __init__(self, weights: Mapping[str, Tensor], num_scoring_batches: int = 1) -> None:
        self.num_scoring_batches = num_scoring_batches
        self._scores = {name: torch.zeros_like(weight).detach() for name, weight in weights.items()}

    def take_gradients(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Score each weight by the mean gradient of the batches."""
        for score, weight, gradient in zip(self._scores.values(), parameters, gradients, strict=True):
            torch.abs(weight * gradient, out=score)

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sensitivities before the first step."""
        return self._scores

    def state_dict(self) -> dict[str, Any]:
        """The sensitivities."""
        return dict(self._scores)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sensitivities."""
        for name, score in state.items():
            self._scores[name].copy_(score)
