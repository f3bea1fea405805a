"""Rows of the paper's tables that were scored again: networks that other authors published, as verify.py found them.

Their files are theirs to publish; what is committed is a record of one scoring under `results/rescored`.
"""

from dataclasses import dataclass
from pathlib import Path

from sparsity.files import visible
from sparsity.records import Layer
from sparsity.report.layer_groups import residual_by_group
from sparsity.report.paper import load_paper
from sparsity.report.parsing import load_json

FOLDER = "rescored"
REMEDY = "remove it, and write it anew with scripts/verify.py FILE --row ROW"  # of a damaged record


@dataclass(frozen=True)
class Counts:
    """Weights of a parameter in all, and those that are not zero."""

    total: int
    kept: int


@dataclass(frozen=True)
class Rescored:
    """A published network scored again: the row of the paper's table that is its, and what came out."""

    experiment: str
    model: str
    row: str
    metric: str
    test: float
    num_test: int
    layers: dict[str, Counts]
    sha256: str
    command: str
    commit: str | None

    @property
    def sparsity(self) -> float:
        """Share of weights that are zeros."""
        return 1 - sum(of.kept for of in self.layers.values()) / sum(of.total for of in self.layers.values())

    @property
    def residual(self) -> dict[str, float]:
        """Fraction left in each group of the table's columns."""
        layers = [
            Layer(self.row, name, "", of.total, of.kept, 1 - of.kept / of.total) for name, of in self.layers.items()
        ]
        return residual_by_group(self.model, layers)


def load_rescored(results: Path, experiment: str) -> list[Rescored]:
    """The records of an experiment.

    Raises:
        ValueError: one sentence with the file that is damaged and what is wrong in it.
    """
    found = [load_json(path, Rescored, REMEDY) for path in visible((results / FOLDER).glob("*.json"), results)]
    return [each for each in found if each.experiment == experiment]


def place_of(results: Path, experiment: str, row: str, data: tuple[str, str], digest: str) -> Path:
    """Where the scoring of a network is recorded as a row of the paper's table.

    Args:
        row: as it is printed there.
        data: the data set and its source. digest: sha256 of the network's file.

    Raises:
        ValueError: if the table has no such row, the data are not the paper's, or the record of another file is there.
    """
    paper = next((each for each in load_paper(results / "paper") if each.experiment == experiment), None)
    rows = [each.printed for each in paper.results.rows] if paper is not None else []
    if paper is None or row not in rows:
        raise ValueError(
            f"--row {row} is no row of the paper's table of {experiment}; choose one of {'; '.join(rows) or 'none'}."
        )
    if data != (paper.dataset, "real"):
        raise ValueError(
            f"--row {row} is of {paper.dataset} as published, not of {data[0]} from source {data[1]}: score on these, "
            "or without --row."
        )
    place = results / FOLDER / f"{experiment}-{row}.json"
    if place.is_file() and (before := load_json(place, Rescored, REMEDY).sha256) != digest:
        raise ValueError(
            f"{place} records another file, of sha256 {before[:12]}..., and this one has {digest[:12]}...: remove that "
            "record first, if this one is to take its place."
        )
    return place
