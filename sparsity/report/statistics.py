"""Mean, spread and 95 % interval over seeds, and the paired comparison of two methods."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt

CONFIDENCE = 0.95
_DIGITS = 9  # of a difference: the rest is rounding, which must not pass for spread


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation (n - 1) of `n` values; a single value has no spread: `std` is None."""

    mean: float
    std: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval of the mean by Student's t; None for a single value."""
        if self.std is None:
            return None
        return _t_quantile(self.n - 1, (1 + CONFIDENCE) / 2) * self.std / sqrt(self.n)


@dataclass(frozen=True)
class Paired:
    """First minus second over pairs, one pair per seed.

    `p_t` is two-sided by the paired t test and `effect_size` is Cohen's d_z, mean over standard deviation of the
    differences; both are None for a single pair and for differences without spread. `p_exact` is two-sided by the exact
    sign-flip permutation test.
    """

    difference: Statistic
    p_t: float | None
    p_exact: float
    effect_size: float | None

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.difference.n

    @property
    def smallest_p_exact(self) -> float:
        """The smallest p that the exact test can give with so many pairs, even if all agree: 2 of its 2^n signs."""
        return 2 / 2**self.n


def describe(values: Sequence[float]) -> Statistic | None:
    """Summarise one value per seed; None where there is no value."""
    if not values:
        return None
    std = statistics.stdev(values) if len(values) > 1 else None
    return Statistic(statistics.fmean(values), std, len(values))


def binomial_half_width(percent: float, n: int) -> float:
    """Half of the 95 % interval, in points, of an accuracy that was counted once on n images (normal approximation)."""
    share = percent / 100
    return 100 * statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * sqrt(share * (1 - share) / n)


def compare_pairs(first: Sequence[float], second: Sequence[float]) -> Paired | None:
    """Compare two methods over the same seeds, in the same order; None where there is no pair."""
    differences = [round(a - b, _DIGITS) for a, b in zip(first, second, strict=True)]
    difference = describe(differences)
    if difference is None:
        return None
    effect = difference.mean / difference.std if difference.std else None
    p_t = _two_sided(abs(effect) * sqrt(difference.n), difference.n - 1) if effect is not None else None
    return Paired(difference, p_t, _sign_flip_p(differences), effect)


def _sign_flip_p(differences: Sequence[float]) -> float:
    """Share of all assignments of signs whose sum is at least as far from zero as the one observed."""
    observed = abs(sum(differences)) - 1e-12  # sums of the same numbers in another order may differ by rounding
    signs = list(product((1, -1), repeat=len(differences)))
    as_far = [abs(sum(s * d for s, d in zip(sign, differences, strict=True))) >= observed for sign in signs]
    return sum(as_far) / len(signs)


def _two_sided(t: float, degrees: int) -> float:
    from scipy.special import stdtr  # half a second to import, which a train script that prints its row should not pay

    return float(2 * stdtr(degrees, -t))


def _t_quantile(degrees: int, probability: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))
