"""Batches are what their images are, whoever loads them; damage is named, made up for, and limited."""

import logging
import os
import re
import threading
import time
from pathlib import Path

import pytest
import torch

from sparsity.data.images.crops import Crop, EpochDraws
from sparsity.data.images.decoding import central, decode
from sparsity.data.images.folders import list_classes
from sparsity.data.images.loading import FolderSplit, Loader
from sparsity.data.published.download import DataError
from tests.data.images.jpegs import write_folder

CPU = torch.device("cpu")


@pytest.fixture
def split(tmp_path: Path) -> FolderSplit:
    """Twelve images of three classes."""
    write_folder(tmp_path / "train", num_classes=3, per_class=4)
    listing = list_classes(tmp_path / "train", tmp_path / "index")
    return FolderSplit(listing.root, listing.files, torch.from_numpy(listing.labels), "toy/train")


def loader(num_workers: int = 2, max_damaged: int = 0, size: int = 24) -> Loader:
    return Loader(size, CPU, num_workers=num_workers, max_damaged=max_damaged)


def damage(split: FolderSplit, *indices: int) -> None:
    for index in indices:
        path = split.root / split.files[index]
        path.write_bytes(path.read_bytes()[:200])


def test_a_batch_holds_the_images_asked_for_in_their_order(split: FolderSplit) -> None:
    images, labels = loader().submit(split, [7, 0, 11], None).result()
    assert labels.tolist() == [1, 0, 2]
    for image, index in zip(images, [7, 0, 11], strict=True):
        assert torch.equal(image, central(decode(split.root / split.files[index]), 24))


def test_images_are_bytes_whose_channels_lie_together(split: FolderSplit) -> None:
    images, _ = loader().submit(split, [0, 1], None).result()
    assert images.shape == (2, 3, 24, 24) and images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("num_workers", [0, 1, 5])
def test_the_number_of_workers_changes_nothing(split: FolderSplit, num_workers: int) -> None:
    crop = EpochDraws(0, "regularise", 3, 0.08).crop
    expected, _ = loader(num_workers=2).submit(split, list(range(12)), crop).result()
    found, _ = loader(num_workers=num_workers).submit(split, list(range(12)), crop).result()
    assert torch.equal(found, expected)


def test_there_are_as_many_workers_as_cores_that_this_process_may_use(
    split: FolderSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    reader, names = loader(num_workers=0), set[str]()

    def noted(index: int, height: int, width: int) -> Crop:
        names.add(threading.current_thread().name)
        time.sleep(0.01)  # so that whoever waits takes the next one
        return Crop(0, 0, height, width, False)

    reader.submit(split, list(range(12)), noted).result()
    assert names <= {"images_0", "images_1"}


def test_the_next_readable_image_takes_the_place_of_a_damaged_one(split: FolderSplit) -> None:
    damage(split, 3, 4)
    images, labels = loader(max_damaged=2).submit(split, [2, 3], None).result()
    assert labels.tolist() == [0, 1]
    assert torch.equal(images[1], central(decode(split.root / split.files[5]), 24))


def test_an_empty_file_is_a_damaged_image_like_another(split: FolderSplit, caplog: pytest.LogCaptureFixture) -> None:
    path = split.root / split.files[3]
    path.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert loader(max_damaged=1).submit(split, [3], None).result()[1].tolist() == [1]
    assert caplog.messages == [
        f"warning: {path} is damaged (cannot identify image file); the next image takes its place."
    ]
    with pytest.raises(DataError, match=r"^1 images are damaged, .*dataset\.max_damaged=0 allows no more"):
        loader(max_damaged=0).submit(split, [3], None).result()


def test_after_the_last_image_comes_the_first(split: FolderSplit) -> None:
    damage(split, 11)
    assert loader(max_damaged=1).submit(split, [11], None).result()[1].tolist() == [0]


def test_a_damaged_image_is_named_once(split: FolderSplit, caplog: pytest.LogCaptureFixture) -> None:
    (split.root / split.files[3]).write_text("no image")
    reader = loader(max_damaged=1)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reader.submit(split, [3, 3], None).result()
    assert [record.message for record in caplog.records] == [
        f"warning: {split.root / split.files[3]} is damaged (cannot identify image file); "
        "the next image takes its place."
    ]


def test_more_damaged_images_than_are_allowed_end_the_run_with_one_sentence(split: FolderSplit) -> None:
    damage(split, 3, 9)
    reader = loader(max_damaged=1)
    reader.submit(split, [3], None).result()
    sentence = (
        rf"^2 images are damaged, {re.escape(str(split.root / split.files[9]))} among them \(.*\), and "
        r"dataset\.max_damaged=1 allows no more: unpack the data set anew, or raise that number\.$"
    )
    with pytest.raises(DataError, match=sentence):
        reader.submit(split, [9], None).result()


def test_a_split_without_a_readable_image_is_refused(split: FolderSplit) -> None:
    damage(split, *range(12))
    with pytest.raises(DataError, match=r"toy/train holds no image that can be read"):
        loader(max_damaged=100).submit(split, [0], None).result()
