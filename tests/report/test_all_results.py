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


def test_without_runs_there_is_the_head_alone(results: Path) -> None:
    assert results_csv(load_sections(results)).splitlines() == [",".join(COLUMNS)]
