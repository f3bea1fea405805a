"""What did a run leave behind? `summary.json`, `layers.csv`, `curve.jsonl` and `card.json` (schema 1).

Sparsities are fractions in [0, 1]; metrics stand in their own unit, 0-100 (accuracy in percent, BLEU).
"""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sparsity.provenance import seed_folders
from sparsity.report.decoding import decode, decode_document

T = TypeVar("T")

AT_PAPER_SPARSITY = "paper_sparsity"  # the start of the row at the paper's sparsity

HALF_A_WEIGHT = 0.5  # what a row says as a fraction and in counts must be the same number of weights
LAST_DIGIT = 1e-6  # of a layer's sparsity in layers.csv

RECORD_FILES = ("layers.csv", "curve.jsonl", "summary.json")
# The networks of a run, and what is in them; early runs have neither.
NETWORKS, CARD = "networks", "card.json"


@dataclass(frozen=True)
class Baseline:
    """The dense starting point; `val` and `test` are None when the run started from random weights."""

    source: str
    num_epochs: int
    val: float | None
    test: float | None
    saw: tuple[str, ...] | None


@dataclass(frozen=True)
class Gate:
    """The bound as printed and as used, and why they differ."""

    bound_printed: float | None
    bound_used: float | None
    policy: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What was known before training: evaluations offered, prunes needed for the paper's sparsity."""

    num_steps: int
    num_evaluations: int
    prunes_needed: int | None
    reachable: bool


@dataclass(frozen=True)
class Regularise:
    """Where the regularised phase ended; `sparsity` and `val` before the final phase."""

    num_steps: int
    num_evaluations: int
    num_prunes: int
    sparsity: float
    val: float | None
    stopped: str


@dataclass(frozen=True)
class Row:
    """One result: the final phase run from one start, scored once on the test data.

    `test_metrics` are other definitions of the test metric, or of it on a part of the test set; early rows lack them.
    """

    start: str
    sparsity: float
    kept: int
    total: int
    compression: float
    val: float
    test: float
    epoch: int
    num_epochs: int
    test_metrics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept_by_sparsity = (1 - self.sparsity) * self.total
        total_by_compression = self.compression * max(self.kept, 1)
        off = max(abs(kept_by_sparsity - self.kept), abs(total_by_compression - self.total))
        if not _are_counts(self.kept, self.total) or off >= HALF_A_WEIGHT:
            said = f"sparsity {self.sparsity} and compression {self.compression}"
            raise ValueError(f"the row {self.start} says {said} with {self.kept} of {self.total} kept")


@dataclass(frozen=True)
class FrontierPoint:
    """The validation metric of the evaluation that allowed a prune, and the sparsity before that prune."""

    prune: int
    step: int
    sparsity: float
    val: float


@dataclass(frozen=True)
class Provenance:
    """How the run can be repeated."""

    commit: str | None
    dirty: bool
    command: str
    device: str
    wall_seconds: float
    finished: str
    versions: dict[str, str]
    data_checksums: dict[str, str]


@dataclass(frozen=True)
class Summary:
    """`summary.json` of a finished run.

    `settings` are the scientific ones that differ from their defaults, by dotted path; `irrelevance` holds per
    parameter its mean and the share of weights `below_0.99`, over the regularised phase. Early summaries lack them.
    `departures` are the keys of the protocol that are not sound; a sound run has none.
    """

    experiment: str
    model: str
    dataset: str
    data_source: str
    data_name: str
    pruner: str
    protocol: str
    scale: str
    shortened: bool
    seed: int
    fingerprint: str
    metric: str
    baseline: Baseline
    gate: Gate
    plan: Plan
    regularise: Regularise
    rows: tuple[Row, ...]
    frontier: tuple[FrontierPoint, ...]
    provenance: Provenance
    sizes: dict[str, int] | None = None
    settings: dict[str, Any] | None = None
    departures: tuple[str, ...] = ()
    irrelevance: dict[str, dict[str, float]] | None = None

    @property
    def data_used(self) -> str:
        """The name of the data really used, marked where it stands in for the experiment's own."""
        kinds = {"real": "", "hub": "", "sample": " (sample)"}  # the hub has the real texts in a release of its own
        return self.data_name + kinds.get(self.data_source, " (stand-in)")


