"""Millions of tokenised texts in memory: one flat array of token ids, and the offsets of the texts in it.

Both are plain .npy files, mapped into memory: nothing is read before it is needed, a gigabyte of tokens costs no
resident memory, and rows are gathered by numpy without a loop over texts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NUM_IDS = 1 << 16  # ids are kept in two bytes


@dataclass(frozen=True, eq=False)
class TokenArrays:
    """Token ids of N texts: text i is `flat[offsets[i]:offsets[i + 1]]`.

    Attributes:
        flat: uint16, all texts one after the other.
        offsets: int64 (N + 1,), ascending from 0.
    """

    flat: NDArray[np.uint16]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each text, int64 (N,)."""
        return np.diff(self.offsets)

    def lengths_at(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of tokens of the texts at `indices`, int64 (B,)."""
        return self.offsets[indices + 1] - self.offsets[indices]

    def row(self, index: int) -> NDArray[np.uint16]:
        """The tokens of one text."""
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    def padded(self, indices: NDArray[np.int64], width: int, skip: int, fill: int) -> NDArray[np.int64]:
        """The texts at `indices` as rows int64 (B, width) without their first `skip` tokens, filled up with `fill`."""
        starts = self.offsets[indices] + skip
        places = starts[:, None] + np.arange(width)
        is_token = places < self.offsets[indices + 1][:, None]
        rows = self.flat[np.minimum(places, len(self.flat) - 1)].astype(np.int64)
        return np.where(is_token, rows, fill)

    @classmethod
    def load(cls, stem: Path) -> "TokenArrays":
        """Map what `write` left under `stem`; the tokens stay on disk until they are gathered."""
        return cls(np.load(f"{stem}.flat.npy", mmap_mode="r"), np.load(f"{stem}.offsets.npy"))


def from_rows(rows: Iterable[NDArray[np.integer] | list[int]]) -> TokenArrays:
    """Texts given one by one, for sets that fit into memory."""
    arrays = [np.asarray(row, dtype=np.uint16) for row in rows]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in arrays], dtype=np.int64)])
    return TokenArrays(np.concatenate(arrays), offsets)


def write(stem: Path, pieces: Iterable[tuple[NDArray[np.uint16], NDArray[np.int64]]], num_tokens: int) -> None:
    """Write texts under `stem` piece by piece, so that memory is bounded by one piece.

    Args:
        stem: the files' common name.
        pieces: tokens of some texts, one after the other, and their lengths.
        num_tokens: of all pieces together.
    """
    lengths, end = [np.zeros(1, dtype=np.int64)], 0
    described = {"descr": np.dtype(np.uint16).str, "fortran_order": False, "shape": (num_tokens,)}
    with open(f"{stem}.flat.npy", "wb") as file:  # not mapped: a full disk would end the process without an error
        np.lib.format.write_array_header_1_0(file, described)
        for tokens, piece_lengths in pieces:
            file.write(np.ascontiguousarray(tokens, dtype=np.uint16).data)
            lengths.append(piece_lengths)
            end += len(tokens)
    assert end == num_tokens
    np.save(f"{stem}.offsets.npy", np.cumsum(np.concatenate(lengths), dtype=np.int64))
