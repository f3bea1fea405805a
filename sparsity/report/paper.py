"""What does the paper claim? The files `results/paper/*.yaml`, one per experiment, as frozen dataclasses."""

from dataclasses import dataclass, field
from pathlib import Path

from sparsity.report.decoding import decode_document, load_yaml


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
    """One row of a result table. `method` is the name of the method here, `printed` the paper's."""

    method: str
    printed: str
    metric: float
    citation: str | None = None
    sparsity: float | None = None
    residual: dict[str, float] = field(default_factory=dict)
    tolerance: Tolerance | None = None


@dataclass(frozen=True)
class PublishedTable:
    """The result table of an experiment, its number in the paper and the groups of its residual columns."""

    table: int
    metric_unit: str
    rows: tuple[PublishedRow, ...]
    groups: tuple[str, ...] = ()


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
class PaperExperiment:
    """Everything the paper prints about one experiment."""

    experiment: str
    title: str
    model: str
    dataset: str
    metric: str
    num_parameters: int
    settings: tuple[PublishedSetting, ...]
    results: PublishedTable
    sizes: PublishedSizes | None = None

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
    files = sorted(directory.glob("*.yaml"))
    experiments = [load_yaml(path, lambda document: decode_document(PaperExperiment, document)) for path in files]
    return sorted(experiments, key=lambda experiment: experiment.results.table)
