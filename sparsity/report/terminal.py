"""A plain table of the runs that finished just now, for a terminal."""

from collections.abc import Iterable
from pathlib import Path

from sparsity.records import Row, Summary
from sparsity.report.cells import duration, number, plain_table
from sparsity.report.comparison import Kind
from sparsity.report.reading import load_summary
from sparsity.report.variants import protocol_mark

HEADER = [
    *("scale", "experiment", "data", "pruner", "seed", "from"),
    *("baseline", "val", "test", "sparsity %", "compression", "time"),
]


def render_runs(directories: Iterable[Path], scale: str | None = None) -> str:
    """One line per finished run in `directories` and start of the final phase; of one scale, or of all.

    Raises:
        ValueError: one sentence with the summary that is damaged.
    """
    summaries = [load_summary(directory) for directory in directories]
    chosen = [summary for summary in summaries if scale in (None, summary.scale)]
    if not chosen:
        return f"No finished runs{f' of scale {scale}' if scale else ''}."
    lines = [_line(summary, row) for summary in chosen for row in summary.rows]
    return plain_table(HEADER, lines)


def _line(summary: Summary, row: Row) -> list[str]:
    return [
        summary.scale,
        summary.experiment,
        summary.data_used,
        summary.pruner + ("" if summary.protocol == "sound" else f" ({protocol_mark(summary)})"),
        str(summary.seed),
        row.start,
        number(summary.baseline.test, Kind.METRIC) or "-",
        number(row.val, Kind.METRIC),
        number(row.test, Kind.METRIC),
        number(row.sparsity, Kind.FRACTION),
        f"{row.compression:.1f}x",
        duration(summary.provenance.wall_seconds),
    ]
