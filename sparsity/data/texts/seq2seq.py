"""Batches of text pairs, in training and in evaluation.

Shape suffixes: B sentences, S source positions, T target positions, L positions of a hypothesis.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsity.data.texts.sentence_order import ORDERS, EpochOrder
from sparsity.data.texts.token_arrays import TokenArrays
from sparsity.hardware.ranks import Part
from sparsity.special_tokens import BOS_ID, EOS_ID, IGNORED, PAD_ID

EVALUATION_TOKENS = 8192  # padded source positions of an evaluation batch


class Seq2SeqBatch(NamedTuple):
    """Text pairs as int64 tensors on the device.

    Attributes:
        input_ids: [B, S], `<bos> ... <eos>`, filled up with pad ids.
        attention_mask: [B, S], 1 where `input_ids` is no padding.
        labels: [B, T], `... <eos>`; padding is -100, or the pad id where padding counts.
        decoder_input_ids: [B, T], the labels shifted right behind a `<bos>`.
        counted: [N], where the flattened labels are not -100, ascending.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    decoder_input_ids: Tensor
    counted: Tensor


@dataclass(frozen=True)
class Layout:
    """How rows of tokens become a batch.

    Attributes:
        multiple: widths are rounded up to it, which tensor cores like.
        widths: ascending; where given, every batch takes the first of them that is wide enough, so that compiled code
            and CUDA graphs meet few shapes.
        padding_counts: in the loss; widths are then never rounded, as every padded position would change it.
        bos_twice: the decoder reads `<bos> <bos>`, and the second is to be predicted.
    """

    multiple: int = 8
    widths: tuple[int, ...] = ()
    padding_counts: bool = False
    bos_twice: bool = False

    def width(self, length: int) -> int:
        """Padded width of a batch whose longest row has `length` tokens."""
        if self.padding_counts:
            return length
        fitting = [width for width in self.widths if width >= length]
        return fitting[0] if fitting else -(-length // self.multiple) * self.multiple


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Pairs of texts, each stored as `<bos> ... <eos>`; the references of a split that is scored are plain text.

    Attributes:
        identity: names exactly these pairs, such as `wmt14/newstest2013`.
        references: detokenised targets in the split's order; empty for training pairs.
        subsets: name -> places of pairs that are another known test set.
    """

    identity: str
    sources: TokenArrays
    targets: TokenArrays
    references: list[str] = field(default_factory=list)
    subsets: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sources)

    def digest(self) -> str:
        """Of the tokens and the references, in their order."""
        content = hashlib.sha256("\n".join(self.references).encode())
        for texts in (self.sources, self.targets):
            content.update(np.ascontiguousarray(texts.offsets).data)
            content.update(np.ascontiguousarray(texts.flat).data)
        return content.hexdigest()


def assemble(split: TextSplit, indices: NDArray[np.int64], layout: Layout, device: torch.device) -> Seq2SeqBatch:
    """The pairs at `indices` as one batch on `device`, in one copy that does not wait for it."""
    return _sent(_padded(split, indices, layout), device)


def _padded(split: TextSplit, indices: NDArray[np.int64], layout: Layout) -> list[NDArray[np.int64]]:
    """Input ids, their mask, labels and decoder's input ids of the pairs at `indices`."""
    skip = 0 if layout.bos_twice else 1  # the stored target starts with <bos>
    source_width = layout.width(int(split.sources.lengths_at(indices).max()))
    target_width = layout.width(int(split.targets.lengths_at(indices).max()) - skip)
    inputs = split.sources.padded(indices, source_width, 0, PAD_ID)
    targets = split.targets.padded(indices, target_width, skip, PAD_ID)
    decoder_inputs = np.concatenate([np.full((len(indices), 1), BOS_ID), targets[:, :-1]], axis=1)
    labels = targets if layout.padding_counts else np.where(targets == PAD_ID, IGNORED, targets)
    return [inputs, (inputs != PAD_ID).astype(np.int64), labels, decoder_inputs]


def _sent(arrays: list[NDArray[np.int64]], device: torch.device) -> Seq2SeqBatch:
    counted = np.flatnonzero(arrays[2] != IGNORED)  # here, as a GPU could tell their number only to a host that waits
    return Seq2SeqBatch(*_to_device([*arrays, counted], device))


class TextBatches:
    """Training batches of a split, a pure function of (seed, kind, epoch, step).

    Args:
        split: what is trained on.
        batch_size: sentences of a batch (their mean number, by tokens): a micro-batch where a phase accumulates.
        seed, kind: run's seed and kind of phase.
        batch_by: `sentences`, a fixed number, or `tokens`, about equal padded tokens.
        layout: how rows become a batch.
        device: where batches are wanted.

    Raises:
        ValueError: if the split does not hold one batch, or `batch_by` is unknown.
    """

    weight = 1.0
    is_resident = False  # the shapes differ from batch to batch: a step is not captured

    def __init__(
        self,
        split: TextSplit,
        batch_size: int,
        seed: int,
        kind: str,
        batch_by: str,
        layout: Layout,
        device: torch.device,
    ) -> None:
        if not 1 <= batch_size <= len(split):
            raise ValueError(f"batch_size is {batch_size}, but {split.identity} allows 1 to {len(split)}: change it.")
        if batch_by not in ORDERS:
            raise ValueError(f"dataset.batch_by={batch_by} is unknown; choose one of {', '.join(ORDERS)}.")
        self._split, self._batch_size, self._seed, self._kind = split, batch_size, seed, kind
        self._order_of, self._layout, self._device = ORDERS[batch_by], layout, device
        self._lengths = (split.sources.lengths, split.targets.lengths)
        self._order: EpochOrder | None = None
        self._part = Part()

    def take(self, part: Part) -> None:
        """Give this part of each batch from now on. Raises ValueError where a batch has fewer pairs than parts."""
        part.check(self._batch_size)
        self._part, self.weight = part, 1.0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch."""
        return len(self._split) // self._batch_size

    def start_epoch(self, epoch: int) -> None:
        """Put the order of `epoch` into place."""
        self._order = self._order_of(self._lengths, self._batch_size, self._seed, self._kind, epoch)

    def at(self, position: Tensor, step: int) -> Seq2SeqBatch:
        """The batch at `step` of the epoch that was started last; `position` is the same number on the device."""
        assert self._order is not None, "start_epoch comes first"
        whole = _padded(self._split, self._order.batch(step), self._layout)
        return _sent(whole if self._part.size == 1 else self._own(whole), self._device)

    def _own(self, whole: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """This rank's part of a batch, which weighs as many of its targets' tokens as it has.

        By tokens a batch may have fewer pairs than there are ranks: one of them then counts nothing.
        """
        has_own = self._part.place < len(whole[0])
        own = [array[self._part.examples] if has_own else array[:1] for array in whole]
        num_own, num_all = (np.count_nonzero(arrays[2] != IGNORED) for arrays in (own, whole))
        self.weight = self._part.size * num_own / num_all if has_own else 0.0
        return own


@dataclass(frozen=True, eq=False)
class EvaluationText:
    """A whole split for scoring, in batches sorted by source length, longest first.

    Attributes:
        split: what is scored.
        decode_ids: lists of token ids to detokenised texts.
        layout: of `loss_batches`, as in training.
        device: where batches are wanted.
        is_gate: whether this is the validation split, of which a task may score a draw.
        part: of which share, and of how many of about the same work, it gives batches.
    """

    split: TextSplit
    decode_ids: Callable[[list[list[int]]], list[str]]
    layout: Layout
    device: torch.device
    is_gate: bool = False
    part: tuple[int, int] = (0, 1)
    bos_id: int = BOS_ID
    eos_id: int = EOS_ID
    pad_id: int = PAD_ID

    @property
    def references(self) -> list[str]:
        """Detokenised targets in the split's order."""
        return self.split.references

    @property
    def subsets(self) -> Mapping[str, Sequence[int]]:
        """Places in the split that are scored by themselves too, by name."""
        return self.split.subsets

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Where each sentence stands in the split (int64 [B], on the CPU), input_ids [B, S], attention_mask [B, S]."""
        place, num_parts = self.part
        for indices in self._batches(self._longest_first()[place::num_parts]):
            width = self.layout.width(int(self.split.sources.lengths_at(indices).max()))
            inputs = self.split.sources.padded(indices, width, 0, PAD_ID)
            mask = (inputs != PAD_ID).astype(np.int64)
            input_ids, attention_mask = _to_device([inputs, mask], self.device)
            yield torch.from_numpy(indices), input_ids, attention_mask

    def loss_batches(self) -> Iterator[Seq2SeqBatch]:
        """Batches with their targets, of a share some of those of the whole: the padding that counts is of these."""
        place, num_parts = self.part
        for indices in islice(self._batches(self._longest_first()), place, None, num_parts):
            yield assemble(self.split, indices, self.layout, self.device)

    def share(self, place: int, size: int) -> "EvaluationText":
        """The pairs of one of `size` ranks, of all lengths; references and places stay those of the whole split."""
        return replace(self, part=(place, size))

    def decode(self, ids: Tensor) -> list[str]:
        """Detokenised texts of token ids [B, L], special tokens dropped."""
        return self.decode_ids(ids.tolist())

    def _longest_first(self) -> NDArray[np.int64]:
        return np.argsort(-self.split.sources.lengths, kind="stable")

    def _batches(self, order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        lengths, start = self.split.sources.lengths, 0
        while start < len(order):
            size = max(1, EVALUATION_TOKENS // int(lengths[order[start]]))
            yield order[start : start + size]
            start += size


def _to_device(arrays: list[NDArray[np.int64]], device: torch.device) -> list[Tensor]:
    """Arrays as tensors on `device`, in one copy; from pinned memory it runs beside the computation."""
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        flat = flat.pin_memory().to(device, non_blocking=True)
    pieces = flat.split([array.size for array in arrays])
    return [piece.view(array.shape) for piece, array in zip(pieces, arrays, strict=True)]
