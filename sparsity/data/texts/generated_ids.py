"""Random token ids in texts of realistic lengths, for when only speed and memory matter."""

import numpy as np
from numpy.typing import NDArray

from sparsity.data.texts.seq2seq import TextSplit
from sparsity.data.texts.token_arrays import TokenArrays
from sparsity.special_tokens import BASE_TOKENS, BOS_ID, EOS_ID

_SEEDS = {"train": 1, "val": 2, "test": 3}
# (mean source, mean target) tokens beside <bos> and <eos>: measured on wmt14-mini and estimated for Taskmaster-1
_MEAN_TOKENS = {"wmt14": (25, 28), "taskmaster1": (110, 14)}
_MAX_TOKENS = 254
_FIRST_ID = len(BASE_TOKENS)


def generated_split(dataset: str, part: str, num_pairs: int, vocabulary_size: int) -> TextSplit:
    """`num_pairs` pairs of random ids below `vocabulary_size`, the same on every platform.

    Lengths are those of a sum of two uniform variables around the mean, and a target is as long, relative to the mean,
    as its source.
    """
    stream = np.random.PCG64(_SEEDS[part])
    relative = (stream.random_raw((2, num_pairs)) >> 11).sum(axis=0) * 2.0**-53  # in [0, 2), 1 in the mean
    source_mean, target_mean = _MEAN_TOKENS[dataset]
    sources = _random_texts(stream, relative * source_mean, vocabulary_size)
    targets = _random_texts(stream, relative * target_mean, vocabulary_size)
    scored = range(num_pairs if part != "train" else 0)
    references = numbered_words([targets.row(index).tolist() for index in scored])
    return TextSplit(f"generated-{dataset}/{part}", sources, targets, references)


def numbered_words(ids: list[list[int]]) -> list[str]:
    """Ids as words, `w17 w4`; special tokens dropped."""
    return [" ".join(f"w{token}" for token in row if token >= _FIRST_ID) for row in ids]


def _random_texts(stream: np.random.PCG64, lengths: NDArray[np.float64], vocabulary_size: int) -> TokenArrays:
    sizes = np.clip(lengths.astype(np.int64), 1, _MAX_TOKENS) + 2
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    words = stream.random_raw(int(offsets[-1]))
    flat = (_FIRST_ID + words % np.uint64(vocabulary_size - _FIRST_ID)).astype(np.uint16)
    flat[offsets[:-1]], flat[offsets[1:] - 1] = BOS_ID, EOS_ID
    return TokenArrays(flat, offsets)
