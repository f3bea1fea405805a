"""Does the page show both files of a pruned network, with true zeros and with signed ones, and which is the paper's?"""

from pathlib import Path

from sparsity.report.blocks import Table
from sparsity.report.configurations import collect
from sparsity.report.paper import PaperExperiment, load_paper
from sparsity.report.reading import find_runs, load_run
from sparsity.report.sizes import size_label, sizes_section
from tests.report.fake_results import AddRun

EXPERIMENT = "transformer_taskmaster1"
TRUE = {"dense_bytes": 43_500_000, "pruned_bytes": 43_500_000, "pruned_gzip_9_bytes": 5_480_000}
SIGNED = {"pruned_signed_bytes": 43_500_000, "pruned_signed_gzip_9_bytes": 7_500_000}


def taskmaster(results: Path) -> PaperExperiment:
    (paper,) = (each for each in load_paper(results / "paper") if each.experiment == EXPERIMENT)
    return paper


def rows_of(results: Path, owner: str) -> dict[str, list[str]]:
    """File -> its sizes, as the page shows those of `Paper` or `Ours`."""
    paper = taskmaster(results)
    configurations = collect([load_run(directory) for directory in find_runs(results)], paper)
    (found,) = (block for block in sizes_section(paper, configurations) if isinstance(block, Table))
    rows = [row for row in found.rows if row[0].startswith(owner)]
    return {row[0][row[0].index("dense" if "dense" in row[0] else "pruned") :]: list(row[1:]) for row in rows}


def test_the_papers_pruned_file_is_the_one_with_signed_zeros(results: Path) -> None:
    assert rows_of(results, "Paper") == {
        "dense": ["43.5", "40.2", "40.1", "41.7", "41.1"],
        "pruned, signed zeros": ["", "11.2", "7.4", "6.4", "6.2"],
    }


def test_both_files_of_a_pruned_network_have_a_row(results: Path, add_run: AddRun) -> None:
    add_run(experiment=EXPERIMENT, sizes=TRUE | SIGNED)
    assert rows_of(results, "Ours") == {
        "dense": ["43.5", "", "", "", ""],
        "pruned, true zeros": ["43.5", "", "5.5", "", ""],
        "pruned, signed zeros": ["43.5", "", "7.5", "", ""],
    }


def test_a_run_that_measured_true_zeros_only_has_no_row_of_signed_ones(results: Path, add_run: AddRun) -> None:
    add_run(experiment=EXPERIMENT, sizes=TRUE)
    assert list(rows_of(results, "Ours")) == ["dense", "pruned, true zeros"]


def test_an_experiment_of_which_the_paper_prints_no_size_has_no_section_of_them(results: Path, add_run: AddRun) -> None:
    paper = next(each for each in load_paper(results / "paper") if each.sizes is None)
    add_run(experiment=paper.experiment, sizes=TRUE)
    configurations = collect([load_run(directory) for directory in find_runs(results)], paper)
    assert configurations
    assert sizes_section(paper, configurations) == []


def test_a_size_is_called_by_its_file_and_compressor() -> None:
    assert size_label("pruned_signed_gzip_9_bytes") == "pruned, signed zeros, gzip -9"
    assert size_label("pruned_bytes") == "pruned, true zeros"
