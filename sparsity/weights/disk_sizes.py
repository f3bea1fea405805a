"""The size of a network on disk: saved weights, plain and through gzip and bzip2 (the paper's Tables 10 and 12).

What is measured is a file of weights alone, no mask beside them, tied tensors once. Pruned weights are true zeros in
the one file and zeros of the sign that they were pruned with in the other: that is what a mask leaves which multiplies
the weights, and a random bit in each does not compress. Files are read by pieces and nothing compressed is kept, so
that memory does not grow with the network.
"""

import bz2
import tempfile
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from sparsity.files import TEMPORARY
from sparsity.pruning.masks import signs_of, unpack_bits
from sparsity.weights.checkpoints import plain_weights

PIECE_BYTES = 2**20
GZIP_CONTAINER = 31  # zlib's largest window with gzip's header and checksum


class Compressor(Protocol):
    """What zlib and bz2 offer."""

    def compress(self, data: bytes, /) -> bytes:
        """What is ready of the output."""
        ...

    def flush(self) -> bytes:
        """The rest of it."""
        ...


COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "gzip_1": lambda: zlib.compressobj(1, wbits=GZIP_CONTAINER),
    "gzip_9": lambda: zlib.compressobj(9, wbits=GZIP_CONTAINER),
    "bzip2_1": lambda: bz2.BZ2Compressor(1),
    "bzip2_9": lambda: bz2.BZ2Compressor(9),
}


def measure_sizes(name: str, weights: Mapping[str, Tensor], folder: Path) -> dict[str, int]:
    """Bytes of a network's saved weights: `<name>_bytes`, `<name>_gzip_1_bytes` and so on for all `COMPRESSORS`.

    Args:
        name: what these weights are, `dense`, `pruned` or `pruned_signed`.
        weights: a state_dict, written as it is.
        folder: where the file that is measured may lie for a moment.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".sizes-", suffix=TEMPORARY) as file:
        torch.save(weights, file)
        file.flush()
        return {f"{name}{suffix}_bytes": size for suffix, size in file_sizes(Path(file.name)).items()}


def pruned_sizes(model: nn.Module, masks: Mapping[str, Tensor], folder: Path) -> dict[str, int]:
    """Bytes of a pruned network with true zeros, `pruned`, and with the signs that they had, `pruned_signed`.

    Args:
        model: its pruned weights, which are zeros, get their signs.
        masks: the state of its `Masks`; where that does not know the signs, the second is left out.
        folder: as for `measure_sizes`.
    """
    sizes = measure_sizes("pruned", plain_weights(model.state_dict()), folder)
    signs = signs_of(masks)
    if not signs:
        return sizes
    with torch.no_grad():
        for name, bits in signs.items():
            parameter = model.get_parameter(name)
            negative = unpack_bits(bits, parameter.shape).to(parameter.device)
            parameter.masked_fill_(negative, -0.0)
    return sizes | measure_sizes("pruned_signed", dict(model.state_dict()), folder)


def file_sizes(path: Path) -> dict[str, int]:
    """Bytes of a file: "" as it is, "_gzip_1" and so on through each of `COMPRESSORS`, which run beside each other."""
    with ThreadPoolExecutor() as pool:
        lengths = pool.map(lambda make: compressed_length(path, make()), COMPRESSORS.values())
        compressed = {f"_{name}": length for name, length in zip(COMPRESSORS, lengths, strict=True)}
    return {"": path.stat().st_size} | compressed


def compressed_length(path: Path, compressor: Compressor) -> int:
    """Bytes of the file's content after compression."""
    with path.open("rb") as file:
        length = sum(len(compressor.compress(piece)) for piece in iter(lambda: file.read(PIECE_BYTES), b""))
    return length + len(compressor.flush())
