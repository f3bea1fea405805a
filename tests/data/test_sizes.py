"""The planner learns the size of every split without torch and without data."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from sparsity.data.sizes import SplitSizes, published_sizes, record_num_pairs, split_sizes


@pytest.mark.parametrize("source", ["real", "generated"])
def test_sound_mnist_holds_5000_out_of_training(source: str) -> None:
    assert split_sizes("mnist", source) == SplitSizes(train=55_000, val=5_000, test=10_000)


def test_mnist_may_train_on_everything_and_validate_on_the_test_set() -> None:
    on_all = split_sizes("mnist", "real", train_on_all=True)
    gated = split_sizes("mnist", "real", test_set_gates=True)
    assert on_all == SplitSizes(train=60_000, val=5_000, test=10_000)
    assert gated == SplitSizes(train=55_000, val=10_000, test=10_000)


@pytest.mark.parametrize("dataset", ["fashion_mnist", "cifar10"])
def test_of_the_others_the_authors_hold_5000_out_too(dataset: str) -> None:
    theirs = split_sizes(dataset, "real", test_set_gates=True, train_on_all=True)
    assert theirs == split_sizes(dataset, "real")
    assert (theirs.val, theirs.test) == (5_000, 10_000)


@pytest.mark.parametrize("baseline", ["train", "file", "none"])
def test_cifar10_holds_5000_out_of_training_for_a_baseline_of_our_own(baseline: str) -> None:
    assert split_sizes("cifar10", "real", baseline) == SplitSizes(train=45_000, val=5_000, test=10_000)


def test_cifar10_halves_the_test_set_for_a_published_baseline() -> None:
    assert split_sizes("cifar10", "real", "published") == SplitSizes(train=50_000, val=5_000, test=5_000)


def test_the_embedded_digits_are_1797_in_all() -> None:
    assert split_sizes("mnist", "embedded") == SplitSizes(train=1_200, val=297, test=300)


def test_published_sizes_count_the_held_out_examples_as_training() -> None:
    sizes = published_sizes("mnist", "real")
    assert (sizes.train, sizes.test, sizes.held_out) == (60_000, 10_000, 5_000)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("mist", "real"), "dataset is 'mist', but it must be one of mnist, fashion_mnist, cifar10"),
        (("mnist", "reel"), "source is 'reel', but it must be one of real, embedded, generated"),
    ],
)
def test_an_unknown_word_is_answered_with_the_known_ones(arguments: tuple[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        split_sizes(*arguments)


def test_sizes_and_the_download_script_do_not_import_torch() -> None:
    code = "import sys, sparsity.data.sizes, scripts.download; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(("source", "train", "test"), [("real", 4_468_840, 2_737), ("hub", 4_508_785, 3_003)])
def test_wmt14_has_the_published_sizes(source: str, train: int, test: int) -> None:
    assert split_sizes("wmt14", source) == SplitSizes(train, val=3_000, test=test)


def test_taskmaster1_is_estimated_until_it_is_counted(tmp_path: Path) -> None:
    assert split_sizes("taskmaster1", "real", data_dir=str(tmp_path)).train == 67_817
    (tmp_path / "taskmaster1").mkdir()
    counted = SplitSizes(train=3, val=2, test=1)
    record_num_pairs(str(tmp_path), "taskmaster1", False, counted)
    assert split_sizes("taskmaster1", "real", data_dir=str(tmp_path)) == counted
    by_position = split_sizes("taskmaster1", "real", data_dir=str(tmp_path), speakers_by_position=True)
    assert by_position.train == 67_817


def test_counts_of_the_other_pairing_are_kept(tmp_path: Path) -> None:
    (tmp_path / "taskmaster1").mkdir()
    for by_position, size in ((False, 3), (True, 4)):
        record_num_pairs(str(tmp_path), "taskmaster1", by_position, SplitSizes(size, 1, 1))
    assert split_sizes("taskmaster1", "real", data_dir=str(tmp_path)).train == 3


def test_imagenets_validation_images_gate_and_test() -> None:
    assert split_sizes("imagenet", "real") == SplitSizes(train=1_281_167, val=5_000, test=45_000)
    assert split_sizes("imagenet", "real", test_set_gates=True) == SplitSizes(train=1_281_167, val=5_000, test=50_000)


def test_the_sample_of_imagenet_tests_on_the_images_that_gate() -> None:
    assert split_sizes("imagenet", "sample") == SplitSizes(train=900, val=100, test=100)


def test_only_imagenet_has_a_sample() -> None:
    with pytest.raises(ValueError, match="source is 'sample', but it must be one of real, embedded, generated"):
        split_sizes("mnist", "sample")


def test_of_counts_recorded_at_the_same_time_none_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsity.data.sizes._PAIRINGS", [f"pairing {number}" for number in range(8)])
    together = Barrier(8)

    def record(number: int) -> None:
        together.wait(timeout=30)
        record_num_pairs(str(tmp_path), "taskmaster1", number, SplitSizes(number, 1, 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(record, range(8)))
    recorded = json.loads((tmp_path / "taskmaster1" / "num_pairs.json").read_text())
    assert {name: sizes["train"] for name, sizes in recorded.items()} == {f"pairing {n}": n for n in range(8)}
