"""The weights that go, those of smallest score, globally, per tensor or per output column; ties by position.

Between steps a radix search finds them, within a step (`keep_largest`) nothing may be asked of the device.

The threshold is found by a radix search on the bits of the scores: those of non-negative floats, read as integers,
stand in the order of the floats. Each pass counts one digit of 16 bits over all tensors and narrows the search to the
values that share it; nothing is sorted or concatenated, and only integers are added up, so that the outcome is the same
on every device, in any order of summation.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

DIGIT_BITS = 16
NUM_DIGITS = 1 << DIGIT_BITS
CHUNK_SIZE = 1 << 19  # weights looked at together: what a chunk needs beside them stays in a processor's cache
QUICK_DEVICES = ("cpu",)
"""Where within a step the k-th largest value is found for a k that Python knows; elsewhere all of them are sorted."""

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of a float


def num_to_prune(num_kept: int, fraction: float) -> int:
    """How many of `num_kept` remaining weights one prune removes: the rounded fraction, and at least one.

    Without the floor of one a small network would pass the gate for ever and prune nothing.
    """
    return min(num_kept, max(1, round(fraction * num_kept)))


def select_smallest(scores: Mapping[str, Tensor], kept: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """New masks in which the `count` kept weights of smallest score are gone, chosen globally over all tensors.

    Equal scores at the threshold go in the order of the mapping, then of the flat row-major index, so that every
    machine prunes the same weights. -0.0 equals 0.0; denormals are told apart, whatever the processor's flush mode;
    NaN counts as larger than infinity.

    Args:
        scores: name -> score of every weight, not negative, all of one floating-point type.
        kept: name -> boolean mask of the same shape, True = still there.
        count: how many to remove, at most the number kept.

    Returns:
        Name -> boolean mask; exactly `count` fewer weights are kept. Beside it, memory is needed for a chunk of
        `CHUNK_SIZE` weights and a row-major copy of a tensor that lies otherwise.

    Raises:
        ValueError: if fewer than `count` weights are left.
    """
    if count == 0:
        return {name: keep.clone() for name, keep in kept.items()}
    threshold, num_ties = _threshold(scores, kept, count)
    masks = {}
    for name, keep in kept.items():
        masks[name], num_ties = _cut(scores[name], keep, threshold, num_ties)
    return masks


def select_within(
    scores: Mapping[str, Tensor], kept: Mapping[str, Tensor], num_kept: Mapping[str, int]
) -> dict[str, Tensor]:
    """New masks in which each tensor keeps `num_kept` of its weights, those of largest score; ties as above.

    A tensor that keeps fewer already stays as it is.
    """
    masks: dict[str, Tensor] = {}
    for name, keep in kept.items():
        count = max(0, int(keep.sum()) - num_kept[name])
        masks |= select_smallest({name: scores[name]}, {name: keep}, count)
    return masks


def select_by_column(scores: Mapping[str, Tensor], kept: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """New masks in which each output column, one entry of the first dimension, has lost floor(sparsity * n) weights.

    Vectors are one column. Equal scores go in the order of the column's row-major index.
    """
    return {name: _thinned(scores[name], keep, sparsity) for name, keep in kept.items()}


def keep_largest(scores: Sequence[Tensor], count: Tensor) -> list[Tensor]:
    """New masks of the `count` largest of all these scores together; equal ones stay by position, as the first.

    Args:
        scores: on one device, of either sign.
        count: how many stay, an integer, 0-dim, on that device.
    """
    flat = torch.cat([score.flatten() for score in scores])
    threshold = largest(flat, count.clamp_min(1))
    above, equal = flat > threshold, flat == threshold
    kept = above | (equal & (equal.cumsum(0, dtype=torch.int32) <= count - above.sum()))
    parts = kept.split([score.numel() for score in scores])
    return [part.view(score.shape) for part, score in zip(parts, scores, strict=True)]


def largest(values: Tensor, place: Tensor) -> Tensor:
    """Of each row the value at a place in falling order, found without a question to the device.

    Args:
        values: [..., n].
        place: of all rows, an integer from 1, which is the largest value's, to n, 0-dim, on that device.

    Returns:
        Values [..., 1].
    """
    if values.device.type in QUICK_DEVICES:
        return values.kthvalue(values.shape[-1] + 1 - int(place), keepdim=True).values
    return values.sort(descending=True).values.index_select(-1, (place - 1).view(1))


def _thinned(score: Tensor, keep: Tensor, sparsity: float) -> Tensor:
    columns = score.reshape(1, -1) if score.dim() < 2 else score.flatten(1)
    gone_first = columns.masked_fill(~keep.reshape(columns.shape), -1.0)  # scores are at least 0
    count = int(sparsity * columns.shape[1] + 1e-9)  # so many, although 0.29 * 100 is a little less than 29
    order = gone_first.argsort(dim=1, stable=True)[:, :count]
    return keep & torch.ones_like(columns, dtype=torch.bool).scatter_(1, order, False).view(keep.shape)


def _threshold(scores: Mapping[str, Tensor], kept: Mapping[str, Tensor], count: int) -> tuple[int, int]:
    """The bits of the `count`-th smallest kept score, and how many that equal it are among the `count`."""
    num_bits = 8 * next(iter(scores.values())).element_size()
    threshold = 0
    for shift in range(num_bits - DIGIT_BITS, -1, -DIGIT_BITS):
        below = _histogram(scores, kept, threshold, shift).cumsum(0)
        if count > (available := int(below[-1])):  # in the first pass at the latest
            raise ValueError(f"Cannot prune {count} weights: only {available} are left.")
        digit = int(torch.searchsorted(below, count))
        count -= int(below[digit - 1]) if digit > 0 else 0
        threshold += digit << shift
    return threshold, count


def _histogram(scores: Mapping[str, Tensor], kept: Mapping[str, Tensor], base: int, shift: int) -> Tensor:
    """Kept scores by digit, int64 [NUM_DIGITS] on the CPU; only those count whose higher digits are `base`'s."""
    counts = torch.zeros(NUM_DIGITS + 2, dtype=torch.int64)  # the first and the last bin take what does not count
    for name, keep in kept.items():
        for bits, still_there in _chunks(scores[name], keep):
            digits = bits.sub_(base).bitwise_right_shift_(shift)
            bins = digits.add_(1).clamp_(0, NUM_DIGITS + 1).mul_(still_there)
            counts += torch.bincount(bins, minlength=len(counts)).cpu()
    return counts[1:-1]


def _cut(score: Tensor, keep: Tensor, threshold: int, num_ties: int) -> tuple[Tensor, int]:
    """Drop what is below the threshold and the first `num_ties` that equal it; also the ties still to be dropped."""
    new = torch.empty(keep.numel(), dtype=torch.bool, device=keep.device)
    for part, (bits, still_there) in zip(new.split(CHUNK_SIZE), _chunks(score, keep), strict=True):
        torch.logical_and(still_there, bits >= threshold, out=part)
        ties = (part & (bits == threshold)).nonzero().squeeze(1)[:num_ties]
        part[ties] = False
        num_ties -= len(ties)
    return new.view(keep.shape), num_ties


def _chunks(score: Tensor, keep: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both tensors flat in row-major order, a chunk at a time: the score's bits without the sign (a copy), the mask."""
    integer = _INTEGERS[score.element_size()]
    pairs = zip(score.flatten().split(CHUNK_SIZE), keep.flatten().split(CHUNK_SIZE), strict=True)
    for values, mask in pairs:
        bits = values.view(integer) & torch.iinfo(integer).max
        yield (bits.int() if integer is torch.int16 else bits), mask
