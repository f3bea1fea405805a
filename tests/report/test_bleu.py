"""Does the page show a run's BLEU by each definition, on both forms of the test set, beside Figure 1's curves?"""

from pathlib import Path

import pytest

from sparsity.report.bleu import bleu_section
from sparsity.report.blocks import Table
from sparsity.report.configurations import Configuration, collect
from sparsity.report.figures import experiment_figures
from sparsity.report.paper import PaperExperiment, load_paper
from sparsity.report.plots.frontier import draw_frontier
from sparsity.report.reading import find_runs, load_run
from tests.report.fake_results import AddRun, row

MEASURED = {
    "bleu_13a": 25.0, "bleu_intl": 25.9, "bleu_compound": 25.8, "bleu_precision_1": 60.0,
    "bleu_13a/newstest2014_2737": 24.8, "bleu_intl/newstest2014_2737": 25.7, "bleu_compound/newstest2014_2737": 25.6,
}  # fmt: skip


@pytest.fixture
def wmt14(results: Path) -> PaperExperiment:
    (paper,) = (each for each in load_paper(results / "paper") if each.experiment == "transformer_wmt14")
    return paper


def runs(results: Path, paper: PaperExperiment, add_run: AddRun, **measured: float) -> list[Configuration]:
    """One run with one row."""
    add_run(experiment=paper.experiment, rows=[row(test=25.0) | ({"test_metrics": measured} if measured else {})])
    return collect([load_run(directory) for directory in find_runs(results)], paper)


def test_each_definition_is_shown_on_both_forms_of_the_test_set(
    results: Path, wmt14: PaperExperiment, add_run: AddRun
) -> None:
    (found,) = (
        block for block in bleu_section(wmt14, runs(results, wmt14, add_run, **MEASURED)) if isinstance(block, Table)
    )
    assert [list(cells[1:]) for cells in found.rows] == [["25.00", "25.90", "25.80", "24.80", "25.70", "25.60"]]


def test_a_run_that_recorded_one_definition_has_no_section(
    results: Path, wmt14: PaperExperiment, add_run: AddRun
) -> None:
    assert bleu_section(wmt14, runs(results, wmt14, add_run)) == []


def test_figure_1_shows_ours_by_its_two_definitions(results: Path, wmt14: PaperExperiment, add_run: AddRun) -> None:
    (axes,) = draw_frontier(wmt14, runs(results, wmt14, add_run, **MEASURED)).axes
    marks = {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}
    assert (marks["ours: international"], marks["ours: compounds split"]) == ([25.9], [25.8])
    lowest, highest = axes.get_ylim()
    assert lowest < 25.0 and highest > 25.9


def test_the_page_says_that_one_curve_of_figure_1_has_no_published_numbers(wmt14: PaperExperiment) -> None:
    assert (
        "Targeted Dropout curve is left out: no numbers of it are published" in experiment_figures(wmt14, [])[0].caption
    )
