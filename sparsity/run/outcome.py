"""What is written down at the end: the only doors from runs to reports.

summary.json, layers.csv, curve.jsonl, and the network of each row with the card of what is in it.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from sparsity import provenance
from sparsity.data.sizes import image_shape
from sparsity.files import write_json, write_text
from sparsity.pruning.summary import sparsity
from sparsity.records import (
    SCHEMA,
    Baseline,
    Cost,
    CurvePoint,
    FrontierPoint,
    Gate,
    Layer,
    Provenance,
    Regularise,
    Row,
    Summary,
    Target,
)
from sparsity.run.gating import GatedPruning
from sparsity.run.networks import leave_networks
from sparsity.run.phase import Phase
from sparsity.run.plan import make_plan, uncut
from sparsity.run.workspace import Workspace, peak_memory_bytes
from sparsity.settings import leaf_name
from sparsity.tracking.record import recorded
from sparsity.training.tasks import WritesText


@dataclass(frozen=True)
class Result:
    """A row of the summary, with what stands elsewhere: parameter -> (shape, weights in all, kept), and its time."""

    row: Row
    layers: dict[str, tuple[tuple[int, ...], int, int]]
    seconds: float


@dataclass(frozen=True)
class Ended:
    """The phases of a run, all at their end, and the sparsity at which the regularised one came to it."""

    baseline: Baseline
    regularised: Phase
    gated: GatedPruning
    sparsity: float
    results: list[Result]


def write_outcome(work: Workspace, ended: Ended, sizes: dict[str, int]) -> Summary:
    """Write all of them into the run directory, the summary last, tell the mirrors, and return the summary."""
    summary = _summary(work, ended, sizes)
    document = {"schema": SCHEMA, **asdict(summary)}
    leave_networks(work.directory, summary, work.experiment.build_model, image_shape(work.settings.dataset))
    _write_layers(work.directory / "layers.csv", ended.results)
    _write_curve(work.directory, f"val/{work.settings.metric}")
    write_json(work.directory / "summary.json", document)
    work.mirrors.write_summary(document)
    work.mirrors.write_figures(lambda: _figures(work.directory))
    return summary


def _summary(work: Workspace, ended: Ended, sizes: dict[str, int]) -> Summary:
    regularised, gated = ended.regularised, ended.gated
    settings, progress, task = work.settings, regularised.progress, work.experiment.task
    seconds = ended.baseline.seconds + progress.seconds + sum(result.seconds for result in ended.results)
    rows = tuple(result.row for result in ended.results)
    assert progress.stopped is not None, "the phase has ended"
    return Summary(
        experiment=settings.experiment,
        model=leaf_name(settings.model).lower(),
        dataset=leaf_name(settings.dataset).lower(),
        data_source=settings.dataset.get("source", "real"),  # a data set of one source has no key for it
        data_name=work.data.name,
        data_settings=provenance.without_folders(settings.dataset),
        pruner=settings.pruner.name,
        protocol=settings.protocol_name,
        departures=tuple(settings.departures),
        scale=settings.scale,
        shortened=settings.is_shortened,
        seed=settings.seed,
        fingerprint=provenance.digest(work.identity),
        settings=provenance.without_folders(work.identity),
        metric=settings.metric,
        splits={part: getattr(work.data, part).identity for part in ("train", "val", "test")},
        baseline=ended.baseline,
        gate=Gate(**gated.record()),
        plan=work.plan.record(),
        regularise=Regularise(
            num_steps=regularised.trainer.step,
            num_evaluations=progress.num_evaluations,
            num_prunes=len(gated.frontier),
            sparsity=ended.sparsity,
            val=progress.last_metric,
            stopped=progress.stopped,
        ),
        rows=rows,
        missing_starts=tuple(name for name in settings.finetune.start_from if name not in [row.start for row in rows]),
        alarms=gated.alarms.sentences,
        frontier=tuple(FrontierPoint(**point) for point in gated.frontier),
        irrelevance=_irrelevance(work.directory),
        paper=Target(metric=settings.paper.metric, sparsity=settings.paper.sparsity, baseline=settings.paper.baseline),
        sizes=sizes or None,
        metric_signatures=task.signatures if isinstance(task, WritesText) else {},
        cost=_cost(work, regularised),
        provenance=_provenance(work, seconds),
    )


def _cost(work: Workspace, regularised: Phase) -> Cost:
    progress, steps = regularised.progress, max(regularised.trainer.step, 1)
    step_seconds = (progress.seconds - progress.evaluation_seconds) / steps
    evaluation_seconds = progress.evaluation_seconds / max(progress.num_evaluations, 1)
    full = make_plan(uncut(work.settings), len(work.data.train))
    return Cost(
        step_seconds=step_seconds,
        evaluation_seconds=evaluation_seconds,
        peak_memory_bytes=peak_memory_bytes(work.device),
        projected_hours=full.seconds(step_seconds, evaluation_seconds) / 3600,
    )


def _provenance(work: Workspace, seconds: float) -> Provenance:
    finished, checksums = provenance.now(), work.data.checksums
    processes = work.manifest.processes
    return Provenance(
        **work.manifest.origin,
        wall_seconds=seconds,
        finished=finished,
        data_checksums=checksums,
        history=processes if len(processes) > 1 else (),
    )


def _write_layers(path: Path, results: list[Result]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [entry.name for entry in fields(Layer)])
    writer.writeheader()
    for layer in (layer for result in results for layer in _layers(result)):
        writer.writerow(asdict(layer) | {"sparsity": f"{layer.sparsity:.6f}"})
    write_text(path, text.getvalue())


def _layers(result: Result) -> Iterator[Layer]:
    for name, (shape, total, kept) in result.layers.items():
        yield Layer(result.row.start, name, "x".join(map(str, shape)), total, kept, sparsity(kept, total))


def _write_curve(directory: Path, metric: str) -> None:
    """One line per evaluation of this run, thinned from the record."""
    lines = [json.dumps(asdict(_thinned(row, metric))) for row in _evaluations(directory)]
    write_text(directory / "curve.jsonl", "\n".join(lines) + "\n")


def _evaluations(directory: Path) -> Iterator[dict[str, Any]]:
    yield from (row for row, _ in recorded(directory / "metrics.jsonl") if row["kind"] == "evaluation")


def _irrelevance(directory: Path) -> dict[str, dict[str, float]]:
    """Parameter -> mean irrelevance and share of weights below 0.99, averaged over the regularised phase's evaluations.

    Each is of the weights kept then; a parameter without any at every evaluation has no entry.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in _evaluations(directory):
        for key in (key for key in row if key.startswith("irrelevance/layer/") and row["phase"] == "regularise"):
            name, _, value = key.removeprefix("irrelevance/layer/").rpartition("/")
            found[name][value].append(row[key])
    return {
        name: {"mean": round(fmean(of["mean"]), 6), "below_0.99": round(fmean(of["below_0.99"]), 6)}
        for name, of in found.items()
    }


def _thinned(row: dict[str, Any], metric: str) -> CurvePoint:
    layers = [name.removeprefix("sparsity/layer/") for name in row if name.startswith("sparsity/layer/")]
    means = [row[f"irrelevance/layer/{name}/mean"] for name in layers if row[f"sparsity/layer/{name}"] < 1]
    return CurvePoint(
        phase=row["phase"],
        step=row["step"],
        epoch=row["epoch"],
        val=row[metric],
        sparsity=round(row["sparsity/total"], 6),
        pruned=row["prune/done"],
        lowest_mean_irrelevance=round(min(means, default=1.0), 6),
    )


def _figures(directory: Path) -> dict[str, Path]:
    """The run's figures as files in its directory; who wants none need not wait for matplotlib."""
    from sparsity.report.figures import write_run_figures

    return write_run_figures(directory)
