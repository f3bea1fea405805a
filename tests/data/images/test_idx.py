"""The idx reader gives the array as written and refuses anything that is not whole."""

from pathlib import Path

import numpy as np
import pytest

from sparsity.data.images.idx import read_idx
from sparsity.data.published.download import DataError

HEADER = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "two-by-three"


def test_elements_come_in_the_shape_of_the_header_last_index_fastest(path: Path) -> None:
    path.write_bytes(HEADER + bytes([1, 2, 3, 4, 5, 255]))
    array = read_idx(path, num_dimensions=2)
    assert array.dtype == np.uint8
    assert array.tolist() == [[1, 2, 3], [4, 5, 255]]


@pytest.mark.parametrize("content", [b"", HEADER[:3], HEADER[:9], b"PK\x03\x04" + HEADER[4:] + bytes(6)])
def test_a_file_without_an_idx_header_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"two-by-three is not a whole idx file \(it begins with .*\): delete it"):
        read_idx(path, num_dimensions=2)


def test_another_number_of_dimensions_is_refused(path: Path) -> None:
    path.write_bytes(HEADER + bytes(6))
    with pytest.raises(DataError, match="begins with '00000802' instead of '00000803'"):
        read_idx(path, num_dimensions=3)


@pytest.mark.parametrize("num_elements", [5, 7])
def test_a_file_cut_short_or_too_long_is_refused(path: Path, num_elements: int) -> None:
    path.write_bytes(HEADER + bytes(num_elements))
    with pytest.raises(DataError, match=f"it has {12 + num_elements} bytes, but its header promises 18"):
        read_idx(path, num_dimensions=2)