@dataclass(frozen=True)
class Layer:
    """What one parameter kept, for one row of the summary."""

    start: str
    parameter: str
    shape: str
    total: int
    kept: int
    sparsity: float

    def __post_init__(self) -> None:
        if not _are_counts(self.kept, self.total) or abs(self.sparsity - (1 - self.kept / self.total)) > LAST_DIGIT:
            raise ValueError(f"{self.parameter} has sparsity {self.sparsity} with {self.kept} of {self.total} kept")


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation of a phase, whether it pruned, and the mean irrelevance of the layer where it is lowest."""

    phase: str
    step: int
    epoch: int
    val: float
    sparsity: float
    pruned: bool
    lowest_mean_irrelevance: float | None = None


@dataclass(frozen=True)
class Network:
    """The file of one row's network, relative to the run's directory, and how many of its weights are not zero."""

    start: str
    file: str
    bytes: int
    sha256: str
    total: int
    kept: int


@dataclass(frozen=True)
class Card:
    """The networks that a run has handed on."""

    networks: tuple[Network, ...] = ()


@dataclass(frozen=True)
class Run:
    """One finished run: the files of one seed's directory."""

    directory: Path
    summary: Summary
    layers: tuple[Layer, ...] = field(repr=False)
    curve: tuple[CurvePoint, ...] = field(repr=False)
    networks: tuple[Network, ...] = ()


def find_runs(root: Path) -> list[Path]:
    """The directories under `root` that hold a finished run: `<experiment>/<configuration>/seed<n>/summary.json`."""
    return [path for path in seed_folders(root) if (path / "summary.json").is_file()]


def load_run(directory: Path) -> Run:
    """Read and check the records of a run.

    Raises:
        ValueError: one sentence with the file that is missing, damaged or of another schema, and what is wrong in it.
    """
    summary = load_summary(directory)
    layers = _read(directory / "layers.csv", lambda text: _adding_up(_parse_layers(text), summary.rows))
    curve = _read(directory / "curve.jsonl", _parse_curve)
    return Run(directory, summary, layers, curve, _load_networks(directory))


def load_summary(directory: Path) -> Summary:
    """Read and check `summary.json` alone. Raises as `load_run`."""
    return _read(directory / "summary.json", lambda text: _parse_summary(text, directory))


def _load_networks(directory: Path) -> tuple[Network, ...]:
    if not (directory / CARD).is_file():
        return ()
    card: Card = _read(directory / CARD, lambda text: decode_document(Card, json.loads(text)))
    return card.networks


def _read(path: Path, parse: Callable[[str], T]) -> T:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "it is missing"
    except (ValueError, csv.Error) as error:
        problem = str(error)
    raise ValueError(f"{path} cannot be used: {problem}; repeat that run with force=true or delete its directory.")


def _parse_summary(text: str, directory: Path) -> Summary:
    summary: Summary = decode_document(Summary, json.loads(text))
    experiment, run, seed = directory.absolute().parts[-3:]
    is_its_own = run.endswith(f"-{summary.fingerprint}") and seed == f"seed{summary.seed}"
    if experiment != summary.experiment or not is_its_own:
        raise ValueError(
            f"it is of seed {summary.seed} of the run {summary.fingerprint} of {summary.experiment}, so this folder is "
            "a copy of that run's"
        )
    return summary


def _parse_layers(text: str) -> tuple[Layer, ...]:
    lines = csv.DictReader(text.splitlines())
    return tuple(_parse_layer(line, number) for number, line in enumerate(lines, start=2))


def _parse_layer(line: dict[str, str], number: int) -> Layer:
    try:
        counts = {"total": int(line["total"]), "kept": int(line["kept"]), "sparsity": float(line["sparsity"])}
        layer: Layer = decode(Layer, {**line, **counts}, f"line {number}")
        return layer
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"line {number} is no layer ({error})") from error


def _adding_up(layers: tuple[Layer, ...], rows: Sequence[Row]) -> tuple[Layer, ...]:
    """The layers, once it is clear that those of each row hold what it counts."""
    counted: dict[str, tuple[int, int]] = {}
    for layer in layers:
        kept, total = counted.get(layer.start, (0, 0))
        counted[layer.start] = kept + layer.kept, total + layer.total
    for start, counts in {row.start: (row.kept, row.total) for row in rows}.items():
        if (found := counted.pop(start, None)) != counts:
            raise ValueError(f"its layers of {start} do not add up to the row in summary.json: {found}, not {counts}")
    if counted:
        raise ValueError(f"it has layers of {next(iter(counted))}, for which summary.json has no row")
    return layers


def _are_counts(kept: int, total: int) -> bool:
    return 0 <= kept <= total > 0


def _parse_curve(text: str) -> tuple[CurvePoint, ...]:
    lines = enumerate(text.splitlines(), start=1)
    return tuple(decode(CurvePoint, _parse_line(line, number), f"line {number}") for number, line in lines)


def _parse_line(line: str, number: int) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is not JSON ({error.msg})") from error
