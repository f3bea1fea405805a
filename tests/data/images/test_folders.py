"""Images are listed by class and name, labelled as torchvision labels them, and listed only once."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from torchvision.datasets import ImageFolder

from sparsity.data.images.folders import is_flat, list_classes, list_flat
from sparsity.data.published.download import DataError
from tests.data.images.jpegs import write_folder

WNIDS = ("n01", "n02", "n03")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "train", num_classes=3, per_class=4)
    return tmp_path / "train"


def test_files_and_labels_are_those_of_torchvisions_image_folder(folder: Path, tmp_path: Path) -> None:
    ours, theirs = list_classes(folder, tmp_path / "index"), ImageFolder(str(folder))
    assert [(str(folder / file), label) for file, label in zip(ours.files, ours.labels, strict=True)] == theirs.samples
    assert list(ours.classes) == theirs.classes


def test_what_is_no_image_is_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "class0" / "README.txt").write_text("no image")
    (folder / "notes.txt").write_text("no class")
    assert len(list_classes(folder, tmp_path / "index")) == 12


def test_names_that_begin_with_a_dot_are_left_out(folder: Path, tmp_path: Path) -> None:
    before = list_classes(folder, tmp_path / "index")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "000.JPEG").touch()
    (folder / "class1" / "._005.JPEG").touch()
    after = list_classes(folder, tmp_path / "index")
    assert (after.files, after.classes, after.digest) == (before.files, before.classes, before.digest)


def test_a_folder_is_listed_only_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = list_classes(folder, tmp_path / "index")
    monkeypatch.setattr("sparsity.data.images.folders._listed", lambda folders: pytest.fail("listed again"))
    again = list_classes(folder, tmp_path / "index")
    assert (again.files, again.digest) == (first.files, first.digest)


def test_a_folder_that_has_changed_is_listed_again(folder: Path, tmp_path: Path) -> None:
    first = list_classes(folder, tmp_path / "index")
    (folder / "class1" / "005.JPEG").unlink()
    again = list_classes(folder, tmp_path / "index")
    assert (len(first), len(again)) == (12, 11)
    assert again.digest != first.digest


def test_two_folders_have_two_indices(folder: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "val", num_classes=3, per_class=1)
    list_classes(folder, tmp_path / "index")
    assert len(list_classes(tmp_path / "val", tmp_path / "index")) == 3


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "n01").mkdir(parents=True)
    with pytest.raises(DataError, match=r"train holds no image in folders of its classes .*: check its place\."):
        list_classes(tmp_path / "train", tmp_path / "index")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train cannot be listed \(No such file or directory\)"):
        list_classes(tmp_path / "train", tmp_path / "index")


def write_flat(root: Path, ids: list[int]) -> None:
    """A flat validation folder and the kit: class n01 is number 3 there, n02 is 1 and n03 is 2; 4 is no leaf."""
    (root / "val").mkdir()
    for number in range(1, len(ids) + 1):
        (root / "val" / f"ILSVRC2012_val_{number:08}.JPEG").write_bytes(b"")
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in ids))
    rows = [(1, "n02", 0), (2, "n03", 0), (3, "n01", 0), (4, "n00", 3)]
    kinds = [("ILSVRC2012_ID", "f8"), ("WNID", "U9"), ("num_children", "f8")]
    synsets = np.array(rows, dtype=[(name, kind) for name, kind in kinds])
    savemat(kit / "meta.mat", {"synsets": synsets.astype([(name, object) for name, _ in kinds])})


def test_a_flat_folder_is_labelled_by_the_kit_and_ordered_by_class_and_name(tmp_path: Path) -> None:
    write_flat(tmp_path, ids=[3, 1, 3, 2])
    listing = list_flat(tmp_path / "val", tmp_path, WNIDS)
    assert [file[-6] for file in listing.files] == ["1", "3", "2", "4"]
    assert listing.labels.tolist() == [0, 0, 1, 2]


def test_a_flat_folder_is_known_by_its_names(tmp_path: Path) -> None:
    write_flat(tmp_path, ids=[1])
    write_folder(tmp_path / "train", num_classes=1, per_class=1)
    assert is_flat(tmp_path / "val") and not is_flat(tmp_path / "train")


def test_a_missing_kit_is_said_with_both_ways_out(tmp_path: Path) -> None:
    write_flat(tmp_path, ids=[1])
    (tmp_path / "ILSVRC2012_devkit_t12/data/meta.mat").unlink()
    with pytest.raises(DataError, match=r"meta\.mat is missing.*unpack ILSVRC2012_devkit_t12\.tar\.gz.*or sort"):
        list_flat(tmp_path / "val", tmp_path, WNIDS)


def test_some_images_of_some_classes_are_labelled_as_all_are(tmp_path: Path) -> None:
    write_flat(tmp_path, ids=[3, 1, 3, 2])
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    listing = list_flat(tmp_path / "val", tmp_path, ("n01", "n03"))
    assert [file[-6] for file in listing.files] == ["3", "4"]
    assert listing.labels.tolist() == [0, 1]


def test_an_image_that_the_kit_does_not_label_is_named(tmp_path: Path) -> None:
    write_flat(tmp_path, ids=[1, 2])
    (tmp_path / "val" / "ILSVRC2012_val_00000003.JPEG").touch()
    with pytest.raises(DataError, match=r"val_00000003\.JPEG is not among the 2 images that .* labels: remove it\."):
        list_flat(tmp_path / "val", tmp_path, WNIDS)


def test_a_copy_of_a_flat_image_under_another_name_is_no_image(tmp_path: Path) -> None:
    write_flat(tmp_path, ids=[1])
    for name in ("._ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000001 (1).JPEG"):
        (tmp_path / "val" / name).touch()
    assert list_flat(tmp_path / "val", tmp_path, WNIDS).files == ("ILSVRC2012_val_00000001.JPEG",)
