"""Reads the batch files of CIFAR-10 (its "python version") without running what a pickle may contain.

Layout, by the publisher's page (https://www.cs.toronto.edu/~kriz/cifar.html): a dictionary with `data`, bytes
(N, 3072), a row being the red, the green and the blue plane of 32 rows of 32 pixels, and `labels`, N numbers of 0 to 9.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsity.data.published.download import DataError

_SHAPE = (3, 32, 32)
# All that such a file names: how numpy 1 rebuilds an array. The function has moved within numpy since.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def read_cifar_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,) in the batch file at `path`.

    Raises:
        DataError: the file is no such batch, or names a class that such a batch has no use for.
    """
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="bytes").load()
        images, labels = batch[b"data"], np.array(batch[b"labels"], dtype=np.int64)
        assert images.dtype == np.uint8
        return images.reshape(len(labels), *_SHAPE), labels
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path} is no batch of CIFAR-10 ({reason}): delete it and run again to fetch it anew."
        ) from error


class _ArraysOnly(pickle.Unpickler):
    """Refuses every class and function but numpy's array, so that a file can do no more than hold numbers."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a batch has no use for")
        return _ALLOWED[module, name]
