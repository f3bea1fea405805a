"""The paper's claims: the files `results/paper/*.yaml`, one per experiment, as frozen dataclasses.

Curves of a figure stand beside the file of their experiment, in `<experiment>_curves.csv`.
"""

import csv
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sparsity.files import visible
from sparsity.report.literature import PublishedPoint, load_literature
from sparsity.report.parsing import decode_document, load_yaml

ARXIV = "arXiv 2204.04977"  # the paper, as a source of points


@dataclass(frozen=True)
class Tolerance:
    """How far from the printed number still counts as the same; set before any run.

    `metric` in the metric's unit, `sparsity` as a fraction, `residual_ratio` relative to each printed residual.
    """

    metric: float
    reason: str
    sparsity: float = 0.0
    residual_ratio: float = 0.0


@dataclass(frozen=True)
class PublishedRow:
    """One row of a result table. `method` is the name of the method here, `printed` the paper's.

    counts: what its sparsity counts, in words, where a source says it.
    """

    method: str
    printed: str
    metric: float
    citation: str | None = None
    sparsity: float | None = None
    counts: str | None = None
    residual: dict[str, float] = field(default_factory=dict)
    tolerance: Tolerance | None = None


@dataclass(frozen=True)
class PublishedTable:
    """The result table of an experiment, its number in the paper and the groups of its residual columns.

    num_test: images on which the paper counted its accuracies; None where the metric is no accuracy.
    group_weights: weights behind each residual column, without biases, where the columns add up to a sparsity.
    """

    table: int
    metric_unit: str
    rows: tuple[PublishedRow, ...]
    groups: tuple[str, ...] = ()
    num_test: int | None = None
    group_weights: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedSetting:
    """One hyperparameter and where it is printed."""

    name: str
    value: float | str
    unit: str
    where: str


@dataclass(frozen=True)
class PublishedSizes:
    """Sizes on disk in bytes, by the key under which a run's summary holds ours."""

    table: int
    unit: str
    values: dict[str, float]
    tolerance_ratio: float
    reason: str


@dataclass(frozen=True)
class PublishedCurve:
    """One curve of a figure: (sparsity in [0, 1], metric) by rising sparsity."""

    method: str
    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PaperExperiment:
    """Everything the paper prints about one experiment; `baseline` is where its dense network comes from, as ours.

    published_checkpoint: what must be said of runs that start from the one that others give away.
    planned_seeds: how many runs of a configuration were planned before its first; fewer are a look on the way.
    ours: the experiment's own settings of the phases and the gate by dotted path, where they are not the defaults.
    literature: points of this network on these data that are published elsewhere.
    """

    experiment: str
    title: str
    model: str
    dataset: str
    metric: str
    num_parameters: int
    baseline: str
    settings: tuple[PublishedSetting, ...]
    results: PublishedTable
    planned_seeds: int = 3
    ours: dict[str, Any] = field(default_factory=dict)
    published_checkpoint: str = ""
    sizes: PublishedSizes | None = None
    curves: tuple[PublishedCurve, ...] = ()
    literature: tuple[PublishedPoint, ...] = ()

    @property
    def metric_label(self) -> str:
        """The metric as a column is headed."""
        return "Accuracy (%)" if self.metric == "accuracy" else self.metric.upper()

    def row(self, method: str) -> PublishedRow | None:
        """The paper's row of a method, if it has one."""
        return next((row for row in self.results.rows if row.method == method), None)


def load_paper(directory: Path) -> list[PaperExperiment]:
    """Read all experiments, in the order of the paper's tables.

    Raises:
        ValueError: one sentence with the file that is damaged or of another schema, and what is wrong in it.
    """
    experiments = [_load_experiment(path) for path in visible(directory.glob("*.yaml"), directory)]
    points = [p for p in load_literature(directory.parent / "literature.csv") if not p.source.startswith(ARXIV)]
    found = [
        replace(of, literature=tuple(p for p in points if (p.network, p.dataset) == (of.model, of.dataset)))
        for of in experiments
    ]
    return sorted(found, key=lambda experiment: experiment.results.table)


def _load_experiment(path: Path) -> PaperExperiment:
    experiment = load_yaml(path, lambda document: decode_document(PaperExperiment, document))
    curves = path.with_name(f"{path.stem}_curves.csv")
    return replace(experiment, curves=_load_curves(curves)) if curves.is_file() else experiment


def _load_curves(path: Path) -> tuple[PublishedCurve, ...]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    try:
        for row in csv.DictReader(lines):
            found[row["method"], row["label"]].append((float(row["sparsity"]), float(row["metric"])))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be used: {error}; restore it from the repository.") from error
    return tuple(PublishedCurve(method, label, tuple(points)) for (method, label), points in found.items())
