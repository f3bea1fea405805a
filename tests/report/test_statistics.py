"""Mean, spread, interval; a paired comparison over seeds."""

import subprocess
import sys

import pytest
from scipy import stats

from sparsity.report.statistics import compare_pairs, describe


def test_spread_is_the_sample_standard_deviation() -> None:
    found = describe([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.mean, found.std, found.n) == (2.0, 1.0, 3)


def test_one_value_has_no_spread() -> None:
    found = describe([5.0])
    assert found is not None
    assert (found.mean, found.std, found.n) == (5.0, None, 1)


def test_no_value_has_no_statistic() -> None:
    assert describe([]) is None


FIRST, SECOND = [99.1, 98.9, 99.3, 99.0], [98.8, 98.7, 99.1, 99.1]


def test_the_interval_is_students() -> None:
    found = describe(FIRST)
    assert found is not None and found.half_width is not None
    low, high = stats.t.interval(0.95, df=3, loc=found.mean, scale=stats.sem(FIRST))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))


def test_one_value_has_no_interval() -> None:
    found = describe([5.0])
    assert found is not None and found.half_width is None


def test_the_paired_t_test_is_the_textbooks() -> None:
    found = compare_pairs(FIRST, SECOND)
    assert found is not None
    assert found.p_t == pytest.approx(stats.ttest_rel(FIRST, SECOND).pvalue)


def test_the_exact_test_counts_the_sign_assignments_that_are_as_far_from_zero() -> None:
    found = compare_pairs([3.0, 1.0, 2.0], [0.0, 0.0, 0.0])
    assert found is not None
    assert found.p_exact == found.smallest_p_exact == 2 / 8
    mixed = compare_pairs([3.0, 1.0, 0.0], [0.0, 0.0, 2.0])  # sums 2, 0, 6, 4 and their negatives
    assert mixed is not None
    assert mixed.p_exact == 6 / 8
    rounded = compare_pairs([0.1, 0.2, 0.3, 0.0], [0.0, 0.0, 0.0, 0.4])  # 0.2, and 2 of the 16 sums are 0
    assert rounded is not None
    assert rounded.p_exact == 14 / 16, "0.1 + 0.2 + 0.3 - 0.4 is a little more than 0.2"


def test_the_exact_test_agrees_with_an_independent_one() -> None:
    found = compare_pairs(FIRST, SECOND)
    differences = ([a - b for a, b in zip(FIRST, SECOND, strict=True)],)
    reference = stats.permutation_test(
        differences, lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True
    )
    assert found is not None
    assert found.p_exact == pytest.approx(reference.pvalue)


def test_the_effect_size_is_the_mean_difference_over_its_spread() -> None:
    found = compare_pairs([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert found is not None
    assert found.effect_size == 2.0


def test_a_second_method_that_is_ahead_changes_the_sign_alone() -> None:
    forth, back = compare_pairs(FIRST, SECOND), compare_pairs(SECOND, FIRST)
    assert forth is not None and back is not None and forth.effect_size is not None
    assert (back.effect_size, back.difference.mean) == (-forth.effect_size, -forth.difference.mean)
    assert (back.p_t, back.p_exact) == (forth.p_t, forth.p_exact)


def test_differences_too_small_to_be_printed_count() -> None:
    found = compare_pairs([0.0014, 0.0026], [0.0, 0.0])
    assert found is not None and found.difference.std is not None
    assert (found.difference.mean, found.difference.std) == pytest.approx((0.002, 0.0012 / 2**0.5))


@pytest.mark.parametrize("first", [[1.0], [1.0, 1.0]])
def test_without_spread_there_is_no_t_test_and_no_effect_size(first: list[float]) -> None:
    found = compare_pairs(first, [0.0] * len(first))
    assert found is not None
    assert (found.difference.mean, found.p_t, found.effect_size) == (1.0, None, None)


def test_no_pair_has_no_comparison() -> None:
    assert compare_pairs([], []) is None


def test_describing_does_not_import_scipy() -> None:
    code = (
        "import sys; from sparsity.report.statistics import describe; describe([1.0, 2.0]); "
        "sys.exit('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
