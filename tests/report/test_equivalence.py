"""Different, equivalent within the margin, or undecided, and how many seeds would settle it."""

import numpy as np
import pytest
from scipy import stats

from sparsity.report.equivalence import (
    MARGINS,
    MOST_SEEDS,
    RULE,
    p_equivalence,
    power_of_difference,
    power_of_equivalence,
    reading,
    seeds_for_difference,
    seeds_for_equivalence,
)
from sparsity.report.statistics import Paired, compare_pairs

MARGIN = 0.1


def paired(differences: list[float]) -> Paired:
    pairs = compare_pairs(differences, [0.0] * len(differences))
    assert pairs is not None
    return pairs


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.2, 0.3, 0.2, 0.3, 0.2, 0.3], "different"),
        ([0.02, 0.03, 0.02, 0.03, 0.02, 0.03], "different, but equivalent within the margin"),
        ([0.01, -0.01, 0.02, -0.02], "equivalent within the margin"),
        ([0.1, -0.2, 0.3], "undecided at n = 3"),
        ([0.2, 0.3, 0.2], "undecided at n = 3"),  # p = 0.02 by t, but the exact test cannot go below 0.25
        ([0.01, 0.01, 0.02, 0.01, 0.01, 9.0], "undecided at n = 6"),  # p = 0.03 by the exact test, 0.4 by t
        ([0.0], "undecided at n = 1, one pair has no spread"),
        ([0.0, 0.0], "undecided at n = 2, no spread"),
        ([0.0] * 6, "equivalent within the margin"),
        ([0.05] * 6, "different, but equivalent within the margin"),
        ([-0.05] * 6, "different, but equivalent within the margin"),
        ([0.5] * 6, "different"),
        ([-0.5] * 6, "different"),
        ([99.05 - 99.0, 99.15 - 99.1, 98.95 - 98.9], "undecided at n = 3, no spread"),  # rounding is no spread
    ],
)
def test_a_reading_follows_from_all_three_tests(differences: list[float], expected: str) -> None:
    assert reading(paired(differences), MARGIN) == expected


def test_a_difference_as_large_as_the_margin_is_not_within_it() -> None:
    assert reading(paired([2.0] * 6), 2.0) == "different"


@pytest.mark.parametrize("shift", [0.03, -0.03])
def test_the_two_one_sided_tests_are_scipys(shift: float) -> None:
    differences = [shift, shift + 0.04, shift - 0.06, shift + 0.01]
    low = stats.ttest_1samp(differences, -MARGIN, alternative="greater").pvalue
    high = stats.ttest_1samp(differences, MARGIN, alternative="less").pvalue
    assert p_equivalence(paired(differences).difference, MARGIN) == pytest.approx(max(low, high))


@pytest.mark.parametrize(("effect", "num_pairs"), [(0.5, 34), (0.8, 15), (0.2, 199)])
def test_a_differences_seeds_are_those_of_the_tables_of_paired_t_tests(effect: float, num_pairs: int) -> None:
    assert seeds_for_difference(1.0, effect) == num_pairs  # as G*Power and statsmodels' TTestPower print them


def test_a_difference_takes_the_seeds_of_the_exact_test_too() -> None:
    assert seeds_for_difference(0.001, MARGIN) == 6  # 2 / 2^5 is above 0.05


def test_of_the_fewest_pairs_for_the_exact_test_all_must_have_one_sign() -> None:
    values = np.random.default_rng(0).normal(MARGIN, 0.062, (40_000, 6))
    one_sign = np.mean(np.all(values > 0, axis=1) | np.all(values < 0, axis=1))
    assert one_sign < 0.8 < power_of_difference(6, 0.062, MARGIN)
    assert seeds_for_difference(0.062, MARGIN) == 7


def drawn(n: int, std: float, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of many samples."""
    values = np.random.default_rng(0).normal(mean, std, (40_000, n))
    return values.mean(1), values.std(1, ddof=1) / np.sqrt(n)


@pytest.mark.parametrize(("n", "std"), [(3, 0.03), (5, 0.06), (11, 0.1)])
def test_the_power_of_equivalence_is_that_of_a_simulation(n: int, std: float) -> None:
    mean, error = drawn(n, std, 0.0)
    reach = stats.t.ppf(0.95, n - 1) * error
    rejected = np.mean((mean + reach < MARGIN) & (mean - reach > -MARGIN))
    assert power_of_equivalence(n, std, MARGIN) == pytest.approx(rejected, abs=0.01)


def test_the_power_of_a_difference_is_that_of_a_simulation() -> None:
    mean, error = drawn(5, 0.06, MARGIN)
    rejected = np.mean(np.abs(mean / error) > stats.t.ppf(0.975, 4))
    assert power_of_difference(5, 0.06, MARGIN) == pytest.approx(rejected, abs=0.01)


def test_where_there_is_no_difference_one_is_found_as_often_as_the_level_says() -> None:
    assert power_of_difference(5, 0.06, 0.0) == pytest.approx(0.05)


def test_equivalence_takes_the_fewest_seeds_that_have_the_power() -> None:
    n = seeds_for_equivalence(0.1, MARGIN)
    assert power_of_equivalence(n - 1, 0.1, MARGIN) < 0.8 <= power_of_equivalence(n, 0.1, MARGIN)


def test_more_seeds_than_anybody_runs_are_not_counted() -> None:
    assert seeds_for_equivalence(100.0, MARGIN) == seeds_for_difference(100.0, MARGIN) == MOST_SEEDS + 1


def test_the_margins_are_printed_with_the_rule() -> None:
    metric, prunes = MARGINS.values()
    words = " ".join(RULE.split())
    assert f"{metric:g} points" in words and f"{prunes:g} prunes" in words
