"""Relevance, the paper's method: shrink "only the weights that are irrelevant", those the loss hardly depends on.

Penalty: lambda sum I w^2 with I = exp(-|dL/dw| / alpha) held constant (eqs. 4 and 5). Pull: 2 I w, from the gradient
that the backward pass has computed anyway. Source: Bonetta, Ribero, Cancelliere, section 3. Knobs: those of
`pruner.penalty`; its alpha, irrelevance and scale_free say what I is.
"""

import torch
from torch import Tensor

from sparsity.pruning.masks import Masks
from sparsity.pruning.penalty import Penalty, Strength
from sparsity.pruning.scores import Irrelevance


class Relevance(Penalty):
    """gradient += 2 lambda I w.

    Args:
        strength: lambda.
        irrelevance: I.
        masks: of the weights, in their order.
    """

    degree = 2

    def __init__(self, strength: Strength, irrelevance: Irrelevance, masks: Masks) -> None:
        super().__init__(strength)
        self._irrelevance, self._multipliers = irrelevance, list(masks.multipliers.values())

    def direction(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Half the pull, I w."""
        pull = self._irrelevance(gradients, self._multipliers)
        torch._foreach_mul_(pull, weights)
        return pull
