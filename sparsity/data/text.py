"""Builders of WMT14 En-De and Taskmaster-1: the pairs of texts that a run trains, validates and tests on.

Six sources feed them: `real` (Stanford's release; Taskmaster-1's self-dialogs), `hub` (the hub's `wmt14`), `standin`
(smaller real corpora of a local mirror, under their own names), `taskmaster1-part` (of a local mirror too: two of
Taskmaster-1's six domains, under this name), `embedded` (a toy language, for `scale=smoke`) and `generated` (random ids
of realistic lengths, for `scale=rehearsal`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import torch

from sparsity.data.published.catalogue import FILES
from sparsity.data.published.download import DataError, accept
from sparsity.data.sizes import SplitSizes, record_num_pairs, split_sizes
from sparsity.data.texts import corpora, newstest
from sparsity.data.texts.corpora import Corpus
from sparsity.data.texts.generated_ids import generated_split, numbered_words
from sparsity.data.texts.prepared import Vocabulary, prepare
from sparsity.data.texts.seq2seq import EvaluationText, Layout, TextBatches, TextSplit


@dataclass(frozen=True, eq=False)
class TextData:
    """Pairs of texts, split for a run.

    Attributes:
        name: of what was really loaded: `wmt14`, `wmt14-mini`, `toy-translation`, `generated-wmt14`.
        checksums: md5 (sha256 where that alone is published) by file; empty where nothing was fetched.
        train, val, test: splits; val gates.
        extra_tests: further test sets by name.
        artifacts: the vocabularies by the name that a copy in the run directory should have.
        decode_ids: lists of target ids to texts as they are scored.
        layout: how rows become a batch.
        batch_by: `sentences` or `tokens`.
        device: where batches are wanted; the arrays themselves stay where they are.
    """

    name: str
    checksums: dict[str, str]
    train: TextSplit
    val: TextSplit
    test: TextSplit
    extra_tests: dict[str, TextSplit]
    artifacts: dict[str, Path]
    decode_ids: Callable[[list[list[int]]], list[str]]
    layout: Layout
    batch_by: str
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def to(self, device: torch.device | str) -> Self:
        """The same data, whose batches come on `device`."""
        return replace(self, device=torch.device(device))

    def training_batches(self, batch_size: int, seed: int, kind: str) -> TextBatches:
        """Batches of `batch_size` pairs of the training split; see TextBatches."""
        return TextBatches(self.train, batch_size, seed, kind, self.batch_by, self.layout, self.device)

    def evaluation_batches(self, split: TextSplit) -> EvaluationText:
        """The whole of `split`, for loss and for generation."""
        return EvaluationText(split, self.decode_ids, self.layout, self.device, is_gate=split is self.val)


def wmt14(
    source: str,
    data_dir: str,
    baseline: str,
    vocabulary_size: int,
    max_tokens: int,
    batch_by: str,
    length_multiple: int,
    widths: list[int],
    padding_counts: bool = False,
    bos_twice: bool = False,
    two_vocabularies: bool = False,
) -> TextData:
    """WMT14 En-De, or what stands in for it.

    Args:
        source: `real`, `hub`, `standin`, `embedded` or `generated`.
        data_dir: where files and cache stand.
        baseline: source of the baseline; no split depends on it.
        vocabulary_size: tokens of the vocabulary, special ones included.
        max_tokens: the most tokens of a source or a target; longer ones keep their head.
        batch_by: `sentences` or `tokens`.
        length_multiple, widths, padding_counts, bos_twice: see Layout.
        two_vocabularies: one for each language, over the same ids.

    Raises:
        ValueError: an unknown word; data that cannot be had or are not what their name says (DataError).
    """
    sizes = split_sizes("wmt14", source)
    layout = Layout(length_multiple, tuple(widths), padding_counts, bos_twice)
    if source == "generated":
        return _generated("wmt14", sizes, vocabulary_size, layout, batch_by)
    readers = {
        "real": corpora.stanford_wmt14,
        "hub": corpora.hub_wmt14,
        "standin": corpora.mini_wmt14,
        "embedded": lambda _: corpora.toy_wmt14(),
    }
    vocabulary = Vocabulary(vocabulary_size, not two_vocabularies, max_tokens)
    data = _text_data(readers[source](data_dir), vocabulary, data_dir, layout, batch_by)
    _check_sizes(data, sizes)
    if source == "real":
        accept(FILES["wmt14"].values(), data.checksums, data_dir)
    return data


def taskmaster1(
    source: str,
    data_dir: str,
    baseline: str,
    vocabulary_size: int,
    max_tokens: int,
    batch_by: str,
    length_multiple: int,
    widths: list[int],
    padding_counts: bool = False,
    bos_twice: bool = False,
    speakers_by_position: bool = False,
) -> TextData:
    """Taskmaster-1's self-dialogs, or their twin: the context as source, the assistant's next turn as target.

    Args:
        source: `real`, `standin`, `taskmaster1-part`, `embedded` or `generated`.
        max_tokens: the most tokens of a text; longer targets keep their head, longer contexts their tail.
        speakers_by_position: see `dialogues.pairs`.
        data_dir, baseline, vocabulary_size, batch_by, length_multiple, widths, padding_counts, bos_twice: as for
            `wmt14`.

    Raises:
        ValueError: an unknown word; data that cannot be had (DataError).
    """
    sizes = split_sizes("taskmaster1", source, baseline, data_dir, speakers_by_position=speakers_by_position)
    layout = Layout(length_multiple, tuple(widths), padding_counts, bos_twice)
    if source == "generated":
        return _generated("taskmaster1", sizes, vocabulary_size, layout, batch_by)
    readers = {
        "real": lambda: corpora.taskmaster1(data_dir, speakers_by_position),
        "standin": lambda: corpora.mini_taskmaster(data_dir, speakers_by_position),
        "taskmaster1-part": lambda: corpora.part_of_taskmaster(data_dir, speakers_by_position),
        "embedded": lambda: corpora.toy_taskmaster(speakers_by_position),
    }
    data = _text_data(readers[source](), Vocabulary(vocabulary_size, True, max_tokens), data_dir, layout, batch_by)
    if source == "real":
        record_num_pairs(data_dir, "taskmaster1", speakers_by_position, _sizes(data))
        accept(FILES["taskmaster1"].values(), data.checksums, data_dir)
    else:
        _check_sizes(data, sizes)
    return data


def _text_data(corpus: Corpus, vocabulary: Vocabulary, data_dir: str, layout: Layout, batch_by: str) -> TextData:
    prepared = prepare(corpus, vocabulary, data_dir)
    splits = {part: _with_subsets(part, split) for part, split in prepared.splits.items()}
    return TextData(
        name=corpus.name,
        checksums=corpus.checksums,
        train=splits["train"],
        val=splits[corpus.val],
        test=splits[corpus.test],
        extra_tests={part: split for part, split in splits.items() if part not in ("train", corpus.val, corpus.test)},
        artifacts=prepared.tokenizers,
        decode_ids=prepared.decode,
        layout=layout,
        batch_by=batch_by,
    )


def _with_subsets(part: str, split: TextSplit) -> TextSplit:
    """Newstest2014 as WMT released it in full holds the filtered test set too, which is scored beside it."""
    is_full = part == "newstest2014" and len(split) == newstest.NUM_FULL
    return replace(split, subsets={newstest.NAME: newstest.filtered()}) if is_full else split


def _generated(dataset: str, sizes: SplitSizes, vocabulary_size: int, layout: Layout, batch_by: str) -> TextData:
    train, val, test = (generated_split(dataset, part, size, vocabulary_size) for part, size in vars(sizes).items())
    return TextData(
        name=f"generated-{dataset}",
        checksums={},
        train=train,
        val=val,
        test=test,
        extra_tests={},
        artifacts={},
        decode_ids=numbered_words,
        layout=layout,
        batch_by=batch_by,
    )


def _sizes(data: TextData) -> SplitSizes:
    return SplitSizes(len(data.train), len(data.val), len(data.test))


def _check_sizes(data: TextData, sizes: SplitSizes) -> None:
    """Hold what was loaded to what its name promises: nothing else may be reported under it."""
    if _sizes(data) != sizes:
        raise DataError(
            f"{data.name} should hold {sizes} pairs, but {_sizes(data)} were read: remove its files and run again, so "
            "that they are had anew."
        )
