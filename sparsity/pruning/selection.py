"""Which weights go? The smallest scores over the whole network: an exact count, with ties broken by position."""

from collections.abc import Mapping

import torch
from torch import Tensor


def num_to_prune(num_kept: int, fraction: float) -> int:
    """How many of `num_kept` remaining weights one prune removes: the rounded fraction, and at least one.

    Without the floor of one a small network would pass the gate for ever and prune nothing.
    """
    return min(num_kept, max(1, round(fraction * num_kept)))


def select_smallest(scores: Mapping[str, Tensor], kept: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """New masks in which the `count` kept weights of smallest score are gone, chosen globally over all tensors.

    Equal scores at the threshold go in the order of the mapping, then of the flat row-major index, so that every
    machine prunes the same weights.

    Args:
        scores: name -> score of every weight.
        kept: name -> boolean mask of the same shape, True = still there.
        count: how many to remove, at most the number kept.

    Returns:
        Name -> boolean mask; exactly `count` fewer weights are kept.

    Raises:
        ValueError: if fewer than `count` weights are left.
    """
    if count == 0:
        return {name: keep.clone() for name, keep in kept.items()}
    remaining = torch.cat([scores[name][kept[name]] for name in scores])
    if count > len(remaining):
        raise ValueError(f"Cannot prune {count} weights: only {len(remaining)} are left.")
    threshold = torch.kthvalue(remaining, count).values
    num_ties = count - int((remaining < threshold).sum())
    del remaining
    masks = {}
    for name, keep in kept.items():
        masks[name], num_ties = _cut(scores[name], keep, threshold, num_ties)
    return masks


def _cut(score: Tensor, keep: Tensor, threshold: Tensor, num_ties: int) -> tuple[Tensor, int]:
    """Drop what is below the threshold and the first `num_ties` that equal it; also the ties still to be dropped."""
    new = keep & (score >= threshold)
    ties = (new & (score == threshold)).flatten().nonzero().squeeze(1)[:num_ties]
    flat = new.flatten()
    flat[ties] = False
    return flat.view(new.shape), num_ties - len(ties)
