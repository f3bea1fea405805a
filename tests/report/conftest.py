"""Results folders that tests of the report room fill with runs."""

import shutil
from pathlib import Path

import pytest

from tests.report.fake_results import PAPER, AddRun, summary, write_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty results folder with the paper's numbers."""
    shutil.copytree(PAPER, tmp_path / "results" / "paper")
    return tmp_path / "results"


@pytest.fixture
def mnist_alone(results: Path) -> Path:
    """The same with one experiment: for tests that draw the page, which takes a second per experiment."""
    for path in (results / "paper").iterdir():
        if path.name != "lenet5_mnist.yaml":
            path.unlink()
    return results


@pytest.fixture
def add_run(results: Path) -> AddRun:
    """Add a published run: `add_run(seed=1, rows=[...])`."""
    return lambda **changes: write_run(results, summary(**changes))


@pytest.fixture
def add_finished(results: Path) -> AddRun:
    """Add a finished run that is not published yet, under `results/runs`."""
    return lambda **changes: write_run(results / "runs", summary(**changes))
