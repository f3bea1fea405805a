"""The paper's numbers agree with each other as far as the paper's do."""

from pathlib import Path

import pytest

from sparsity.report.paper import PaperExperiment, PublishedRow, load_paper
from sparsity.report.units import implied
from tests.report.fake_results import PAPER

EXPERIMENTS = {paper.experiment: paper for paper in load_paper(PAPER)}

# The rows whose printed sparsity is not that of their columns, whatever the rounding: (experiment, method).
CONTRADICTIONS = {
    *(("lenet5_mnist", "l0"), ("lenet5_fashion_mnist", "lobster")),
    *(("vgg16_imagenet", "magnitude"), ("vgg16_imagenet", "sensitivity")),
}

LAYERED = [
    (paper, row)
    for paper in EXPERIMENTS.values()
    for row in paper.results.rows
    if paper.model in ("lenet5", "vgg16") and row.sparsity is not None and row.residual
]


def fraction_per_prune(paper: PaperExperiment) -> float:
    return next(float(setting.value) for setting in paper.settings if setting.name == "pruned per prune")


def test_the_six_experiments_come_in_the_order_of_their_tables() -> None:
    assert [paper.results.table for paper in load_paper(PAPER)] == [2, 3, 4, 5, 9, 11]
    assert list(EXPERIMENTS) == [
        *("lenet5_mnist", "lenet5_fashion_mnist", "resnet32_cifar10"),
        *("vgg16_imagenet", "transformer_wmt14", "transformer_taskmaster1"),
    ]


@pytest.mark.parametrize(
    ("experiment", "num_prunes"),
    [("lenet5_mnist", 143), ("lenet5_fashion_mnist", 92), ("resnet32_cifar10", 41), ("vgg16_imagenet", 262)],
)
def test_the_published_sparsity_is_that_of_a_whole_number_of_prunes(experiment: str, num_prunes: int) -> None:
    paper = EXPERIMENTS[experiment]
    row = paper.row("relevance")
    assert row is not None
    assert row.sparsity == pytest.approx(1 - (1 - fraction_per_prune(paper)) ** num_prunes, abs=5e-4)


@pytest.mark.parametrize(("paper", "row"), LAYERED, ids=lambda value: getattr(value, "method", None))
def test_residual_columns_add_up_to_the_sparsity(paper: PaperExperiment, row: PublishedRow) -> None:
    found = implied(paper, row)
    assert found is not None and row.sparsity is not None
    assert found.agrees(row.sparsity) != ((paper.experiment, row.method) in CONTRADICTIONS)


@pytest.mark.parametrize("paper", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_our_method_and_the_baseline_carry_a_tolerance_with_its_reason(paper: PaperExperiment) -> None:
    for method in ("dense", "relevance"):
        row = paper.row(method)
        assert row is not None and row.tolerance is not None
        assert row.tolerance.metric > 0 and row.tolerance.reason


@pytest.mark.parametrize("paper", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_the_tolerance_on_sparsity_is_one_prune_and_its_rounding(paper: PaperExperiment) -> None:
    for row in paper.results.rows:
        if row.tolerance and row.sparsity is not None:
            one_prune = fraction_per_prune(paper) * (1 - row.sparsity)
            assert 0.95 * one_prune <= row.tolerance.sparsity <= one_prune + 6e-4


@pytest.mark.parametrize("paper", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_residual_stands_in_a_column_of_the_table(paper: PaperExperiment) -> None:
    for row in paper.results.rows:
        assert tuple(row.residual) in ((), paper.results.groups)
        assert all(0 < left <= 1 for left in row.residual.values())


def test_what_a_mac_leaves_beside_a_file_is_no_experiment(tmp_path: Path) -> None:
    (tmp_path / "._lenet5_mnist.yaml").write_bytes(b"\x00\x05\x16\x07")
    assert load_paper(tmp_path) == []


def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("schema: [1\nx: y")
    with pytest.raises(ValueError, match=r"bad.yaml cannot be used: .*; restore it") as caught:
        load_paper(tmp_path)
    assert "\n" not in str(caught.value)
