"""Streamed batches are a function of (seed, kind, epoch, step), wherever one begins, and are loaded ahead."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from sparsity.data.images import streaming
from sparsity.data.images.batches import Normalise
from sparsity.data.images.crops import EpochDraws
from sparsity.data.images.decoding import decode
from sparsity.data.images.folders import list_classes
from sparsity.data.images.loading import NUM_BATCHES_AHEAD, Batch, FolderSplit, Loader
from sparsity.data.images.streaming import MEAN, STD, Ahead, Reading, StreamedBatches, StreamedData
from sparsity.hardware.ranks import Part
from tests.data.images.jpegs import write_folder

NOWHERE = torch.tensor(0)


@pytest.fixture
def data(tmp_path: Path) -> StreamedData:
    """Twenty images of two classes to train on, six that gate and test."""
    splits = {}
    for name, per_class in (("train", 10), ("val", 3)):
        write_folder(tmp_path / name, num_classes=2, per_class=per_class)
        listing = list_classes(tmp_path / name, tmp_path / "index")
        labels = torch.from_numpy(listing.labels)
        splits[name] = FolderSplit(listing.root, listing.files, labels, f"toy/{name}")
    reading = Reading(size=24, num_workers=2)
    test = FolderSplit(splits["val"].root, splits["val"].files, splits["val"].labels, "toy/test")
    return StreamedData("toy", splits["train"], splits["val"], test, 2, {}, reading).to("cpu")


def batches(data: StreamedData, seed: int = 0, kind: str = "regularise") -> StreamedBatches:
    return data.training_batches(3, seed, kind)


def epoch(stream: StreamedBatches, number: int, first: int = 0) -> list[tuple[Tensor, Tensor]]:
    stream.start_epoch(number)
    return [stream.at(NOWHERE, step) for step in range(first, stream.steps_per_epoch)]


def test_the_last_partial_batch_of_an_epoch_is_dropped(data: StreamedData) -> None:
    assert batches(data).steps_per_epoch == 6


def test_an_epoch_that_begins_in_its_middle_goes_on_as_one_from_the_start(data: StreamedData) -> None:
    whole, rest = epoch(batches(data), 2), epoch(batches(data), 2, first=4)
    for expected, found in zip(whole[4:], rest, strict=True):
        assert torch.equal(expected[0], found[0]) and torch.equal(expected[1], found[1])


def test_what_went_before_the_middle_of_an_epoch_is_not_read(
    data: StreamedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def watched(path: Path) -> Image.Image:
        read.append(path)
        return decode(path)

    monkeypatch.setattr("sparsity.data.images.decoding.decode", watched)
    epoch(batches(data), 2, first=4)
    assert len(read) == 2 * 3


FIXED: dict[str, tuple[str, Callable[..., Any]]] = {
    "order": ("EpochDraws", lambda *place: EpochDraws(0, "", 0, place[-1])),
    "crops": ("epoch_generator", lambda *_: torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize(("name", "fixed"), FIXED.values(), ids=FIXED)
def test_order_and_crops_change_with_seed_kind_and_epoch_each_for_itself(
    data: StreamedData, monkeypatch: pytest.MonkeyPatch, name: str, fixed: Callable[..., Any]
) -> None:
    monkeypatch.setattr(streaming, name, fixed)  # the other one is left
    first = epoch(batches(data), 0)[0][0]
    others = [epoch(batches(data, seed=1), 0), epoch(batches(data, kind="finetune"), 0), epoch(batches(data), 1)]
    assert not any(torch.equal(first, other[0][0]) for other in others)


def test_images_are_read_as_the_settings_say(data: StreamedData, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, ...]] = []
    kinds: list[Any] = [Loader, EpochDraws]
    for kind in kinds:
        monkeypatch.setattr(streaming, kind.__name__, lambda *how, kind=kind: made.append(how) or kind(*how))  # type: ignore[func-returns-value]
    reading = Reading(size=24, min_area=0.5, max_damaged=3, num_workers=2)
    batches(replace(data, reading=reading).to("cpu"), seed=4).start_epoch(5)
    assert made == [(24, torch.device("cpu"), 2, 3), (4, "regularise", 5, 0.5)]


def test_no_image_comes_twice_in_an_epoch(data: StreamedData, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = batches(data)
    stream.start_epoch(0)
    assert sorted(stream._order.tolist()) == list(range(20))


def test_batches_are_normalised_by_imagenets_mean_and_deviation(data: StreamedData) -> None:
    images, labels = next(iter(data.evaluation_batches(data.test)))
    raw, _ = Loader(24, torch.device("cpu"), 1, 0).submit(data.test, list(range(6)), None).result()
    torch.testing.assert_close(images, Normalise(MEAN, STD, torch.device("cpu"))(raw))
    assert images.dtype == torch.float32 and images.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_an_evaluation_passes_over_the_whole_split_in_order(
    data: StreamedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "EVALUATION_BATCH_SIZE", 4)
    parts = [labels.tolist() for _, labels in data.evaluation_batches(data.test)]
    assert parts == [[0, 0, 0, 1], [1, 1]]


def test_images_that_gate_are_read_once(data: StreamedData) -> None:
    first = [images for images, _ in data.evaluation_batches(data.val)]
    assert list(data.evaluation_batches(data.test)) and {name for name, _ in data.kept} == {"toy/val"}
    for file in data.val.files:
        (data.val.root / file).unlink()
    again = [images for images, _ in data.evaluation_batches(data.val)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_an_evaluation_that_was_broken_off_is_not_taken_for_whole(
    data: StreamedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "EVALUATION_BATCH_SIZE", 4)
    next(iter(data.evaluation_batches(data.val)))
    assert len(list(data.evaluation_batches(data.val))) == 2


@pytest.mark.parametrize("batch_size", [0, 21])
def test_a_batch_size_that_gives_no_batch_is_refused(data: StreamedData, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}, but toy/train allows 1 to 20"):
        data.training_batches(batch_size, 0, "regularise")


def test_batches_to_come_are_under_way_and_no_more_than_there_are() -> None:
    submitted: list[int] = []

    def submit(place: int) -> "Future[Batch]":
        submitted.append(place)
        future: Future[Batch] = Future()
        future.set_result((torch.tensor(place), torch.tensor(place)))
        return future

    ahead = Ahead(submit, num_batches=NUM_BATCHES_AHEAD + 3)
    assert int(ahead.at(0)[0]) == 0
    assert submitted == list(range(NUM_BATCHES_AHEAD + 1))
    assert [int(ahead.at(place)[0]) for place in range(1, NUM_BATCHES_AHEAD + 3)] == list(range(1, 7))
    assert submitted == list(range(NUM_BATCHES_AHEAD + 3))


@pytest.mark.parametrize("part", [Part(place=1, size=2), Part(first=1, stride=3), Part(1, 2, 2, 3)])
def test_a_part_is_of_the_same_batches_and_loads_no_other(data: StreamedData, part: Part) -> None:
    whole, stream = epoch(batches(data), 2), batches(data)
    stream.take(part)
    stream.start_epoch(2)
    submitted: list[int] = []
    submit = stream._submit
    stream._ahead = Ahead(lambda place: submitted.append(place) or submit(place), len(stream._steps))  # type: ignore[func-returns-value]
    for place, step in enumerate(range(part.first, len(whole), part.stride)):
        images, labels = stream.at(NOWHERE, step)
        assert torch.equal(images, whole[step][0][part.examples]) and torch.equal(labels, whole[step][1][part.examples])
        assert submitted == list(range(len(submitted))) and len(submitted) > place
    assert stream.weight == part.size * len(labels) / 3


def test_a_share_of_an_evaluation_is_read_once_and_the_shares_are_the_whole(data: StreamedData) -> None:
    whole = torch.cat([images for images, _ in data.evaluation_batches(data.val)])
    shares = [data.evaluation_batches(data.val).share(place, 4) for place in range(4)]
    for _ in range(2):
        assert torch.equal(torch.cat([images for share in shares for images, _ in share]), whole)
    assert sum(len(labels) for kept in data.kept.values() for _, labels in kept) == 2 * len(data.val)
