"""The settings of a sweep side by side, ordered by validation, never by test."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from sparsity import provenance, sweeps
from sparsity.records import AT_PAPER_SPARSITY
from sparsity.report.cells import number, plain_table, spread
from sparsity.report.comparison import Kind
from sparsity.report.configurations import Configuration
from sparsity.report.reading import load_run
from sparsity.report.statistics import Statistic

_DEFAULT = "default"
_SHOWN_ANYWAY = ("pruner.name", "pruner.prunes", "pruner.method._target_", "pruner.penalty.kind")


def render_sweep(results: Path, name: str) -> str:
    """A table of a sweep's finished configurations, the best one marked, and a line on each job that is not finished.

    The best one has the highest mean validation metric, over seeds, at the paper's sparsity (at the last state, if no
    run has reached that), among those of the same experiment and scale.

    Raises:
        ValueError: if there is no such sweep, or a record of one of its runs is damaged.
    """
    directories = sweeps.members(results, name)
    finished = _grouped([path for path in directories if provenance.is_done(path)])
    refused = sweeps.refused(results, name)
    without_run = {job.directory for job in refused}
    waiting = [path for path in directories if not provenance.is_done(path) and path not in without_run]
    num_runs = len(directories) + sum(job.directory not in directories for job in refused)
    parts = [f"sweep {name}: {num_runs} runs"]
    if finished:
        parts.append(_table(finished))
    parts += [_unfinished(path, directories[path], results) for path in waiting]
    parts += [f"failed: {job.words}: {job.reason}" for job in refused]
    return "\n".join(parts)


def _grouped(directories: Sequence[Path]) -> list[Configuration]:
    """Runs that differ by their seed only."""
    groups: dict[Path, list[Path]] = {}
    for path in directories:
        groups.setdefault(path.parent, []).append(path)
    return [Configuration(tuple(load_run(path) for path in group), ()) for group in groups.values()]


def _table(finished: Sequence[Configuration]) -> str:
    start = AT_PAPER_SPARSITY if any(_val(each, AT_PAPER_SPARSITY) for each in finished) else "last"
    ordered = sorted(finished, key=lambda each: (each.first.experiment, each.first.scale, -_mean_val(each, start)))
    varied = _varied(ordered)
    header = ["", "experiment", "scale", "pruner", *varied, "n", "val", "test", "sparsity %", "from"]
    best: dict[tuple[str, str], float] = {}
    for each in ordered:
        best.setdefault((each.first.experiment, each.first.scale), _mean_val(each, start))
    rows = [
        _row(each, start, varied, 0 < best[each.first.experiment, each.first.scale] == _mean_val(each, start))
        for each in ordered
    ]
    return plain_table(header, rows) + "\nbest: highest mean validation metric; test is shown, not used"


def _row(each: Configuration, start: str, varied: Sequence[str], is_best: bool) -> list[str]:
    metric = each.test_metric(start)
    sparsity = each.sparsity(start)
    return [
        "best" if is_best else "",
        each.first.experiment,
        each.first.scale,
        each.first.pruner,
        *(_said(each).get(path, _DEFAULT) for path in varied),
        str(len(each.runs)),
        spread(_val(each, start), Kind.METRIC) or "never reached",
        spread(metric, Kind.METRIC),
        number(sparsity.mean if sparsity else None, Kind.FRACTION),
        start,
    ]


def _varied(finished: Sequence[Configuration]) -> list[str]:
    """Dotted paths of the settings, and of arguments that constructors share, in which the configurations differ."""
    values: dict[str, set[str]] = defaultdict(set)
    for path, value in (pair for each in finished for pair in _said(each).items()):
        values[path].add(value)
    for each in finished:
        for path in values.keys() - _said(each).keys():
            if f"{path.rpartition('.')[0]}._target_" not in values:  # a setting, and no argument of another constructor
                values[path].add(_DEFAULT)
    return [path for path, found in values.items() if len(found) > 1 and path not in _SHOWN_ANYWAY]


def _said(each: Configuration) -> dict[str, str]:
    """Dotted path -> value of each setting and of each argument of a constructor."""
    said: dict[str, str] = {}
    for path, value in (each.first.settings or {}).items():
        said |= (
            {f"{path}.{key}": str(of) for key, of in value.items()} if isinstance(value, dict) else {path: str(value)}
        )
    return said


def _val(each: Configuration, start: str) -> Statistic | None:
    return each.over_rows(start, lambda row: row.val)


def _mean_val(each: Configuration, start: str) -> float:
    found = _val(each, start)
    return found.mean if found else 0.0


def _unfinished(directory: Path, words: str, results: Path) -> str:
    state, reason = provenance.state_of(directory)
    run = ", ".join(filter(None, (str(directory.relative_to(results / "runs")), words)))
    return f"{state}: {run}{': ' + reason if reason else ''}"
