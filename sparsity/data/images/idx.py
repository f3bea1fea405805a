"""Reads idx files, the format of MNIST and Fashion-MNIST.

Layout, by its author's page: two zero bytes, one byte for the element type (8 = unsigned byte, the only one read here),
one byte for the number of dimensions, each dimension as a big-endian 32-bit integer, then the elements, last index
fastest.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsity.data.published.download import DataError

_UNSIGNED_BYTE = 8


def read_idx(path: Path, num_dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in the (unzipped) idx file at `path`, in its own shape.

    Raises:
        DataError: the file is not an idx file of bytes with `num_dimensions` dimensions, or is cut short or too long.
    """
    content = np.fromfile(path, dtype=np.uint8)
    header_bytes = 4 + 4 * num_dimensions
    magic = bytes([0, 0, _UNSIGNED_BYTE, num_dimensions])
    if content[:4].tobytes() != magic or content.size < header_bytes:
        raise _damaged(path, f"it begins with {content[:4].tobytes().hex()!r} instead of {magic.hex()!r}")
    shape = tuple(int(length) for length in content[4:header_bytes].view(">u4"))
    expected_bytes = header_bytes + math.prod(shape)
    if content.size != expected_bytes:
        raise _damaged(path, f"it has {content.size} bytes, but its header promises {expected_bytes}")
    return content[header_bytes:].reshape(shape)


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path} is not a whole idx file ({what}): delete it and run again to fetch it anew.")
