"""Pages that are not what the records give are named; so is a results folder without a network to verify."""

from pathlib import Path

import pytest

from scripts import verify
from sparsity.report.page import load_sections, stale, write_page
from tests.report.fake_results import AddRun, add_networks


def test_each_text_for_readers_that_is_not_what_the_records_give_is_named(mnist_alone: Path, add_run: AddRun) -> None:
    directory = add_run()
    add_networks(directory, {"paper_sparsity": 61_752})
    pages = [mnist_alone / name for name in ("README.md", "index.html", "results.csv")]
    pages.append(directory / "networks" / "README.md")
    assert stale(mnist_alone, load_sections(mnist_alone)) == pages  # none is there
    write_page(mnist_alone)
    assert stale(mnist_alone, load_sections(mnist_alone)) == []
    for page in pages:
        page.write_text(page.read_text().replace("99.2", "99.9", 1))
    assert stale(mnist_alone, load_sections(mnist_alone)) == pages


def test_results_without_a_network_are_said(results: Path, add_run: AddRun, capsys: pytest.CaptureFixture[str]) -> None:
    add_run()
    assert verify.main(["--results", str(results)]) == 1
    assert "has a network yet" in capsys.readouterr().err
