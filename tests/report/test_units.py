"""Units of the published sparsities: what a row's own columns imply, and whether that is what it prints."""

from dataclasses import replace

import pytest

from sparsity.report.blocks import Table
from sparsity.report.paper import PaperExperiment, load_paper
from sparsity.report.units import Implied, implied, units_section
from tests.report.fake_results import PAPER

EXPERIMENTS = {paper.experiment: paper for paper in load_paper(PAPER)}
MNIST = EXPERIMENTS["lenet5_mnist"]


def cells(paper: PaperExperiment, printed: str) -> tuple[str, ...]:
    """The line of one row of the paper."""
    (table,) = [block for block in units_section(paper) if isinstance(block, Table)]
    (line,) = [row for row in table.rows if row[0] == printed]
    return line


def test_columns_are_added_up_over_the_weights_of_the_network() -> None:
    row = MNIST.row("magnitude")
    assert row is not None
    found = implied(MNIST, row)  # 66 % of 500, 12 % of 25,000, 8 % of 400,000, 19 % of 5,000
    assert found is not None
    assert found.kept == pytest.approx(330 + 3000 + 32000 + 950)
    assert found.total == 430_500
    assert found.rounding == pytest.approx(2.5 + 125 + 2000 + 25)  # half a percent of each


def test_a_printed_sparsity_may_be_off_by_half_of_its_last_digit() -> None:
    found = Implied(kept=100.0, total=10_000, rounding=0.0)
    assert found.agrees(0.99004) and not found.agrees(0.99006)


def test_rounding_of_the_columns_is_no_contradiction() -> None:
    row = MNIST.row("dns")  # 99.09 printed, 99.11 by columns of which FC1 is rounded to 0.7 %
    assert row is not None and row.sparsity is not None
    found = implied(MNIST, row)
    assert found is not None and found.agrees(row.sparsity)
    exact = implied(MNIST, replace(row, residual={"Conv1": 0.1401, "Conv2": 0.0301, "FC1": 0.0071, "FC2": 0.0401}))
    assert exact is not None and not exact.agrees(0.9909 + 0.0004)


def test_a_row_that_contradicts_itself_is_shown_with_what_its_columns_imply() -> None:
    line = cells(EXPERIMENTS["lenet5_fashion_mnist"], "Tart. et al., 2021 [18]")
    assert line[1] == "95.70" and line[4:] == ("95.34", "no, printed +0.36 points")


def test_a_structured_count_and_a_storage_rate_are_called_so() -> None:
    l0, sws = cells(MNIST, "L0 [26]"), cells(MNIST, "SWS [15]")
    assert "smaller dense network" in l0[2] and l0[4:] == ("97.43", "no, printed +1.14 points")
    assert sws[2].startswith("storage, 1 - 1/162") and sws[5] == "no columns"


def test_a_row_of_which_no_source_says_its_unit_says_so() -> None:
    assert cells(EXPERIMENTS["vgg16_imagenet"], "Han et al., 2015 [14]")[2] == "not said"


def test_the_weights_behind_the_columns_are_those_of_the_network_without_its_biases() -> None:
    biases = {"lenet5_mnist": 580, "lenet5_fashion_mnist": 580, "vgg16_imagenet": 4224 + 9192}
    for experiment, count in biases.items():
        paper = EXPERIMENTS[experiment]
        assert sum(paper.results.group_weights.values()) + count == paper.num_parameters
        assert tuple(paper.results.group_weights) == paper.results.groups


def test_an_experiment_without_columns_has_no_table_of_units() -> None:
    assert units_section(EXPERIMENTS["resnet32_cifar10"]) == []
