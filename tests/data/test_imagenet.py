"""ImageNet's images train, gate and test as the protocol says, in either layout, and say what they are."""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsity.data import imagenet as module
from sparsity.data.imagenet import find_folder, imagenet
from sparsity.data.images.arrays import balanced_draw
from sparsity.data.images.folders import Listing, list_classes
from sparsity.data.images.loading import FolderSplit
from sparsity.data.images.noise import NoiseData
from sparsity.data.images.streaming import Reading, StreamedData
from sparsity.data.published.download import DataError
from sparsity.data.sizes import SplitSizes, split_sizes
from tests.data.images.jpegs import write_folder


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An ImageNet of 3 classes, 4 images each to train on and 6 to validate, of which 6 gate."""
    monkeypatch.delenv("SPARSITY_DATA_MIRROR", raising=False)
    write_folder(tmp_path / "imagenet" / "train", num_classes=3, per_class=4)
    write_folder(tmp_path / "imagenet" / "val", num_classes=3, per_class=6)
    monkeypatch.setattr(module, "split_sizes", lambda dataset, source, test_set_gates: SIZES[test_set_gates])
    return str(tmp_path)


SIZES = {False: SplitSizes(12, 6, 12), True: SplitSizes(12, 6, 18)}


def real(data_dir: str, test_set_gates: bool = False) -> StreamedData:
    data = imagenet("real", data_dir, test_set_gates=test_set_gates)
    assert isinstance(data, StreamedData)
    return data


def paths(split: FolderSplit) -> set[str]:
    return {f"{split.root}/{file}" for file in split.files}


def test_sound_gates_on_as_many_images_of_each_class_and_tests_on_the_others(data_dir: str) -> None:
    data = real(data_dir)
    assert data.val.labels.bincount().tolist() == [2, 2, 2]
    assert data.test.labels.bincount().tolist() == [4, 4, 4]
    assert not paths(data.val) & paths(data.test)


def test_sound_reports_the_whole_validation_set_too_under_a_name_that_says_what_it_is(data_dir: str) -> None:
    data = real(data_dir)
    assert list(data.extra_tests) == ["whole_validation_set_with_gate"]
    assert paths(data.extra_tests["whole_validation_set_with_gate"]) == paths(data.val) | paths(data.test)


def test_authors_gate_on_the_first_images_of_the_sorted_folder_and_test_on_all(data_dir: str) -> None:
    data = real(data_dir, test_set_gates=True)
    assert data.val.labels.tolist() == [0] * 6
    assert paths(data.val) < paths(data.test) and len(data.test) == 18
    assert data.extra_tests == {}


def test_the_splits_say_what_they_are(data_dir: str) -> None:
    sound, authors = real(data_dir), real(data_dir, test_set_gates=True)
    assert sound.train.identity == authors.train.identity == "imagenet/train"  # what the published weights saw
    assert (sound.val.identity, authors.val.identity) == (
        "imagenet/validation-stratified-6",
        "imagenet/validation-first-6",
    )
    assert (sound.test.identity, authors.test.identity) == (
        "imagenet/validation-minus-stratified-6",
        "imagenet/validation",
    )
    assert set(sound.checksums) == {"imagenet/train (names)", "imagenet/val (names)"}


def test_the_gate_of_the_real_data_set_is_five_images_of_each_class_and_always_the_same() -> None:
    labels = np.repeat(np.arange(1000), 50)
    drawn = balanced_draw(labels, 5_000, 5000, 1000)
    assert np.bincount(labels[drawn]).tolist() == [5] * 1000
    assert drawn[:6].tolist() == [0, 3, 11, 19, 32, 58]


def test_images_are_read_as_the_builder_is_told(data_dir: str) -> None:
    data = imagenet("real", data_dir, image_size=56, min_area=0.5, max_damaged=3, num_workers=2)
    assert isinstance(data, StreamedData) and data.reading == Reading(56, 0.5, 3, 2)


def test_a_flat_validation_folder_gives_the_same_images_as_one_of_classes(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = list_classes(Path(data_dir, "imagenet/val"), Path(data_dir, "index"))
    flat = replace(listing, files=tuple(f"flat{place}" for place in range(18)))
    monkeypatch.setattr(module, "is_flat", lambda root: True)
    monkeypatch.setattr(module, "list_flat", lambda root, devkit, classes: flat)
    assert real(data_dir).val.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_images_fewer_than_published_are_said(data_dir: str, caplog: pytest.LogCaptureFixture) -> None:
    Path(data_dir, "imagenet/train/class0/000.JPEG").unlink()
    with caplog.at_level(logging.WARNING):
        real(data_dir)
    assert [record.message for record in caplog.records] == [
        f"warning: {data_dir}/imagenet gives 11 images to train, but the data set has 12: the results are of these "
        "images."
    ]


def test_validation_images_of_other_classes_are_refused(data_dir: str) -> None:
    shutil.copytree(Path(data_dir, "imagenet/val/class0"), Path(data_dir, "imagenet/val/more"))
    with pytest.raises(DataError, match=r"val has images of 1 classes that .*train has not, more among them: remove"):
        real(data_dir)


def test_a_class_without_validation_images_keeps_its_number(data_dir: str) -> None:
    shutil.rmtree(Path(data_dir, "imagenet/val/class1"))
    data = real(data_dir)
    assert data.num_classes == 3
    assert {name.split("/")[0]: int(label) for name, label in zip(data.test.files, data.test.labels, strict=True)} == {
        "class0": 0,
        "class2": 2,
    }


@pytest.mark.parametrize(
    ("per_class", "gate", "test"),
    [(1, [1, 0, 0], [0, 1, 1]), (2, [1, 1, 1], [1, 1, 1]), (4, [1, 1, 1], [3, 3, 3]), (50, [5, 5, 5], [45, 45, 45])],
)
def test_of_a_subset_a_tenth_gates_or_one_image_of_each_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_class: int, gate: list[int], test: list[int]
) -> None:
    monkeypatch.delenv("SPARSITY_DATA_MIRROR", raising=False)
    for part, number in (("train", 1), ("val", per_class)):
        for label in range(3):
            folder = tmp_path / "imagenet" / part / f"class{label}"
            folder.mkdir(parents=True)
            for place in range(number):
                (folder / f"{place}.JPEG").touch()
    data = real(str(tmp_path))
    assert data.val.labels.bincount(minlength=3).tolist() == gate
    assert data.test.labels.bincount(minlength=3).tolist() == test
    assert len(real(str(tmp_path), test_set_gates=True).val) == sum(gate)


def test_the_whole_validation_set_keeps_its_division() -> None:
    every = Listing(Path(), tuple(map(str, range(50_000))), np.arange(50_000) % 1000, tuple(map(str, range(1000))))
    for test_set_gates in (False, True):
        sizes = split_sizes("imagenet", "real", test_set_gates=test_set_gates)
        assert module._num_held_out(every, sizes, test_set_gates) == 5_000


def test_a_single_validation_image_is_too_few(data_dir: str) -> None:
    for path in sorted(Path(data_dir, "imagenet/val").glob("*/*.JPEG"))[1:]:
        path.unlink()
    for test_set_gates in (False, True):
        with pytest.raises(DataError, match=r"imagenet/val holds 1 images of the training classes, too few to"):
            real(data_dir, test_set_gates)


@pytest.mark.parametrize("source", ["real", "sample"])
def test_published_weights_are_not_scored_on_classes_of_other_numbers(data_dir: str, source: str) -> None:
    write_folder(Path(data_dir, "imagenet-sample"), num_classes=3, per_class=4)
    with pytest.raises(DataError, match=r"has 3 classes, whose numbers are not those that the published weights give"):
        imagenet(source, data_dir, baseline="published")


def test_names_that_begin_with_a_dot_are_neither_classes_nor_images(data_dir: str) -> None:
    for part in ("train", "val"):
        shutil.copytree(
            Path(data_dir, "imagenet", part, "class0"), Path(data_dir, "imagenet", part, ".ipynb_checkpoints")
        )
        Path(data_dir, "imagenet", part, "class0", "._000.JPEG").touch()
    data = real(data_dir)
    assert (len(data.train), len(data.val), len(data.test), data.num_classes) == (12, 6, 12, 3)


def test_missing_data_are_answered_with_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(DataError) as caught:
        imagenet("real", str(tmp_path))
    assert str(caught.value) == (
        f"There is no {tmp_path}/imagenet and no {tmp_path}/mirror/imagenet: get the training and validation images of "
        "ILSVRC2012 at https://image-net.org/download (it takes an account) and unpack them as "
        f"{tmp_path}/imagenet/train/WNID/*.JPEG and {tmp_path}/imagenet/val/WNID/*.JPEG."
    )


def test_a_missing_sample_is_asked_for_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSITY_DATA_MIRROR", raising=False)
    with pytest.raises(DataError) as caught:
        imagenet("sample", str(tmp_path))
    assert str(caught.value) == (
        f"There is no {tmp_path}/imagenet-sample: put one image of each class of ILSVRC2012 "
        "(https://image-net.org/download, it takes an account) there as "
        f"{tmp_path}/imagenet-sample/WNID/*.JPEG, with neither train nor val between."
    )


def test_of_a_smaller_sample_a_tenth_is_held_out_too_and_it_is_said_that_no_others_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path / "imagenet-sample", num_classes=10, per_class=2)
    data = imagenet("sample", str(tmp_path))
    (said,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    root = tmp_path / "imagenet-sample"
    assert said == f"warning: 2 images of {root} both gate and test: no accuracy on them is a result."
    assert (len(data.train), len(data.val), data.val.identity) == (18, 2, "imagenet-sample/heldout-2")


def test_the_mirror_folder_is_taken_where_the_data_folder_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror" / "imagenet").mkdir(parents=True)
    assert find_folder("imagenet", str(tmp_path), "") == tmp_path / "mirror" / "imagenet"
    (tmp_path / "imagenet").mkdir()
    assert find_folder("imagenet", str(tmp_path), "") == tmp_path / "imagenet"


def test_the_twin_goes_the_way_of_the_real_data_set(tmp_path: Path) -> None:
    data = imagenet("embedded", str(tmp_path), image_size=28)
    assert isinstance(data, StreamedData)
    assert (len(data.train), len(data.val), len(data.test), data.num_classes) == (600, 150, 150, 10)
    assert data.train.identity == "embedded-figures/train"
    assert data.val.labels.bincount().tolist() == [15] * 10
    images, labels = next(iter(data.to("cpu").evaluation_batches(data.val)))
    assert images.shape[1:] == (3, 28, 28) and int(labels[0]) == 0


def test_the_twin_is_drawn_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet("embedded", str(tmp_path), image_size=28)
    monkeypatch.setattr("sparsity.data.images.drawn_folder.draw_shapes", lambda *_: pytest.fail("drawn again"))
    imagenet("embedded", str(tmp_path), image_size=28)


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source is 'reel', but it must be one of"):
        imagenet("reel", str(tmp_path))


def test_generated_images_stand_for_as_many_as_the_data_set_has() -> None:
    data = imagenet("generated", "unused", image_size=14)
    assert isinstance(data, NoiseData)
    assert (len(data.train), len(data.val), len(data.test)) == (1_281_167, 5_000, 5_000)
    assert data.training_batches(100, seed=0, kind="regularise").steps_per_epoch == 12_811


def test_the_pool_begins_again_at_its_end() -> None:
    data = imagenet("generated", "unused", image_size=14)
    assert isinstance(data, NoiseData)
    _, labels = data.part(510, 4)
    assert labels.tolist() == [510, 511, 0, 1]
    batches = data.training_batches(100, seed=0, kind="regularise")
    assert torch.equal(batches.at(torch.tensor(0), 5)[1], torch.arange(500, 600) % 512)


def test_an_evaluation_of_the_pool_has_as_many_images_as_the_split() -> None:
    data = imagenet("generated", "unused", image_size=14)
    split = replace(data.test, num_images=250)
    assert [len(labels) for _, labels in data.evaluation_batches(split)] == [100, 100, 50]


@pytest.fixture
def sample(tmp_path: Path) -> StreamedData:
    if "SPARSITY_DATA_MIRROR" not in os.environ:
        pytest.skip("SPARSITY_DATA_MIRROR is not set")
    data = imagenet("sample", str(tmp_path))
    assert isinstance(data, StreamedData)
    return data


def test_the_sample_trains_on_900_images_and_holds_out_100(sample: StreamedData) -> None:
    assert (len(sample.train), len(sample.val), sample.num_classes) == (900, 100, 1000)
    assert not paths(sample.train) & paths(sample.val)
    assert sample.val.identity == sample.test.identity == "imagenet-sample/heldout-100"
    assert sample.train.identity == "imagenet-sample/train-900"


def test_images_of_the_sample_become_batches_of_the_networks_size(sample: StreamedData) -> None:
    batches = sample.to("cpu").training_batches(8, seed=0, kind="regularise")
    batches.start_epoch(0)
    images, labels = batches.at(torch.tensor(0), 0)
    assert images.shape == (8, 3, 224, 224) and labels.max() < 1000
    assert -2.2 < float(images.min()) < float(images.max()) < 2.7
