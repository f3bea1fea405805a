"""L1: the penalty lambda sum |w|, which pulls every weight by lambda towards zero, whatever its size.

Pull: sign(w). Source: the control of the paper's Table 11. Knobs: those of `pruner.penalty`.
"""

import torch
from torch import Tensor

from sparsity.pruning.penalty import Penalty


class L1(Penalty):
    """gradient += lambda sign(w)."""

    def direction(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """The pull, sign(w)."""
        return list(torch._foreach_sign(weights))
