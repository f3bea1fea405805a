"""What the sparsities in one table of the paper count: their units, and what each row's own columns imply."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparsity.report.blocks import Block, Heading, Prose, Table, table
from sparsity.report.cells import number
from sparsity.report.comparison import Kind
from sparsity.report.paper import PaperExperiment, PublishedRow

UNKNOWN = "not said"

_LAST_DIGIT = 1e-4  # sparsities are printed in percent with two decimals
_NOTE = """Rows of one table need not count the same. Over the weights of the layers ({layers}), the columns of a row
imply a sparsity of their own; it agrees with the printed one where the rounding of the columns explains the rest."""


@dataclass(frozen=True)
class Implied:
    """The weights that a row's own columns leave, of how many, and how many the rounding of the columns may hide."""

    kept: float
    total: int
    rounding: float

    @property
    def sparsity(self) -> float:
        """In [0, 1]."""
        return 1 - self.kept / self.total

    def agrees(self, printed: float) -> bool:
        """Whether rounding explains the distance to the printed sparsity."""
        return abs(printed - self.sparsity) <= self.rounding / self.total + _LAST_DIGIT / 2 + 1e-12


def implied(paper: PaperExperiment, row: PublishedRow) -> Implied | None:
    """What a row's columns imply; None where it has none, or the weights behind the columns are not given."""
    weights = paper.results.group_weights
    if not weights or not row.residual:
        return None
    return Implied(
        sum(weights[group] * left for group, left in row.residual.items()),
        sum(weights.values()),
        sum(weights[group] * _half_digit(left) for group, left in row.residual.items()),
    )


def units_section(paper: PaperExperiment) -> list[Block]:
    """The unit of every published sparsity of an experiment whose columns can be added up; nothing for the others."""
    weights = paper.results.group_weights
    if not weights:
        return []
    layers = ", ".join(f"{group} {count:,}" for group, count in weights.items())
    rows = [row for row in paper.results.rows if row.sparsity is not None]
    return [Heading(3, "What the printed sparsities count"), Prose(_NOTE.format(layers=layers)), _units(paper, rows)]


def _units(paper: PaperExperiment, rows: Sequence[PublishedRow]) -> Table:
    header = [
        *("Row of the paper", "Printed sparsity (%)", "What it counts", "Weights left by its columns"),
        *("Sparsity they imply (%)", "Agrees"),
    ]
    return table(header, [_unit_row(paper, row) for row in rows])


def _unit_row(paper: PaperExperiment, row: PublishedRow) -> list[str]:
    assert row.sparsity is not None, "only rows with a sparsity are asked"
    cells = [f"{row.printed} {row.citation or ''}".strip(), number(row.sparsity, Kind.FRACTION), row.counts or UNKNOWN]
    found = implied(paper, row)
    if found is None:
        return [*cells, "", "", "no columns"]
    off = number(row.sparsity - found.sparsity, Kind.FRACTION, "+")
    answer = "yes" if found.agrees(row.sparsity) else f"no, printed {off} points"
    return [*cells, f"{found.kept:,.0f}", number(found.sparsity, Kind.FRACTION), answer]


def _half_digit(left: float) -> float:
    """Half a unit of the last digit of a fraction printed in percent; of a trailing zero the file knows nothing."""
    decimals = f"{100 * left:.4f}".rstrip("0").partition(".")[2]
    return 0.5 * float(10 ** -len(decimals)) / 100
