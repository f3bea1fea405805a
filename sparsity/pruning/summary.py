"""How sparse is it, and how irrelevant are the weights? Sparsities, and the distribution of the irrelevance."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sparsity.pruning.scores import irrelevance
from sparsity.settings import PenaltySettings


def sparsity(num_kept: int, num_total: int) -> float:
    """Pruned weights over all weights, in [0, 1]."""
    return 1 - num_kept / num_total


def layer_sparsities(kept: Mapping[str, int], total: Mapping[str, int]) -> dict[str, float]:
    """`sparsity/total` and `sparsity/layer/<parameter>`, each in [0, 1]."""
    layers = {f"sparsity/layer/{name}": sparsity(kept[name], total[name]) for name in kept}
    return {"sparsity/total": sparsity(sum(kept.values()), sum(total.values())), **layers}


class IrrelevanceProbe:
    """An observer that keeps the distribution of the irrelevance per parameter, over the weights still kept.

    It says whether the penalty differs from plain L2: at I = 1 everywhere it does not.

    Args:
        names: of the parameters, in the loop's order.
        penalty: which irrelevance; used for every pruner, so that they can be compared.
        multipliers: name -> 0/1 mask.
    """

    def __init__(self, names: Sequence[str], penalty: PenaltySettings, multipliers: Mapping[str, Tensor]) -> None:
        self._names, self._penalty, self._multipliers = tuple(names), penalty, multipliers
        self._figures: dict[str, Tensor] = {}

    def observe(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Measure the unedited gradients of one step."""
        p = self._penalty
        for name, gradient in zip(self._names, gradients, strict=True):
            multiplier = self._multipliers[name]
            values = irrelevance(gradient, p.alpha, p.irrelevance, p.scale_free, multiplier)
            self._figures |= _distribution(f"irrelevance/layer/{name}", values, multiplier)

    def figures(self) -> dict[str, float]:
        """`irrelevance/layer/<parameter>/{mean,min,below_0.99}` of the last step observed, where weights are kept."""
        if not self._figures:
            return {}
        values = torch.stack(list(self._figures.values())).tolist()  # in one transfer
        return {name: value for name, value in zip(self._figures, values, strict=True) if not math.isnan(value)}


def _distribution(prefix: str, values: Tensor, multiplier: Tensor) -> dict[str, Tensor]:
    """Mean, minimum and share below 0.99 over the kept weights; NaN where none is kept."""
    count = multiplier.sum()
    smallest = torch.where(multiplier != 0, values, math.inf).min()
    return {
        f"{prefix}/mean": (values * multiplier).sum() / count,
        f"{prefix}/min": torch.where(count > 0, smallest, math.nan),
        f"{prefix}/below_0.99": ((values < 0.99) * multiplier).sum() / count,
    }
