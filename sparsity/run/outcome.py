"""What is written down at the end? The only doors from runs to reports.

summary.json, layers.csv, curve.jsonl, and the network of each row with the card of what is in it.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from sparsity import provenance
from sparsity.files import write_json
from sparsity.pruning.summary import sparsity
from sparsity.run.gating import GatedPruning
from sparsity.run.networks import leave_networks
from sparsity.run.phase import Phase
from sparsity.run.plan import make_plan, uncut
from sparsity.run.workspace import Workspace, peak_memory_bytes
from sparsity.settings import leaf_name
from sparsity.training.tasks import WritesText

SCHEMA = 1
BASELINE_FIELDS = ("source", "checkpoint", "num_epochs", "val", "test", "saw", "chosen_on")


@dataclass(frozen=True)
class Baseline:
    """Where the run started. `checkpoint` is a given file, `saw` the data it was trained on, None if nobody knows.

    `chosen_on` are data by which it is known to have been chosen.
    """

    source: str
    checkpoint: str | None = None
    num_epochs: int = 0
    val: float | None = None
    test: float | None = None
    saw: list[str] | None = None
    seconds: float = 0.0
    chosen_on: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One result: where the final phase started, and what its best checkpoint by validation reaches.

    `checkpoint` names the network; `layers` maps a parameter to (shape, weights in all, weights kept); `extra_tests` a
    further split to its metric; `test_metrics` holds what else is known of the metric on the test split, as other
    definitions of it.
    """

    start: str
    checkpoint: str
    layers: dict[str, tuple[tuple[int, ...], int, int]]
    val: float
    test: float
    epoch: int
    seconds: float
    extra_tests: dict[str, float] = field(default_factory=dict)
    test_metrics: dict[str, float] = field(default_factory=dict)

    def record(self, num_epochs: int) -> dict[str, Any]:
        """The row as it stands in summary.json."""
        total = sum(layer[1] for layer in self.layers.values())
        kept = sum(layer[2] for layer in self.layers.values())
        return {
            "start": self.start,
            "checkpoint": self.checkpoint,
            "sparsity": sparsity(kept, total),
            "kept": kept,
            "total": total,
            "compression": total / max(kept, 1),
            "val": self.val,
            "test": self.test,
            "extra_tests": self.extra_tests,
            "test_metrics": self.test_metrics,
            "epoch": self.epoch,
            "num_epochs": num_epochs,
        }


def write_outcome(
    work: Workspace, baseline: Baseline, regularised: Phase, gated: GatedPruning, rows: list[Row], sizes: dict[str, int]
) -> dict[str, Any]:
    """Write all of them into the run directory, the summary last, tell the mirrors, and return the summary."""
    summary = _summary(work, baseline, regularised, gated, rows, sizes)
    leave_networks(work.directory, summary, work.experiment.build_model)
    _write_layers(work.directory / "layers.csv", rows)
    _write_curve(work.directory, f"val/{work.settings.metric}")
    write_json(work.directory / "summary.json", summary)
    work.mirrors.write_summary(summary)
    work.mirrors.write_figures(lambda: _figures(work.directory))
    return summary


def _summary(
    work: Workspace, baseline: Baseline, regularised: Phase, gated: GatedPruning, rows: list[Row], sizes: dict[str, int]
) -> dict[str, Any]:
    settings, progress, task = work.settings, regularised.progress, work.experiment.task
    seconds = baseline.seconds + progress.seconds + sum(row.seconds for row in rows)
    missing = [name for name in settings.finetune.start_from if name not in [row.start for row in rows]]
    return {
        "schema": SCHEMA,
        "experiment": settings.experiment,
        "model": leaf_name(settings.model).lower(),
        "dataset": leaf_name(settings.dataset).lower(),
        "data_source": settings.dataset.get("source", "real"),  # a data set of one source has no key for it
        "data_name": work.data.name,
        "data_settings": settings.dataset,
        "pruner": settings.pruner.name,
        "protocol": settings.protocol_name,
        **({"departures": settings.departures} if settings.departures else {}),
        "scale": settings.scale,
        "shortened": settings.is_shortened,
        "seed": settings.seed,
        "fingerprint": provenance.digest(work.identity),
        "settings": work.identity,
        "metric": settings.metric,
        "splits": {part: getattr(work.data, part).identity for part in ("train", "val", "test")},
        "baseline": {name: getattr(baseline, name) for name in BASELINE_FIELDS},
        "gate": gated.record(),
        "plan": work.plan.record(),
        "regularise": {
            "num_steps": regularised.trainer.step,
            "num_evaluations": progress.num_evaluations,
            "num_prunes": len(gated.frontier),
            "sparsity": regularised.pruner.sparsity,
            "val": progress.last_metric,
            "stopped": progress.stopped,
        },
        "rows": [row.record(settings.finetune.num_epochs) for row in rows],
        "missing_starts": missing,
        "frontier": gated.frontier,
        "irrelevance": _irrelevance(work.directory),
        "paper": {name: getattr(settings.paper, name) for name in ("metric", "sparsity", "baseline")},
        "sizes": sizes or None,
        "metric_signatures": task.signatures if isinstance(task, WritesText) else {},
        "cost": _cost(work, regularised),
        "provenance": _provenance(work, seconds),
    }


