"""Sparsities, and the distribution of the irrelevance over the weights still kept."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sparsity.pruning.masks import Masks
from sparsity.pruning.scores import Irrelevance

VALUES = ("mean", "min", "below_0.99")


def sparsity(num_kept: int, num_total: int) -> float:
    """Pruned weights over all weights, in [0, 1]."""
    return 1 - num_kept / num_total


def layer_sparsities(masks: Masks) -> dict[str, float]:
    """`sparsity/total` and `sparsity/layer/<parameter>`, each in [0, 1]."""
    kept, total = masks.count_kept(), {name: mask.numel() for name, mask in masks.multipliers.items()}
    layers = {f"sparsity/layer/{name}": sparsity(kept[name], total[name]) for name in kept}
    return {"sparsity/total": sparsity(sum(kept.values()), sum(total.values())), **layers}


class IrrelevanceProbe:
    """An observer that keeps the distribution of the irrelevance per parameter, over the weights still kept.

    It says whether the penalty differs from plain L2: at I = 1 everywhere it does not.

    Args:
        irrelevance: which one; used for every method, so that they can be compared.
        multipliers: name -> 0/1 mask, in the loop's order.
    """

    def __init__(self, irrelevance: Irrelevance, multipliers: Mapping[str, Tensor]) -> None:
        self._names = [f"irrelevance/layer/{name}/{value}" for name in multipliers for value in VALUES]
        self._irrelevance, self._multipliers = irrelevance, list(multipliers.values())
        self._values = torch.full((len(multipliers), len(VALUES)), math.nan, device=self._multipliers[0].device)

    def observe(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Measure the unedited gradients of one step."""
        values = self._irrelevance(gradients, self._multipliers)
        rows = [_distribution(of, multiplier) for of, multiplier in zip(values, self._multipliers, strict=True)]
        self._values.copy_(torch.stack(rows))

    def values(self) -> dict[str, float]:
        """`irrelevance/layer/<parameter>/{mean,min,below_0.99}` of the last step observed, where weights are kept."""
        values = self._values.flatten().tolist()  # in one transfer
        return {name: value for name, value in zip(self._names, values, strict=True) if not math.isnan(value)}


def _distribution(values: Tensor, multiplier: Tensor) -> Tensor:
    """The VALUES of the kept weights: mean, minimum and share below 0.99; NaN where none is kept."""
    count = multiplier.sum()
    smallest = torch.where(multiplier != 0, values, math.inf).min()
    mean, share = (values * multiplier).sum() / count, ((values < 0.99) * multiplier).sum() / count
    return torch.stack([mean, torch.where(count > 0, smallest, math.nan), share])
