"""Pages that are not what the records give are named; so is a results folder without a network to verify."""

from pathlib import Path

import pytest

from scripts import verify
from sparsity.report.page import stale, write_page
from tests.report.fake_results import AddRun


@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_a_changed_digit_on_a_page_is_named(results: Path, add_run: AddRun, name: str) -> None:
    add_run()
    write_page(results)
    assert stale(results) == []
    page = results / name
    page.write_text(page.read_text().replace("99.20", "99.90", 1))
    assert stale(results) == [page]


def test_a_page_that_is_not_there_is_named(results: Path, add_run: AddRun) -> None:
    add_run()
    assert stale(results) == [results / "README.md", results / "index.html"]


def test_results_without_a_network_are_said(results: Path, add_run: AddRun, capsys: pytest.CaptureFixture[str]) -> None:
    add_run()
    assert verify.main(["--results", str(results)]) == 1
    assert "has a network yet" in capsys.readouterr().err
