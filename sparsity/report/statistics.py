"""How do the seeds of one configuration spread? Mean, sample standard deviation, n."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation (n - 1) of `n` values; a single value has no spread: `std` is None."""

    mean: float
    std: float | None
    n: int


def describe(values: Sequence[float]) -> Statistic | None:
    """Summarise one value per seed; None where there is no value."""
    if not values:
        return None
    std = statistics.stdev(values) if len(values) > 1 else None
    return Statistic(statistics.fmean(values), std, len(values))
