"""L2, weight decay: the penalty lambda sum w^2, which shrinks all weights in proportion, relevant or not.

Pull: 2 w (eq. 1 of the paper). Source: the control of the paper's Table 11. Knobs: those of `pruner.penalty`.
"""

import torch
from torch import Tensor

from sparsity.pruning.penalty import Penalty


class L2(Penalty):
    """gradient += 2 lambda w."""

    degree = 2

    def direction(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Half the pull, a copy of w."""
        return list(torch._foreach_mul(weights, 1.0))
