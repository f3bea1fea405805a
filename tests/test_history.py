"""Fingerprints outlive the layout: what is moved, renamed or shown since then leaves those of finished runs alone."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from sparsity import constructors, history
from sparsity.history import Constructor, as_hashed
from sparsity.settings import PenaltySettings

SOURCE = """
from elsewhere import handed_on

def scored(images, /, width, source="real", widths=(1, 2), *, mask=None, seed=next(iter([0])), size, share=-0.5):
    pass

class Network:
    def forward(self, depth=3):
        pass

    def __init__(self, width, act=True):
        pass
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that cannot be imported, as it needs another that is not there: only read."""
    (tmp_path / "constructors_of_a_test.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "constructors_of_a_test"


def test_the_defaults_of_a_function_are_its_plain_ones(here: str) -> None:
    assert constructors.defaults(f"{here}.scored") == {
        "source": "real",
        "widths": (1, 2),
        "mask": None,
        "share": -0.5,
    }


def test_the_defaults_of_a_class_are_those_of_its_constructor(here: str) -> None:
    assert constructors.defaults(f"{here}.Network") == {"act": True}


@pytest.mark.parametrize("name", ["handed_on", "missing"])
def test_of_what_cannot_be_read_no_default_is_known(here: str, name: str) -> None:
    assert constructors.defaults(f"{here}.{name}") == {}


@pytest.mark.parametrize("address", ["", "LeNet5", "no.such.module.f", ".f", "math.floor"])
def test_an_address_that_leads_nowhere_has_no_defaults(address: str) -> None:
    assert constructors.defaults(address) == {}


def test_an_argument_at_its_default_is_left_out_whether_a_file_shows_it_or_not(here: str) -> None:
    node = {"_target_": f"{here}.Network", "width": 3}
    assert as_hashed(node | {"act": True}) == as_hashed(node) == node
    assert as_hashed(node | {"act": False}) == node | {"act": False}


def test_what_moved_is_hashed_where_it_stood_with_what_was_shown_there(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = Constructor("old.place.Network", shown=("act",), retired={"decoder": "auto"})
    monkeypatch.setitem(history.CONSTRUCTORS, f"{here}.Network", was)
    hashed = {"_target_": "old.place.Network", "width": 3, "act": True, "decoder": "auto"}
    assert as_hashed({"_target_": f"{here}.Network", "width": 3}) == hashed
    assert as_hashed({"_target_": f"{here}.Network", "width": 3, "act": False}) == hashed | {"act": False}


@pytest.mark.parametrize("value", [3, "text", [1], {"a": 1}, PenaltySettings()])
def test_what_is_no_constructor_is_hashed_as_it_is(value: Any) -> None:
    assert as_hashed(value) is value


@pytest.mark.parametrize("address", history.CONSTRUCTORS)
def test_every_address_of_today_leads_to_a_constructor_that_takes_what_was_shown(address: str) -> None:
    module, _, name = address.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    assert set(history.CONSTRUCTORS[address].shown) <= set(parameters)
