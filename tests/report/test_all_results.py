"""results/results.csv: a line for each row of each published run."""

import csv
from pathlib import Path

from sparsity.report.all_results import COLUMNS, results_csv
from sparsity.report.page import load_sections
from tests.report.fake_results import AddRun, row


def test_every_row_of_every_run_is_a_line(results: Path, add_run: AddRun) -> None:
    add_run(rows=[row("paper_sparsity", test=99.2), row("last", test=99.1, kept=431)])
    add_run(seed=1, scale="smoke", rows=[row(test=90.0)])
    first, second, smoke = list(csv.DictReader(results_csv(load_sections(results)).splitlines()))
    assert tuple(first) == COLUMNS
    assert (first["seed"], first["start"], first["test"], first["marks"]) == ("0", "paper_sparsity", "99.2", "")
    assert (second["start"], second["kept"], second["sparsity"]) == ("last", "431", "0.999000")
    assert (smoke["seed"], smoke["marks"]) == ("1", "smoke scale")


def test_every_column_holds_what_it_is_called_by(results: Path, add_run: AddRun) -> None:
    baseline = {"source": "train", "num_epochs": 21, "val": 98.4, "test": 98.5, "saw": []}
    add_run(baseline=baseline, rows=[row(test=99.2) | {"val": 98.75}])
    (line,) = csv.DictReader(results_csv(load_sections(results)).splitlines())
    assert list(line.values()) == [
        *("lenet5_mnist", "relevance", "ab12cd34ef56", "paper", "sound", "baseline: train", "0", "paper_sparsity"),
        *("0.997184", "1214", "431080", "accuracy", "98.75", "99.2", "98.5", "3"),
        *("144", "2400", "cpu: Example, 2 threads", "0123456789abcdef"),
    ]


def test_without_runs_there_is_the_head_alone(results: Path) -> None:
    assert results_csv(load_sections(results)).splitlines() == [",".join(COLUMNS)]
