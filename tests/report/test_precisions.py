"""Runs in bf16 beside those in fp32, seed by seed."""

from pathlib import Path

from sparsity.report.blocks import Table
from sparsity.report.precisions import FOLDER, precision_section
from tests.report.fake_results import AddRun, row, summary, write_run


def test_runs_of_the_same_seeds_are_paired_and_others_left_out(results: Path, add_run: AddRun) -> None:
    for seed, test in enumerate((99.0, 99.1, 99.2)):
        add_run(seed=seed, rows=[row(test=test)])
    for seed, test in ((0, 99.1), (1, 99.2), (7, 50.0)):
        write_run(results / FOLDER, summary(seed=seed, rows=[row(test=test)]))
    (table,) = [block for block in precision_section(results) if isinstance(block, Table)]
    ((name, n, fp32, bf16, difference, *_),) = table.rows
    assert (name, n) == ("`lenet5_mnist`, relevance ab12cd34", "2")
    assert (fp32, bf16, difference) == ("99.05 ± 0.07", "99.15 ± 0.07", "+0.10")


def test_without_such_runs_nothing_is_said(results: Path, add_run: AddRun) -> None:
    add_run()
    assert precision_section(results) == []
