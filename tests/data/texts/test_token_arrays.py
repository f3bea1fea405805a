"""Texts of many lengths lie in one array and come back as padded rows."""

from pathlib import Path

import numpy as np
import pytest

from sparsity.data.texts.token_arrays import TokenArrays, from_rows, write

TEXTS = [[5, 6, 7], [8], [9, 10]]


@pytest.fixture
def arrays() -> TokenArrays:
    return from_rows(TEXTS)


def test_a_text_comes_back_as_it_was(arrays: TokenArrays) -> None:
    assert [arrays.row(index).tolist() for index in range(len(arrays))] == TEXTS


def test_lengths_are_counted_per_text(arrays: TokenArrays) -> None:
    assert arrays.lengths.tolist() == [3, 1, 2]
    assert arrays.lengths_at(np.array([2, 0])).tolist() == [2, 3]


def test_rows_are_filled_up_to_the_width(arrays: TokenArrays) -> None:
    assert arrays.padded(np.array([1, 0]), 4, skip=0, fill=-1).tolist() == [[8, -1, -1, -1], [5, 6, 7, -1]]


def test_the_first_tokens_can_be_skipped(arrays: TokenArrays) -> None:
    assert arrays.padded(np.array([0, 1]), 2, skip=1, fill=0).tolist() == [[6, 7], [0, 0]]


def test_the_last_text_is_padded_beyond_the_end_of_the_array(arrays: TokenArrays) -> None:
    assert arrays.padded(np.array([2]), 5, skip=0, fill=0).tolist() == [[9, 10, 0, 0, 0]]


def test_texts_written_in_pieces_are_mapped_from_disk(arrays: TokenArrays, tmp_path: Path) -> None:
    pieces = [(np.array([5, 6, 7, 8], dtype=np.uint16), np.array([3, 1])), (np.array([9, 10], dtype=np.uint16), [2])]
    write(tmp_path / "train.source", pieces, num_tokens=6)
    loaded = TokenArrays.load(tmp_path / "train.source")
    assert isinstance(loaded.flat, np.memmap)
    assert loaded.flat.tolist() == arrays.flat.tolist()
    assert loaded.offsets.tolist() == arrays.offsets.tolist()
