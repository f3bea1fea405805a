"""Each experiment is linked to the deviations that concern it."""

from pathlib import Path

from sparsity.report.deviations import deviations_of, load_deviations
from tests.report.fake_results import REPOSITORY

TEXT = "## In force\n\n### 1. For all\n- x\n\n### 2. Of two (`lenet5_mnist`, `vgg16_imagenet`)\n"


def test_an_entry_concerns_the_experiments_in_its_heading_or_all(tmp_path: Path) -> None:
    (tmp_path / "deviations.md").write_text(TEXT)
    entries = load_deviations(tmp_path / "deviations.md")
    assert [each.number for each in deviations_of("lenet5_mnist", entries)] == [1, 2]
    assert [each.number for each in deviations_of("resnet32_cifar10", entries)] == [1]


def test_an_entry_is_linked_without_its_list_of_experiments(tmp_path: Path) -> None:
    (tmp_path / "deviations.md").write_text(TEXT)
    link = load_deviations(tmp_path / "deviations.md")[1].link
    assert link == "[2. Of two](deviations.md#2-of-two-lenet5_mnist-vgg16_imagenet)"


def test_a_missing_file_has_no_entries(tmp_path: Path) -> None:
    assert load_deviations(tmp_path / "deviations.md") == []


def test_no_number_of_this_repositorys_entries_is_given_twice() -> None:
    entries = load_deviations(REPOSITORY / "results" / "deviations.md")
    assert entries and len({each.number for each in entries}) == len(entries)
