"""The deviations that concern an experiment: headings of `results/deviations.md` name experiments, or mean all."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sparsity.report.blocks import anchor

_HEADING = re.compile(r"^### ((\d+)\. .*)$", re.MULTILINE)
_EXPERIMENT = re.compile(r"`([a-z0-9_]+)`")


@dataclass(frozen=True)
class Deviation:
    """One entry: its number, its whole heading, and the experiments in the heading (none: it concerns all)."""

    number: int
    heading: str
    experiments: tuple[str, ...]

    @property
    def title(self) -> str:
        """The heading without number and experiments."""
        return re.sub(r" \(`.*\)$", "", self.heading.partition(". ")[2])

    @property
    def link(self) -> str:
        """A markdown link to the entry."""
        return f"[{self.number}. {self.title}](deviations.md#{anchor(self.heading)})"


def load_deviations(path: Path) -> list[Deviation]:
    """All entries, in their order; none where there is no such file."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [
        Deviation(int(number), heading, tuple(_EXPERIMENT.findall(heading)))
        for heading, number in _HEADING.findall(text)
    ]


def deviations_of(experiment: str, deviations: Iterable[Deviation]) -> list[Deviation]:
    """The entries that concern an experiment."""
    return [each for each in deviations if not each.experiments or experiment in each.experiments]
