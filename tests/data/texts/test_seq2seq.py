"""Batches of text pairs: shifted, padded and masked as the task needs them, the same at every start."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sparsity.data.texts import seq2seq
from sparsity.data.texts.seq2seq import (
    EvaluationText,
    Layout,
    TextBatches,
    TextSplit,
    assemble,
)
from sparsity.data.texts.token_arrays import from_rows
from sparsity.hardware.ranks import Part
from sparsity.special_tokens import BOS_ID, EOS_ID, IGNORED, PAD_ID

CPU = torch.device("cpu")
EXACT, WITH_PADDING = Layout(multiple=1), Layout(padding_counts=True)


def text(*words: int) -> list[int]:
    return [BOS_ID, *words, EOS_ID]


@pytest.fixture
def split() -> TextSplit:
    """Two pairs: 10 11 -> 20 21 22, and 12 -> 23."""
    sources, targets = [text(10, 11), text(12)], [text(20, 21, 22), text(23)]
    return TextSplit("toy/train", from_rows(sources), from_rows(targets), ["one", "two"])


def many(size: int = 40) -> TextSplit:
    """Pairs of random lengths; the first word of a source is its index."""
    random = np.random.default_rng(0)
    sources = [text(index + 10, *[7] * int(random.integers(1, 30))) for index in range(size)]
    return TextSplit("many/train", from_rows(sources), from_rows(sources), [str(index) for index in range(size)])


def batches(split: TextSplit, batch_size: int = 4, batch_by: str = "sentences") -> TextBatches:
    return TextBatches(split, batch_size, 0, "regularise", batch_by, Layout(), CPU)


def at(stream: TextBatches, step: int) -> torch.Tensor:
    return stream.at(torch.tensor(step), step).input_ids


def test_a_split_is_known_by_its_tokens_their_texts_and_its_references(split: TextSplit) -> None:
    moved, other = (
        replace(split.sources, offsets=np.array([0, 3, 7])),
        replace(split.targets, flat=split.targets.flat + 1),
    )
    others = [replace(split, sources=moved), replace(split, targets=other), replace(split, references=["one", "too"])]
    assert len({of.digest() for of in (split, *others)}) == 4


def test_sources_are_padded_and_masked(split: TextSplit) -> None:
    batch = assemble(split, np.array([0, 1]), EXACT, CPU)
    assert batch.input_ids.tolist() == [[0, 10, 11, 2], [0, 12, 2, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_labels_end_with_eos_and_padding_is_ignored(split: TextSplit) -> None:
    batch = assemble(split, np.array([0, 1]), EXACT, CPU)
    assert batch.labels.tolist() == [[20, 21, 22, EOS_ID], [23, EOS_ID, IGNORED, IGNORED]]
    assert batch.counted.tolist() == [0, 1, 2, 3, 4, 5]


def test_the_decoder_reads_the_labels_one_place_later_behind_one_bos(split: TextSplit) -> None:
    decoder_inputs = assemble(split, np.array([0, 1]), EXACT, CPU).decoder_input_ids
    assert decoder_inputs.tolist() == [[BOS_ID, 20, 21, 22], [BOS_ID, 23, EOS_ID, PAD_ID]]


def test_padding_may_count(split: TextSplit) -> None:
    batch = assemble(split, np.array([0, 1]), WITH_PADDING, CPU)
    assert batch.labels.tolist() == [[20, 21, 22, EOS_ID], [23, EOS_ID, PAD_ID, PAD_ID]]
    assert batch.counted.tolist() == list(range(8))


def test_a_target_may_start_with_bos_twice(split: TextSplit) -> None:
    batch = assemble(split, np.array([0, 1]), Layout(multiple=1, bos_twice=True), CPU)
    assert batch.labels.tolist() == [[BOS_ID, 20, 21, 22, EOS_ID], [BOS_ID, 23, EOS_ID, IGNORED, IGNORED]]
    assert batch.decoder_input_ids[0].tolist() == [BOS_ID, BOS_ID, 20, 21, 22]


@pytest.mark.parametrize(
    ("layout", "width"),
    [
        (Layout(multiple=8), 24),
        (Layout(widths=(16, 32)), 32),
        (Layout(multiple=4, widths=(16,)), 20),
        (WITH_PADDING, 17),
    ],
)
def test_widths_are_rounded_unless_padding_counts(layout: Layout, width: int) -> None:
    assert layout.width(17) == width


@pytest.mark.parametrize("layout", [Layout(multiple=8), Layout(widths=(16, 32)), Layout(multiple=4, widths=(8,))])
def test_what_fits_a_width_exactly_is_not_padded(layout: Layout) -> None:
    assert layout.width(16) == 16


def test_a_batch_is_of_64_bit_integers(split: TextSplit) -> None:
    assert {tensor.dtype for tensor in assemble(split, np.array([0]), EXACT, CPU)} == {torch.int64}


def test_an_epoch_can_be_entered_at_any_step() -> None:
    whole, resumed = batches(many()), batches(many())
    for epoch in (0, 1):
        whole.start_epoch(epoch)
    resumed.start_epoch(1)
    assert all(torch.equal(at(whole, step), at(resumed, step)) for step in (9, 0, 4))


def test_an_epoch_counts_whole_batches() -> None:
    assert batches(many(), batch_size=7).steps_per_epoch == 5


def test_epochs_differ() -> None:
    stream = batches(many())
    seen = []
    for epoch in (0, 1):
        stream.start_epoch(epoch)
        seen.append([at(stream, step)[:, 1].tolist() for step in range(stream.steps_per_epoch)])
    assert seen[0] != seen[1]


def test_training_steps_are_not_captured_as_their_shapes_differ() -> None:
    assert not batches(many()).is_resident


@pytest.mark.parametrize(
    ("batch_size", "batch_by", "sentence"), [(41, "tokens", "allows 1 to 40"), (4, "words", "sentences, tokens")]
)
def test_a_batch_that_cannot_be_is_refused(batch_size: int, batch_by: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        batches(many(), batch_size, batch_by)


def evaluation(split: TextSplit) -> EvaluationText:
    return EvaluationText(split, lambda ids: [" ".join(map(str, row)) for row in ids], Layout(), CPU)


def test_evaluation_passes_over_the_whole_split_and_says_where_each_sentence_stands() -> None:
    places: dict[int, int] = {}
    for index, input_ids, mask in evaluation(many(1000)):
        assert torch.equal(mask, (input_ids != PAD_ID).long())
        places |= dict(zip(index.tolist(), (input_ids[:, 1] - 10).tolist(), strict=True))
    assert places == {index: index for index in range(1000)}


def test_evaluation_goes_from_long_to_short() -> None:
    widths = [input_ids.shape[1] for _, input_ids, _ in evaluation(many(1000))]
    assert len(widths) > 1 and widths == sorted(widths, reverse=True)


def test_loss_batches_are_those_of_generation_with_their_targets() -> None:
    text = evaluation(many(1000))
    for (_, input_ids, _), batch in zip(text, text.loss_batches(), strict=True):
        assert torch.equal(input_ids, batch.input_ids)
        assert len(batch.labels) == len(input_ids)


def test_references_come_in_the_order_of_the_split(split: TextSplit) -> None:
    assert evaluation(split).references == ["one", "two"]
    assert evaluation(split).decode(torch.tensor([[4, 5]])) == ["4 5"]


@pytest.mark.parametrize("batch_by", ["sentences", "tokens"])
@pytest.mark.parametrize("layout", [Layout(), WITH_PADDING])
@pytest.mark.parametrize("size", [2, 3])
def test_the_parts_of_a_batch_are_padded_as_the_batch_and_weigh_as_many_tokens_as_they_have(
    batch_by: str, layout: Layout, size: int
) -> None:
    def part(place: int, size: int) -> TextBatches:
        stream = TextBatches(many(), 4, 0, "regularise", batch_by, layout, CPU)
        stream.take(Part(place=place, size=size))
        stream.start_epoch(0)
        return stream

    whole, parts = part(0, 1), [part(place, size) for place in range(size)]
    for step in range(whole.steps_per_epoch):
        batch, found = whole.at(torch.tensor(step), step), [of.at(torch.tensor(step), step) for of in parts]
        for place, (stream, own) in enumerate(zip(parts, found, strict=True)):
            if place < len(batch.labels):
                assert torch.equal(own.labels, batch.labels[place::size])
                assert torch.equal(own.input_ids, batch.input_ids[place::size])
                assert stream.weight == size * len(own.counted) / len(batch.counted)
            else:
                assert stream.weight == 0 and len(own.labels) == 1
        assert sum(of.weight for of in parts) / size == pytest.approx(1)


def test_a_stream_that_takes_whole_batches_again_weighs_them_fully() -> None:
    stream = TextBatches(many(), 4, 0, "regularise", "sentences", Layout(), CPU)
    stream.start_epoch(0)
    stream.take(Part(place=1, size=3))
    stream.at(torch.tensor(0), 0)
    assert stream.weight != 1.0
    stream.take(Part())
    stream.at(torch.tensor(0), 0)
    assert stream.weight == 1.0


def test_the_shares_of_an_evaluation_are_every_pair_once_of_about_the_same_work() -> None:
    text = EvaluationText(many(), lambda rows: [str(row) for row in rows], Layout(), CPU)
    shares = [text.share(place, 3) for place in range(3)]
    assert sorted(place for share in shares for batch, _, _ in share for place in batch.tolist()) == list(range(40))
    lengths = [sum(int(mask.sum()) for _, _, mask in share) for share in shares]
    assert max(lengths) < 1.2 * min(lengths)


def test_the_loss_of_shares_is_over_the_batches_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seq2seq, "EVALUATION_TOKENS", 64)
    text = EvaluationText(many(), lambda rows: [str(row) for row in rows], WITH_PADDING, CPU)
    whole = [batch.labels for batch in text.loss_batches()]
    shares = [[batch.labels for batch in text.share(place, 2).loss_batches()] for place in range(2)]
    assert [len(share) for share in shares] == [len(whole[0::2]), len(whole[1::2])]
    for place, share in enumerate(shares):
        assert all(torch.equal(found, labels) for found, labels in zip(share, whole[place::2], strict=True))
