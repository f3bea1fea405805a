"""Sizes on disk, dense and pruned, plain and through each compressor, the paper's beside ours.

Two files of the pruned network are measured: its pruned weights as true zeros, and as zeros that kept their signs.
"""

from collections.abc import Sequence

from sparsity.report.blocks import Block, Heading, Prose, table
from sparsity.report.cells import number, spread
from sparsity.report.comparison import Kind
from sparsity.report.configurations import Configuration
from sparsity.report.paper import PaperExperiment

# A network as a file, by the start of its keys in a summary, and how the tables call it.
FILES = {"dense": "dense", "pruned": "pruned, true zeros", "pruned_signed": "pruned, signed zeros"}
WAYS = {"": "Plain", "_gzip_1": "gzip -1", "_gzip_9": "gzip -9", "_bzip2_1": "bzip2 -1", "_bzip2_9": "bzip2 -9"}

_NOTE = """In MB (10^6 bytes). The paper's sizes of the pruned network fit a file in which each pruned weight is a zero
that kept its sign, +0.0 or -0.0, as a mask that multiplies the weights leaves it: a random bit that no compressor
removes. So *signed zeros* is what is held against the paper; *true zeros* is the same network with every zero +0.0,
which compresses better and is what is kept and handed on. Early runs measured true zeros only."""


def size_label(key: str) -> str:
    """A size on disk in words, from its key in a summary: `pruned_signed_gzip_9_bytes`."""
    name = key.removesuffix("_bytes")
    file = max((file for file in FILES if name.startswith(file)), key=len)
    return f"{FILES[file]}, {WAYS[name.removeprefix(file)]}".removesuffix(f", {WAYS['']}")


def sizes_section(paper: PaperExperiment, configurations: Sequence[Configuration]) -> list[Block]:
    """The paper's sizes and those of each run; nothing for an experiment of which the paper prints none."""
    if paper.sizes is None:
        return []
    published = paper.sizes.values
    rows = [_row(f"Paper: {FILES[file]}", file, {key: number(size, Kind.BYTES) for key, size in published.items()})
            for file in FILES]  # fmt: skip
    for ours in configurations:
        sizes = {key: spread(ours.size_bytes(key), Kind.BYTES) for key in ours.first.sizes or {}}
        rows += [_row(f"Ours: {ours.name}, {FILES[file]}", file, sizes) for file in FILES]
    return [
        Heading(3, "Size on disk"),
        Prose(_NOTE),
        table(["File", *WAYS.values()], [row for row in rows if any(row[1:])]),
    ]


def _row(name: str, file: str, sizes: dict[str, str]) -> list[str]:
    return [name, *(sizes.get(f"{file}{way}_bytes", "") for way in WAYS)]
