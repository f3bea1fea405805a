"""Values as they are printed."""

import pytest

from sparsity.report.cells import duration, interval, number, plain_table, significant, spread
from sparsity.report.comparison import Kind
from sparsity.report.statistics import Statistic


def test_fractions_become_percent_and_bytes_become_megabytes() -> None:
    assert number(0.99712, Kind.FRACTION) == "99.71"
    assert number(99.712, Kind.METRIC) == "99.71"
    assert number(43_500_000, Kind.BYTES) == "43.5"
    assert number(None, Kind.METRIC) == ""


def test_a_difference_that_rounds_to_zero_has_no_minus() -> None:
    assert number(-0.0001, Kind.METRIC, sign="+") == "+0.00"


def test_a_spread_stands_only_where_there_is_one() -> None:
    assert spread(Statistic(99.0, 0.1, 3), Kind.METRIC) == "99.00 ± 0.10"
    assert spread(Statistic(99.0, None, 1), Kind.METRIC) == "99.00"


@pytest.mark.parametrize(
    ("seconds", "text"), [(35.4, "35 s"), (2400, "40 min"), (59.7 * 60, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations_read_as_one_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_interval_stands_only_where_there_are_several_values() -> None:
    assert interval(Statistic(99.0, 0.1, 3), Kind.METRIC) == "98.75 to 99.25"
    assert interval(Statistic(99.0, None, 1), Kind.METRIC) == interval(None, Kind.METRIC) == ""


def test_columns_of_a_plain_table_are_aligned() -> None:
    assert plain_table(["a", "b"], [["long", "1"]]).splitlines() == ["a     b", "long  1"]


@pytest.mark.parametrize(
    ("value", "written"), [(0.08561, "0.0856"), (16.24, "16.2"), (999.6, "1,000"), (8793.0, "8,790"), (0.0, "0")]
)
def test_a_measured_value_has_three_digits_that_count_and_no_exponent(value: float, written: str) -> None:
    assert significant(value) == written
