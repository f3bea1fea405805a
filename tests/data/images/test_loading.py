"""Batches are what their images are, whoever loads them; damage is named, made up for, and limited."""

import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sparsity.data.images import loading
from sparsity.data.images.crops import Crop, EpochDraws
from sparsity.data.images.decoding import read
from sparsity.data.images.folders import list_classes
from sparsity.data.images.loading import IMAGES_PER_TASK, FolderSplit, Loader
from sparsity.data.published.download import DataError
from tests.data.images.jpegs import write_folder

CPU = torch.device("cpu")


@pytest.fixture
def split(tmp_path: Path) -> FolderSplit:
    """Twelve images of three classes."""
    write_folder(tmp_path / "train", num_classes=3, per_class=4)
    listing = list_classes(tmp_path / "train", tmp_path / "index")
    return FolderSplit(listing.root, listing.files, torch.from_numpy(listing.labels), "toy/train")


def loader(num_workers: int = 2, max_damaged: int = 0, in_processes: bool | None = None) -> Loader:
    return Loader(24, CPU, num_workers, max_damaged, in_processes)


def processes(reader: Loader) -> list[subprocess.Popen[bytes]] | None:
    """Those that decode for it now; None where threads do."""
    return None if reader._decoders is None else [decoder.process for decoder in reader._decoders._started]


def centre(split: FolderSplit, index: int) -> torch.Tensor:
    return torch.tensor(read(split.root / split.files[index], index, None, 24)).permute(2, 0, 1)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def damage(split: FolderSplit, *indices: int) -> None:
    for index in indices:
        path = split.root / split.files[index]
        path.write_bytes(path.read_bytes()[:200])


def test_a_batch_holds_the_images_asked_for_in_their_order(split: FolderSplit) -> None:
    images, labels = loader().submit(split, [7, 0, 11], None).result()
    assert labels.tolist() == [1, 0, 2]
    for image, index in zip(images, [7, 0, 11], strict=True):
        assert torch.equal(image, centre(split, index))


def test_a_split_is_known_by_names_labels_and_sizes_of_its_files_and_the_contents_of_some(
    split: FolderSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "NUM_CONTENTS", 1)
    first, last = (split.root / split.files[place] for place in (0, -1))
    digests = [split.digest(), replace(split, labels=split.labels.flip(0)).digest()]
    digests += [replace(split, files=[*split.files[:-1], name]).digest() for name in ("not there", "neither")]
    for path, size in ((first, first.stat().st_size), (last, 1)):
        path.write_bytes(bytes(size))
        digests.append(split.digest())
    assert len(set(digests)) == len(digests) == 6


def test_images_are_bytes_whose_channels_lie_together(split: FolderSplit) -> None:
    images, _ = loader().submit(split, [0, 1], None).result()
    assert images.shape == (2, 3, 24, 24) and images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("in_processes", [False, True])
@pytest.mark.parametrize("num_workers", [0, 1, 5])
def test_neither_number_nor_kind_of_the_workers_changes_anything(
    split: FolderSplit, num_workers: int, in_processes: bool
) -> None:
    crop, order = EpochDraws(0, "regularise", 3, 0.08).crop, [*range(11, -1, -1), *range(9)]
    for choose in (crop, None):
        expected = loader(in_processes=False).submit(split, order, choose).result()
        found = loader(num_workers, in_processes=in_processes).submit(split, order, choose).result()
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_more_than_three_workers_are_processes_which_start_when_they_are_needed(split: FolderSplit) -> None:
    assert processes(loader(3)) is None
    reader = loader(4)
    assert processes(reader) == []
    for _ in range(3):
        reader.submit(split, [0], None).result()
    assert len(processes(reader) or []) == 1


def test_processes_end_with_their_loader(split: FolderSplit) -> None:
    reader = loader(in_processes=True)
    reader.submit(split, [0], None).result()
    (process,) = processes(reader) or []
    assert process.poll() is None
    del reader
    wait_until(lambda: process.returncode is not None)


