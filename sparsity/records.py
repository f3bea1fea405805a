"""The schema of what a run leaves behind: `summary.json`, `layers.csv`, `curve.jsonl` and `card.json`.

Runs write these classes, reports read them, and nothing else passes between the two. Sparsities are fractions in
[0, 1]; metrics stand in their own unit, 0-100 (accuracy in percent, BLEU). A field that early records lack has a
default.
"""

from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1

AT_PAPER_SPARSITY = "paper_sparsity"  # the start of the row at the paper's sparsity

HALF_A_WEIGHT = 0.5  # what a row says as a fraction and in counts must be the same number of weights
LAST_DIGIT = 1e-6  # of a layer's sparsity in layers.csv

RECORD_FILES = ("layers.csv", "curve.jsonl", "summary.json")
# The networks of a run, and what is in them; early runs have neither.
NETWORKS, CARD = "networks", "card.json"
BENCHMARKS = "benchmarks"  # folder of what bench.py has recorded: <device>/<what>.json


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The dense starting point; `val` and `test` are None when the run started from random weights.

    `checkpoint` is a given file, `saw` the data it was trained on, None if nobody knows, `chosen_on` data by which it
    is known to have been chosen, `seconds` the time of training it.
    """

    source: str
    checkpoint: str | None = None
    num_epochs: int
    val: float | None
    test: float | None
    saw: tuple[str, ...] | None
    chosen_on: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The bound on the metric, as printed and as used, and why they differ; None where another rule prunes."""

    bound_printed: float | None
    bound_used: float | None
    policy: str
    why: str


@dataclass(frozen=True)
class PhasePlan:
    """Optimiser steps and scheduled evaluations of one phase."""

    num_steps: int
    num_evaluations: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was known before training: evaluations offered, prunes needed for the paper's sparsity.

    `num_steps` and `num_evaluations` are those of the regularised phase, `num_starts` counts final phases.
    """

    baseline: PhasePlan | None = None
    regularise: PhasePlan | None = None
    finetune: PhasePlan | None = None
    num_starts: int | None = None
    prunes_needed: int | None
    highest_sparsity: float | None = None
    shrinkage_bound: float | None = None
    warnings: tuple[str, ...] = ()
    num_steps: int
    num_evaluations: int
    reachable: bool


@dataclass(frozen=True, kw_only=True)
class Regularise:
    """Where the regularised phase ended; `sparsity` and `val` before the final phase."""

    num_steps: int
    num_evaluations: int
    num_prunes: int
    sparsity: float
    val: float | None
    stopped: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One result: the final phase run from one start, its best checkpoint by validation scored once on the test data.

    `checkpoint` names the network, `extra_tests` maps a further split to its metric; `test_metrics` are other
    definitions of the test metric, or of it on a part of the test set.
    """

    start: str
    checkpoint: str | None = None
    sparsity: float
    kept: int
    total: int
    compression: float
    val: float
    test: float
    extra_tests: dict[str, float] = field(default_factory=dict)
    test_metrics: dict[str, float] = field(default_factory=dict)
    epoch: int
    num_epochs: int

    def __post_init__(self) -> None:
        kept_by_sparsity = (1 - self.sparsity) * self.total
        total_by_compression = self.compression * max(self.kept, 1)
        off = max(abs(kept_by_sparsity - self.kept), abs(total_by_compression - self.total))
        if not _are_counts(self.kept, self.total) or off >= HALF_A_WEIGHT:
            said = f"sparsity {self.sparsity} and compression {self.compression}"
            raise ValueError(f"the row {self.start} says {said} with {self.kept} of {self.total} kept")


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """The validation metric of the evaluation that allowed a prune, and the sparsity before that prune."""

    prune: int
    step: int
    sparsity: float
    val: float


