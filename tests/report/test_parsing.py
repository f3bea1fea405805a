"""Documents are held to their dataclass, and the field that does not fit is named."""

from dataclasses import dataclass
from typing import Any

import pytest

from sparsity.report.parsing import decode, decode_document


@dataclass(frozen=True)
class Inner:
    count: int
    label: str | None = None


@dataclass(frozen=True)
class Outer:
    value: float
    flag: bool
    inner: tuple[Inner, ...]
    named: dict[str, float | str]


GOOD: dict[str, Any] = {"schema": 1, "value": 1, "flag": True, "inner": [{"count": 2}], "named": {"a": 1.5, "b": "x"}}


def test_a_fitting_document_becomes_the_dataclass() -> None:
    assert decode_document(Outer, GOOD) == Outer(1.0, True, (Inner(2),), {"a": 1.5, "b": "x"})


def test_unknown_keys_are_left_alone() -> None:
    assert decode(Inner, {"count": 1, "new": 2}, "") == Inner(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "it declares schema 2, this version reads schema 1"),
        ({"value": "1"}, "value is '1', expected a finite number"),
        ({"value": float("nan")}, "value is nan, expected a finite number"),
        ({"flag": 1}, "flag is 1, expected true or false"),
        ({"inner": {}}, "inner is {}, expected a list"),
        ({"inner": [{}]}, r"inner\[0\].count is missing"),
        ({"inner": [{"count": True}]}, r"inner\[0\].count is True, expected a whole number"),
        ({"inner": [{"count": 1, "label": 3}]}, r"inner\[0\].label is 3, expected text"),
        ({"named": {"a": []}}, r"named.a is \[\], expected text"),
        ({"named": 3}, "named is 3, expected a mapping"),
    ],
)
def test_a_field_that_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        decode_document(Outer, {**GOOD, **change})


def test_a_document_that_is_no_mapping_has_no_schema() -> None:
    with pytest.raises(ValueError, match="schema None"):
        decode_document(Outer, [])
