"""Results folders that tests of the report room fill with runs."""

import re
import shutil
from pathlib import Path

import pytest

from tests.report.fake_results import PAPER, AddRun, summary, write_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty results folder with the paper's numbers, of which two seeds are all that were planned."""
    shutil.copytree(PAPER, tmp_path / "results" / "paper")
    for path in (tmp_path / "results" / "paper").glob("*.yaml"):
        path.write_text(re.sub(r"planned_seeds: \d+|\Z", "planned_seeds: 2\n", path.read_text(), count=1))
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
