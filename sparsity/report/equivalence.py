"""Are two methods equal but for a margin, and how many seeds would settle it?

Equivalence is shown by two one-sided t-tests on the paired differences (Schuirmann 1987): one says that they are not
below minus the margin, the other that they are not above it. A test that finds no difference shows no such thing.
"""

from bisect import bisect_left
from collections.abc import Callable
from enum import StrEnum
from itertools import count
from math import sqrt

import numpy as np

from sparsity.report.comparison import Kind
from sparsity.report.statistics import Paired, Statistic

SIGNIFICANT = 0.05
POWER = 0.8
MOST_SEEDS = 1000  # nobody will run more: a larger number is not looked for

# Half-widths, set before any control had been run at full length; a smaller difference matters to nobody.
MARGINS = {Kind.METRIC: 0.1, Kind.PRUNES: 2.0}

RULE = f"""A reading of *different* takes a paired t test and the exact sign-flip test both below {SIGNIFICANT},
*equivalent within the margin* two one-sided t-tests of that level on the differences; all else is *undecided*. The
margins were set before any control had been run at full length: {MARGINS[Kind.METRIC]:g} points of the metric at equal
sparsity, and {MARGINS[Kind.PRUNES]:g} prunes where the bound stopped both. One pair has no spread and decides nothing;
of as many pairs as the exact test needs, all of one difference, that difference decides, held against 0 and the margin.
*Seeds*: how many would settle it with power {POWER:g} at the observed standard deviation of the differences, by
equivalence if the true difference is 0, or by a difference if it is as large as the margin (at least as many as the
exact test needs): rough figures, as that deviation is itself of few pairs."""

_GRID = (np.arange(500) + 0.5) / 500  # probabilities at which the sample's standard deviation is looked at


class Outcome(StrEnum):
    """What may be concluded of a paired comparison."""

    DIFFERENT = "different"
    SLIGHT = "different, but equivalent within the margin"
    EQUIVALENT = "equivalent within the margin"
    UNDECIDED = "undecided"


def outcome(pairs: Paired, margin: float) -> Outcome:
    """Judge a paired comparison by `RULE`."""
    if pairs.difference.std == 0 and pairs.smallest_p_exact < SIGNIFICANT:
        differs, is_equal = pairs.difference.mean != 0, abs(pairs.difference.mean) < margin
    else:
        p = p_equivalence(pairs.difference, margin)
        differs = pairs.p_t is not None and max(pairs.p_t, pairs.p_exact) < SIGNIFICANT
        is_equal = p is not None and p < SIGNIFICANT
    if is_equal:
        return Outcome.SLIGHT if differs else Outcome.EQUIVALENT
    return Outcome.DIFFERENT if differs else Outcome.UNDECIDED


def reading(pairs: Paired, margin: float) -> str:
    """The outcome in words; an open one says from how many pairs, and why where no more of the same could decide."""
    found = outcome(pairs, margin)
    if found is not Outcome.UNDECIDED:
        return found.value
    why = "" if pairs.difference.std else ", one pair has no spread" if pairs.n == 1 else ", no spread"
    return f"{found.value} at n = {pairs.n}{why}"


def p_equivalence(difference: Statistic, margin: float) -> float | None:
    """The larger p of the two one-sided t-tests; None for a single pair and for differences without spread."""
    if not difference.std:
        return None
    from scipy.special import stdtr

    t = (margin - abs(difference.mean)) * sqrt(difference.n) / difference.std
    return float(stdtr(difference.n - 1, -t))


def seeds_for_equivalence(std: float, margin: float) -> int:
    """The fewest pairs that show equivalence with `POWER` if the true difference is 0; `MOST_SEEDS` + 1 if too many.

    Args:
        std: standard deviation of the differences, above 0.
        margin: in the same unit.
    """
    return _fewest(lambda n: power_of_equivalence(n, std, margin))


def seeds_for_difference(std: float, margin: float) -> int:
    """The fewest pairs that show a true difference as large as the margin with `POWER`; otherwise the same.

    The exact test has a say too: its p cannot go below 2 / 2^n, and of the fewest pairs for which that is small enough
    all must have one sign.
    """
    from scipy.special import ndtr

    enough_signs = next(n for n in count(1) if 2 / 2**n < SIGNIFICANT)
    enough_signs += ndtr(margin / std) ** enough_signs < POWER
    return max(int(enough_signs), _fewest(lambda n: power_of_difference(n, std, margin)))


def power_of_equivalence(n: int, std: float, margin: float) -> float:
    """The chance that both one-sided tests reject, if the true difference is 0.

    Given the sample's standard deviation s they reject where the mean lies within margin - t s / sqrt(n); the mean is
    normal and independent of s, and (n - 1) s^2 / std^2 is chi-squared, which is averaged over (Owen 1965).
    """
    from scipy.special import gammaincinv, ndtr, stdtrit

    degrees, error = n - 1, std / sqrt(n)
    ratio = np.sqrt(2 * gammaincinv(degrees / 2, _GRID) / degrees)  # s over std
    reach = margin / error - stdtrit(degrees, 1 - SIGNIFICANT) * ratio
    return float(np.mean(np.maximum(2 * ndtr(reach) - 1, 0)))


def power_of_difference(n: int, std: float, difference: float) -> float:
    """The chance that a two-sided paired t test rejects, if the true difference is that: a noncentral t."""
    from scipy.special import nctdtr, stdtrit

    degrees, shift = n - 1, difference * sqrt(n) / std
    critical = stdtrit(degrees, 1 - SIGNIFICANT / 2)
    return float(1 - nctdtr(degrees, shift, critical) + nctdtr(degrees, shift, -critical))


def _fewest(power: Callable[[int], float]) -> int:
    candidates = range(2, MOST_SEEDS + 1)
    return 2 + bisect_left(candidates, POWER, key=power)