def test_a_process_that_is_killed_ends_the_run_with_one_sentence_and_the_next_goes_on(split: FolderSplit) -> None:
    reader = loader(1, in_processes=True)
    reader.submit(split, [0], None).result()
    (process,) = processes(reader) or []
    process.kill()
    sentence = (
        rf"^A process that decodes images ended with status -9, with {re.escape(str(split.root / split.files[5]))} and "
        r"the next 1 of its batch to read: if memory is short, lower machine\.num_workers; the same command goes on\.$"
    )
    with pytest.raises(DataError, match=sentence):
        reader.submit(split, [5, 6], None).result(timeout=60)
    assert reader.submit(split, [5, 6], None).result()[1].tolist() == [1, 1]


def test_processes_that_cannot_be_started_end_the_run_with_one_sentence(
    split: FolderSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(split.root / "none"))
    with pytest.raises(DataError, match=r"^A process that decodes images could not be started \(No such file"):
        loader(in_processes=True).submit(split, [0], None).result()


@pytest.mark.parametrize(("num_ranks", "used"), [(1, {"images_0", "images_1"}), (2, {"images_0"}), (5, {"images_0"})])
def test_there_are_as_many_workers_as_cores_that_this_process_may_use(
    split: FolderSplit, monkeypatch: pytest.MonkeyPatch, num_ranks: int, used: set[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setenv("RANK", "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, str(num_ranks))
    reader, names = loader(num_workers=0), set[str]()

    def noted(index: int, height: int, width: int) -> Crop:
        names.add(threading.current_thread().name)
        time.sleep(0.002)  # so that whoever waits takes the next ones
        return Crop(0, 0, height, width, False)

    reader.submit(split, list(range(12)) * IMAGES_PER_TASK, noted).result()  # a dozen tasks
    assert names == used


@pytest.fixture(params=[False, True], ids=["threads", "processes"])
def in_processes(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_the_next_readable_image_takes_the_place_of_a_damaged_one(split: FolderSplit, in_processes: bool) -> None:
    damage(split, 3, 4)
    images, labels = loader(max_damaged=2, in_processes=in_processes).submit(split, [2, 3], None).result()
    assert labels.tolist() == [0, 1]
    assert torch.equal(images[1], centre(split, 5))


def test_an_empty_file_is_a_damaged_image_like_another(
    split: FolderSplit, in_processes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = split.root / split.files[3]
    path.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert loader(max_damaged=1, in_processes=in_processes).submit(split, [3], None).result()[1].tolist() == [1]
    assert caplog.messages == [
        f"warning: {path} is damaged (cannot identify image file); the next image takes its place."
    ]
    with pytest.raises(DataError, match=r"^1 images are damaged, .*dataset\.max_damaged=0 allows no more"):
        loader(max_damaged=0, in_processes=in_processes).submit(split, [3], None).result()


def test_after_the_last_image_comes_the_first(split: FolderSplit, in_processes: bool) -> None:
    damage(split, 11)
    assert loader(max_damaged=1, in_processes=in_processes).submit(split, [11], None).result()[1].tolist() == [0]


def test_a_damaged_image_is_named_once(
    split: FolderSplit, in_processes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (split.root / split.files[3]).write_text("no image")
    reader = loader(max_damaged=1, in_processes=in_processes)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reader.submit(split, [3, 3], None).result()
    assert [record.message for record in caplog.records] == [
        f"warning: {split.root / split.files[3]} is damaged (cannot identify image file); "
        "the next image takes its place."
    ]


def test_more_damaged_images_than_are_allowed_end_the_run_with_one_sentence(
    split: FolderSplit, in_processes: bool
) -> None:
    damage(split, 3, 9)
    reader = loader(max_damaged=1, in_processes=in_processes)
    reader.submit(split, [3], None).result()
    sentence = (
        rf"^2 images are damaged, {re.escape(str(split.root / split.files[9]))} among them \(.*\), and "
        r"dataset\.max_damaged=1 allows no more: unpack the data set anew, or raise that number\.$"
    )
    with pytest.raises(DataError, match=sentence):
        reader.submit(split, [9], None).result()


def test_a_split_without_a_readable_image_is_refused(split: FolderSplit, in_processes: bool) -> None:
    damage(split, *range(12))
    with pytest.raises(DataError, match=r"toy/train holds no image that can be read"):
        loader(max_damaged=100, in_processes=in_processes).submit(split, [0], None).result()