@dataclass(frozen=True, kw_only=True)
class Target:
    """The paper's numbers, where it has any."""

    metric: float | None
    sparsity: float | None
    baseline: float | None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time and memory of a run, and the hours that the uncut run would take on its device at its pace."""

    step_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int
    projected_hours: float


@dataclass(frozen=True, kw_only=True)
class Process:
    """One of the processes that a run was trained by, from step `first_step` of the run on; of several its ranks."""

    first_step: int
    commit: str | None
    dirty: bool
    device: str
    precision: str
    versions: dict[str, str | None]
    started: str
    ranks: int = 1


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How the run can be repeated; where several processes trained it, `history` has them all, in their order.

    `precision` is that of its products; early runs in fp32 do not say it (`products` does).
    """

    commit: str | None
    dirty: bool
    command: str
    versions: dict[str, str | None]
    started: str | None = None
    device: str
    precision: str | None = None
    wall_seconds: float
    finished: str
    data_checksums: dict[str, str]
    history: tuple[Process, ...] = ()

    @property
    def products(self) -> str:
        """The precision of its products."""
        return self.precision or "fp32"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """`summary.json` of a finished run.

    `settings` are the scientific ones that differ from their defaults, by dotted path; `irrelevance` holds per
    parameter its mean and the share of weights `below_0.99`, over the regularised phase. `splits` name the data of
    train, val and test, `missing_starts` the final phases whose start was not reached, `alarms` what went wrong
    with the pruning, a sentence each. `departures` are the keys of the protocol that are not sound; a sound run has
    none.
    """

    experiment: str
    model: str
    dataset: str
    data_source: str
    data_name: str
    data_settings: dict[str, Any] | None = None
    pruner: str
    protocol: str
    departures: tuple[str, ...] = ()
    scale: str
    shortened: bool
    seed: int
    fingerprint: str
    settings: dict[str, Any] | None = None
    metric: str
    splits: dict[str, str] | None = None
    baseline: Baseline
    gate: Gate
    plan: Plan
    regularise: Regularise
    rows: tuple[Row, ...]
    missing_starts: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    frontier: tuple[FrontierPoint, ...]
    irrelevance: dict[str, dict[str, float]] | None = None
    paper: Target | None = None
    sizes: dict[str, int] | None = None
    metric_signatures: dict[str, str] | None = None
    cost: Cost | None = None
    provenance: Provenance

    @property
    def data_used(self) -> str:
        """The name of the data really used, marked where it stands in for the experiment's own."""
        # the hub has the real texts in a release of its own; a part of the real ones says so in its name
        kinds = {"real": "", "hub": "", "sample": " (sample)", "taskmaster1-part": ""}
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
class Worth:
    """What the zeros of a network are worth; what cannot be told of a network of its kind is None.

    `num_weights` are kept, biases left out, and of these `num_on_path` lie on a path from input to output. `operations`
    are multiply-accumulates for one input: of the dense network, of the kept weights alone, and of the compacted
    network, which has `num_compact` parameters. `units` maps a layer to those it has in all and those left in it.
    `gzip_bytes` are those of a dense file with zeros through gzip -9, which early cards do not know.
    """

    num_weights: int
    num_on_path: int | None = None
    operations: int | None = None
    operations_kept: int | None = None
    operations_compact: int | None = None
    units: dict[str, dict[str, int]] = field(default_factory=dict)
    num_compact: int | None = None
    csr_bytes: int = 0
    gzip_bytes: int | None = None


@dataclass(frozen=True)
class Network:
    """The file of one row's network, relative to the run's directory, and how many of its weights are not zero.

    `layers` maps each parameter to its `total` and `kept`; early runs do not know its `worth`.
    """

    start: str
    file: str
    bytes: int
    sha256: str
    total: int
    kept: int
    layers: dict[str, dict[str, int]] = field(default_factory=dict)
    worth: Worth | None = None


@dataclass(frozen=True)
class Card:
    """The networks that a run has handed on."""

    networks: tuple[Network, ...] = ()


def _are_counts(kept: int, total: int) -> bool:
    return 0 <= kept <= total > 0
