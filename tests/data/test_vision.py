"""Data sets are split as the protocol says, and batches come in a fixed order, normalised by the plain formula."""

import hashlib
from dataclasses import replace

import pytest
import torch

from sparsity.data.images.batches import EvaluationBatches, ImageBatches, ImageSplit
from sparsity.data.vision import ImageData, fashion_mnist, mnist
from sparsity.hardware.ranks import Part

MEAN, STD = (0.3, 0.6), (0.2, 0.4)


@pytest.fixture
def split() -> ImageSplit:
    """Ten two-channel images whose label is their index."""
    images = torch.randint(0, 256, (10, 2, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSplit(images, torch.arange(10), "toy/train")


def batches(split: ImageSplit, batch_size: int = 3, seed: int = 0, phase: str = "regularise") -> ImageBatches:
    return ImageBatches(split, MEAN, STD, batch_size, seed, phase)


def plain(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def rows(split: ImageSplit) -> set[bytes]:
    return {image.tobytes() for image in split.images.numpy()}


@pytest.mark.parametrize("build", [mnist, fashion_mnist])
def test_both_data_sets_share_the_embedded_twin_and_say_so(build) -> None:
    data = build("embedded", data_dir="unused")
    assert data.name == "digits"
    assert data.test.identity == "digits/test"
    assert data.checksums == {}


def test_sound_splits_of_the_digits_share_no_image() -> None:
    data = mnist("embedded", data_dir="unused")
    assert not rows(data.train) & rows(data.val)
    assert not rows(data.test) & (rows(data.train) | rows(data.val))


def test_sound_splits_are_named_after_the_held_out_part() -> None:
    data = mnist("embedded", data_dir="unused")
    assert (data.train.identity, data.val.identity) == ("digits/train-minus-heldout", "digits/heldout-297")
    assert (len(data.train), len(data.val), len(data.test)) == (1200, 297, 300)


def test_the_held_out_part_is_always_the_same() -> None:
    data = mnist("embedded", data_dir="unused")
    assert hashlib.md5(data.val.images.numpy().tobytes()).hexdigest() == "30c145426bd14a56b00f4f1376257c96"


def test_the_test_set_itself_may_gate() -> None:
    data, sound = mnist("embedded", data_dir="unused", test_set_gates=True), mnist("embedded", data_dir="unused")
    assert data.val.identity == data.test.identity == "digits/test"
    assert torch.equal(data.val.images, data.test.images)
    assert torch.equal(data.train.images, sound.train.images)


def test_all_images_may_train_those_that_gate_too() -> None:
    data = mnist("embedded", data_dir="unused", train_on_all=True)
    assert (data.train.identity, len(data.train), data.val.identity) == ("digits/train", 1497, "digits/heldout-297")
    assert rows(data.val) < rows(data.train)


def test_fashion_mnist_holds_out_of_training() -> None:
    assert fashion_mnist("embedded", data_dir="unused").val.identity == "digits/heldout-297"


def test_images_and_labels_stay_together_when_a_part_is_held_out() -> None:
    whole, sound = (mnist("embedded", "unused", train_on_all=on_all) for on_all in (True, False))
    label_of = {
        image.tobytes(): int(label) for image, label in zip(whole.train.images.numpy(), whole.train.labels, strict=True)
    }
    for part in (sound.train, sound.val):
        assert [label_of[image.tobytes()] for image in part.images.numpy()] == part.labels.tolist()


def test_generated_data_have_the_number_and_shape_of_the_real() -> None:
    data = mnist("generated", data_dir="unused")
    assert data.name == "generated-1x28x28"
    assert data.train.images.shape == (55_000, 1, 28, 28)
    assert (len(data.val), len(data.test)) == (5_000, 10_000)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of"):
        mnist("reel", data_dir="unused")


def test_to_moves_every_tensor(split: ImageSplit) -> None:
    data = ImageData("toy", split, split, split, MEAN, STD, 10, {}).to("meta")
    tensors = [tensor for part in (data.train, data.val, data.test) for tensor in (part.images, part.labels)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_every_index_comes_once_an_epoch(split: ImageSplit) -> None:
    assert sorted(batches(split).indices(epoch=4).tolist()) == list(range(10))


def test_order_is_the_same_for_equal_seed_phase_and_epoch(split: ImageSplit) -> None:
    torch.manual_seed(1)
    first = batches(split).indices(epoch=2)
    torch.manual_seed(2)
    later = batches(split)
    later.indices(epoch=1)
    assert torch.equal(first, later.indices(epoch=2))


@pytest.mark.parametrize("other", [{"seed": 1}, {"phase": "finetune"}])
def test_order_changes_with_seed_and_phase(split: ImageSplit, other: dict) -> None:
    assert not torch.equal(batches(split).indices(epoch=0), batches(split, **other).indices(epoch=0))


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_a_data_sets_batches_have_the_order_of_the_runs_seed_and_phase(split: ImageSplit, augment: str) -> None:
    data = ImageData("toy", split, split, split, MEAN, STD, 10, {}, augment=augment)
    found = data.training_batches(3, seed=5, kind="finetune").indices(epoch=0)
    assert torch.equal(found, batches(split, seed=5, phase="finetune").indices(epoch=0))


def test_order_changes_with_the_epoch(split: ImageSplit) -> None:
    stream = batches(split)
    assert not torch.equal(stream.indices(epoch=0), stream.indices(epoch=1))


def test_drawing_an_order_leaves_the_global_generator_alone(split: ImageSplit) -> None:
    before = torch.get_rng_state()
    batches(split).indices(epoch=0)
    assert torch.equal(before, torch.get_rng_state())


def test_the_last_partial_batch_of_an_epoch_is_dropped(split: ImageSplit) -> None:
    assert batches(split, batch_size=3).steps_per_epoch == 3
    assert batches(split, batch_size=5).steps_per_epoch == 2


def test_steps_walk_through_the_order_of_the_epoch(split: ImageSplit) -> None:
    stream = batches(split)
    labels = torch.cat([stream.batch(epoch=1, step=step)[1] for step in range(3)])
    assert torch.equal(labels, stream.indices(epoch=1)[:9])


def test_a_batch_is_normalised_by_the_plain_formula(split: ImageSplit) -> None:
    images, labels = batches(split).batch(epoch=0, step=0)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, plain(split.images[labels]), atol=1e-6, rtol=1e-6)


def test_a_batch_leaves_the_images_as_they_were(split: ImageSplit) -> None:
    before = split.images.clone()
    batches(split).batch(epoch=0, step=0)
    assert torch.equal(before, split.images)


def test_images_of_several_channels_come_channels_last(split: ImageSplit) -> None:
    images, _ = batches(split).batch(epoch=0, step=0)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_size_that_gives_no_batch_is_refused(split: ImageSplit, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}, but toy/train allows 1 to 10"):
        batches(split, batch_size=batch_size)


def test_evaluation_walks_the_whole_split_in_order_with_the_last_partial_batch(split: ImageSplit) -> None:
    parts = list(EvaluationBatches(split, MEAN, STD, batch_size=4))
    assert [len(labels) for _, labels in parts] == [4, 4, 2]
    assert torch.cat([labels for _, labels in parts]).tolist() == list(range(10))
    torch.testing.assert_close(torch.cat([images for images, _ in parts]), plain(split.images), atol=1e-6, rtol=1e-6)


def test_mnist_may_be_pixels_over_256_for_networks_that_were_trained_so() -> None:
    data = mnist("embedded", data_dir="unused", normalise="by_256")
    images, _ = next(iter(data.evaluation_batches(data.test)))
    assert torch.allclose(images, data.test.images[: len(images)] / 256)


def test_an_unknown_normalisation_of_mnist_is_named() -> None:
    with pytest.raises(ValueError, match=r"dataset\.normalise is 'imagenet', but it must be one of own, by_256"):
        mnist("embedded", data_dir="unused", normalise="imagenet")


@pytest.mark.parametrize("size", [2, 3])
def test_the_parts_of_a_batch_are_the_batch_and_weigh_as_much_as_they_hold(split: ImageSplit, size: int) -> None:
    whole, found, weights = batches(split).batch(epoch=1, step=0), [], []
    for place in range(size):
        stream = batches(split)
        stream.take(Part(place=place, size=size))
        found.append(stream.batch(epoch=1, step=0))
        weights.append(stream.weight)
    for place, (images, labels) in enumerate(found):
        assert torch.equal(images, whole[0][place::size]) and torch.equal(labels, whole[1][place::size])
    assert sum(weights) / size == pytest.approx(1) and weights[0] == size * len(found[0][1]) / len(whole[1])


def test_more_ranks_than_a_batch_has_examples_are_refused(split: ImageSplit) -> None:
    with pytest.raises(ValueError, match=r"^5 processes cannot share a batch of 3 examples: start fewer, or raise "):
        batches(split).take(Part(size=5))


@pytest.mark.parametrize("size", [2, 3, 11])
def test_the_shares_of_an_evaluation_are_the_whole_split(split: ImageSplit, size: int) -> None:
    whole = EvaluationBatches(split, MEAN, STD, batch_size=4)
    shares = [list(whole.share(place, size)) for place in range(size)]
    assert torch.cat([labels for share in shares for _, labels in share]).tolist() == list(range(10))
    images = torch.cat([images for share in shares for images, _ in share])
    assert torch.equal(images, torch.cat([images for images, _ in whole]))


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (torch.zeros(2, 1, 4, 4), torch.arange(2), r"images torch\.float32 of \(2, 1, 4, 4\)"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.arange(2), r"images torch\.uint8 of \(2, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(3), r"labels torch\.int64 of \(3,\)"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2.0), r"labels torch\.float32 of \(2,\)"),
    ],
)
def test_a_split_of_other_tensors_than_pixels_and_classes_is_refused(
    images: torch.Tensor, labels: torch.Tensor, said: str
) -> None:
    with pytest.raises(ValueError, match=rf"^toy/val has .*{said}.*: give torch\.uint8 of \(number, channels"):
        ImageSplit(images, labels, "toy/val")


def test_a_split_is_known_by_its_pixels_and_labels_in_their_order(split: ImageSplit) -> None:
    turned = replace(split, images=split.images.flip(0), labels=split.labels.flip(0))
    others = [replace(split, images=split.images ^ 1), replace(split, labels=split.labels.flip(0)), turned]
    assert len({of.digest() for of in (split, *others)}) == 4
    assert replace(split, identity="toy/other").digest() == split.digest()


def test_data_with_labels_that_are_no_classes_are_refused(split: ImageSplit) -> None:
    with pytest.raises(ValueError, match=r"^toy/train has labels from 0 to 9, but toy has 9 classes: give labels"):
        ImageData("toy", split, split, split, MEAN, STD, 9, {})


@pytest.mark.parametrize(("mean", "std"), [((0.3,), STD), (MEAN, (0.2, 0.4, 0.6)), (MEAN, (0.2, 0.0))])
def test_a_mean_and_a_deviation_are_one_per_channel(
    split: ImageSplit, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"^toy has mean .* give each a number per channel, 2, and those of std"):
        ImageData("toy", split, split, split, mean, std, 10, {})


@pytest.mark.parametrize(
    ("augment", "num_channels", "sentence"),
    [
        ("crop-flip", 2, r"^The augment of toy is 'crop-flip', but it must be one of none, crop_flip"),
        ("crop_flip", 5, r"^crop_flip takes images of up to 4 channels, and toy has 5\.$"),
    ],
)
def test_an_augmentation_that_nobody_knows_or_that_has_no_room_is_refused(
    split: ImageSplit, augment: str, num_channels: int, sentence: str
) -> None:
    wide = replace(split, images=split.images[:, :1].expand(-1, num_channels, -1, -1))
    numbers = (0.5,) * num_channels
    with pytest.raises(ValueError, match=sentence):
        ImageData("toy", wide, wide, wide, numbers, numbers, 10, {}, augment=augment)
