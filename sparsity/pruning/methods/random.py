"""Random pruning: scores that are drawn once and know nothing of the weights; the floor that every method must beat.

Schedule: cubic, s_t = s_f (1 - (1 - (t - t0) / (t1 - t0))^3), by Zhu & Gupta 2017 (arXiv 1710.01878); budget: the same
sparsity in each tensor, as the random baseline of Gale et al. 2019 (arXiv 1902.09574), or Erdos-Renyi's. No knobs but
those of `schedule` and `pruner.budget`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsity.pruning.method import Method


class Random(Method):
    """Scores in [0, 1) from the run's seed, the same on every device.

    Args:
        weights: which tensors are scored.
        seed: of the draw.
    """

    def __init__(self, weights: Mapping[str, Tensor], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._scores = {
            name: torch.rand(weight.shape, generator=generator).to(weight) for name, weight in weights.items()
        }

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What was drawn, whatever the weights are."""
        return self._scores