def _cost(work: Workspace, regularised: Phase) -> dict[str, Any]:
    """Time and memory of this run, and the hours that the uncut run would take on this device at this pace."""
    progress, steps = regularised.progress, max(regularised.trainer.step, 1)
    step_seconds = (progress.seconds - progress.evaluation_seconds) / steps
    evaluation_seconds = progress.evaluation_seconds / max(progress.num_evaluations, 1)
    full = make_plan(uncut(work.settings), len(work.data.train))
    return {
        "step_seconds": step_seconds,
        "evaluation_seconds": evaluation_seconds,
        "peak_memory_bytes": peak_memory_bytes(work.device),
        "projected_hours": full.seconds(step_seconds, evaluation_seconds) / 3600,
    }


def _provenance(work: Workspace, seconds: float) -> dict[str, Any]:
    return work.origin | {
        "wall_seconds": seconds,
        "finished": provenance.now(),
        "data_checksums": work.data.checksums,
    }


def _write_layers(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["start", "parameter", "shape", "total", "kept", "sparsity"])
        for row in rows:
            for name, (shape, total, kept) in row.layers.items():
                writer.writerow(
                    [row.start, name, "x".join(map(str, shape)), total, kept, f"{sparsity(kept, total):.6f}"]
                )


def _write_curve(directory: Path, metric: str) -> None:
    """One line per evaluation of this run, thinned from the record."""
    lines = [json.dumps(_thinned(row, metric)) for row in _evaluations(directory)]
    (directory / "curve.jsonl").write_text("\n".join(lines) + "\n")


def _evaluations(directory: Path) -> Iterator[dict[str, Any]]:
    with (directory / "metrics.jsonl").open() as file:
        yield from (row for row in map(json.loads, file) if row["kind"] == "evaluation")


def _irrelevance(directory: Path) -> dict[str, dict[str, float]]:
    """Parameter -> mean irrelevance and share of weights below 0.99, averaged over the regularised phase's evaluations.

    Each is of the weights kept then; a parameter without any at every evaluation has no entry.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in _evaluations(directory):
        for key in (key for key in row if key.startswith("irrelevance/layer/") and row["phase"] == "regularise"):
            name, _, figure = key.removeprefix("irrelevance/layer/").rpartition("/")
            found[name][figure].append(row[key])
    return {
        name: {"mean": round(fmean(of["mean"]), 6), "below_0.99": round(fmean(of["below_0.99"]), 6)}
        for name, of in found.items()
    }


def _thinned(row: dict[str, Any], metric: str) -> dict[str, Any]:
    layers = [name.removeprefix("sparsity/layer/") for name in row if name.startswith("sparsity/layer/")]
    means = [row[f"irrelevance/layer/{name}/mean"] for name in layers if row[f"sparsity/layer/{name}"] < 1]
    return {
        "phase": row["phase"],
        "step": row["step"],
        "epoch": row["epoch"],
        "val": row[metric],
        "sparsity": round(row["sparsity/total"], 6),
        "pruned": row["prune/done"],
        "lowest_mean_irrelevance": round(min(means, default=1.0), 6),
    }


def _figures(directory: Path) -> dict[str, Path]:
    """The run's figures as files in its directory; who wants none need not wait for matplotlib."""
    from sparsity.report.figures import write_run_figures

    return write_run_figures(directory)
