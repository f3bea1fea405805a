"""What a page is made of, headings, prose, tables and figures, before it becomes markdown or HTML.

Text inside blocks is markdown: `code`, **bold** and [links](paper) mean the same in both renderings.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the page's title."""

    level: int
    text: str


@dataclass(frozen=True)
class Prose:
    """Paragraphs and lists."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; each row has as many cells as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Rendering:
    """A drawing as an SVG element and as a PNG file."""

    svg: str
    png: bytes


@dataclass(frozen=True)
class Figure:
    """A figure: `name` is its file under `figures/` without suffix; it is drawn on first demand."""

    name: str
    caption: str
    draw: Callable[[], Rendering]

    @cached_property
    def rendering(self) -> Rendering:
        """The drawing."""
        return self.draw()


@dataclass(frozen=True)
class Folded:
    """Blocks out of the way until the reader opens them."""

    summary: str
    blocks: "tuple[Block, ...]"


Block: TypeAlias = Heading | Prose | Table | Figure | Folded


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table from any sequences."""
    return Table(tuple(header), tuple(tuple(row) for row in rows))


def anchor(heading: str) -> str:
    """The fragment under which a heading is found, by GitHub's rule: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def figures(blocks: Iterable[Block]) -> list[Figure]:
    """All drawings of a page, those in folds included."""
    found: list[Figure] = []
    for block in blocks:
        if isinstance(block, Figure):
            found.append(block)
        elif isinstance(block, Folded):
            found += figures(block.blocks)
    return found
