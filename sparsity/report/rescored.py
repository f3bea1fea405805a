"""Rows of the paper's tables that were scored again: networks that other authors published, as verify.py found them.

Their files are theirs to publish; what is committed is a record of one scoring under `results/rescored`.
"""

from dataclasses import dataclass
from pathlib import Path

from sparsity.files import visible
from sparsity.records import Layer
from sparsity.report.layer_groups import residual_by_group
from sparsity.report.parsing import load_json

FOLDER = "rescored"
REMEDY = "write it anew with scripts/verify.py --record"  # of a damaged record


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
