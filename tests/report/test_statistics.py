"""Mean, sample standard deviation, n."""

from sparsity.report.statistics import describe


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
