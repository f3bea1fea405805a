"""How a result was made: the way to the sparsity that a configuration reached, and the command of each run."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sparsity.records import AT_PAPER_SPARSITY, Network, Process, Provenance
from sparsity.report.blocks import Table, table
from sparsity.report.cells import code, duration, number, spread
from sparsity.report.comparison import Kind
from sparsity.report.configurations import STARTS, Configuration, row_at
from sparsity.report.publish import is_published
from sparsity.report.reading import Run
from sparsity.report.statistics import describe
from sparsity.report.stops import LEVELS, stopped_by


def frontier_table(configurations: Sequence[Configuration]) -> Table | None:
    """Validation metric where the pruning first passed each of a few sparsities; None where nothing was pruned."""
    reached = [level for level in LEVELS if any(_at(run, level) for ours in configurations for run in ours.runs)]
    rows = [[ours.name, *[_frontier_cell(ours, level) for level in reached]] for ours in configurations]
    pruned = [row for row in rows if any(row[1:])]
    return table(["Run", *[f"{100 * level:g} %" for level in reached]], pruned) if pruned else None


def _frontier_cell(ours: Configuration, level: float) -> str:
    values = [value for run in ours.runs if (value := _at(run, level)) is not None]
    some = f" ({len(values)} of {len(ours.runs)} seeds)" if 0 < len(values) < len(ours.runs) else ""
    return spread(describe(values), Kind.METRIC) + some


def _at(run: Run, level: float) -> float | None:
    return next((point.val for point in run.summary.frontier if point.sparsity >= level), None)


def final_phases_table(configurations: Sequence[Configuration]) -> Table | None:
    """Final phases that start from the same states at the paper's sparsity, best by validation first; None for one."""
    before = [each.before_final_phase for each in configurations]
    tried = [
        (found.mean, each)
        for each, shared in zip(configurations, before, strict=True)
        if not each.marks and shared and before.count(shared) > 1
        if (found := each.over_rows(AT_PAPER_SPARSITY, lambda row: row.val))
    ]
    header = ["Run", "n", "Validation", "Test", "Epoch of the best"]
    rows = [_final_phase_row(each) for _, each in sorted(tried, key=lambda pair: -pair[0])]
    return table(header, rows) if len(rows) > 1 else None


def _final_phase_row(ours: Configuration) -> list[str]:
    val, test = (ours.over_rows(AT_PAPER_SPARSITY, value) for value in (lambda row: row.val, lambda row: row.test))
    rows = [row for run in ours.runs if (row := row_at(run, AT_PAPER_SPARSITY))]
    epochs = ", ".join(f"{row.epoch} of {row.num_epochs}" for row in rows)
    return [ours.name, str(len(rows)), spread(val, Kind.METRIC), spread(test, Kind.METRIC), epochs]


def runs_table(configurations: Sequence[Configuration]) -> Table:
    """One line per seed: gate, prunes, stop, commit, device, time and the command that repeats it."""
    header = ["Run", "Seed", "Bound", "Prunes", "Last prune", "Stopped by", "Commit", "Device", "Time", "Command"]
    return table(header, [_run_row(ours, run) for ours in configurations for run in ours.runs])


def _run_row(ours: Configuration, run: Run) -> list[str]:
    summary, provenance = run.summary, run.summary.provenance
    return [
        ours.name,
        str(summary.seed),
        _bound(run),
        f"{summary.regularise.num_prunes} in {summary.regularise.num_evaluations} evaluations",
        _last_prune(run),
        stopped_by(run),
        _each(provenance, lambda of: code((of.commit or "none")[:10]) + (" with changes" if of.dirty else "")),
        _each(provenance, lambda of: of.device),
        duration(provenance.wall_seconds),
        code(provenance.command),
    ]


def _each(provenance: Provenance, say: Callable[[Provenance | Process], str]) -> str:
    """What is said of the processes that trained a run, once where they agree."""
    return ", ".join(dict.fromkeys(map(say, provenance.history or (provenance,))))


def networks_table(configurations: Sequence[Configuration], page: Path) -> Table | None:
    """The network of each row, to be had from the page or, too large for that, from its run; None where there is none.

    Args:
        page: the folder of the page, from which links lead.
    """
    header = ["Run", "Seed", "Network", "Weights left", "Bytes", "File"]
    rows = [
        [ours.name, str(run.summary.seed), STARTS[network.start], *_network_cells(run, network, page)]
        for ours in configurations
        for run in ours.runs
        for network in run.networks
    ]
    return table(header, rows) if rows else None


def _network_cells(run: Run, network: Network, page: Path) -> list[str]:
    path = (run.directory / network.file).relative_to(page)
    file = f"[{path.name}]({path.as_posix()})" if is_published(network) else f"{path.name}, in its run's folder"
    return [f"{network.kept:,} of {network.total:,}", f"{network.bytes:,}", file]


def moved_bounds(configurations: Sequence[Configuration]) -> list[str]:
    """Why a gate did not use the printed bound, each reason once."""
    reasons = {
        f"Bound of {ours.name}: {run.summary.gate.why.rstrip('.')}."
        for ours in configurations
        for run in ours.runs
        if _is_moved(run)
    }
    return sorted(reasons)


def _bound(run: Run) -> str:
    gate = run.summary.gate
    used = number(gate.bound_used, Kind.METRIC)
    return f"{used} (printed {number(gate.bound_printed, Kind.METRIC)})" if _is_moved(run) else used


def _is_moved(run: Run) -> bool:
    return run.summary.gate.bound_used != run.summary.gate.bound_printed


def _last_prune(run: Run) -> str:
    """The epoch in which the last prune fell, counted from 1."""
    epochs = [point.epoch for point in run.curve if point.pruned]
    return f"epoch {epochs[-1] + 1}" if epochs else "never"
