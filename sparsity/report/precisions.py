"""Whole runs in bf16 on a CPU beside those in fp32 of the same settings and seeds: is the metric the same, how fast?

They stand under results/precision/bf16 as others do under results: precision is no part of which run it is, and the
page of results shows those in fp32.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sparsity.records import AT_PAPER_SPARSITY
from sparsity.report.blocks import Block, Heading, Prose, table
from sparsity.report.cells import code, duration, interval, number, spread
from sparsity.report.comparison import Kind
from sparsity.report.configurations import row_at
from sparsity.report.equivalence import MARGINS, reading
from sparsity.report.reading import Run, find_runs, load_run
from sparsity.report.statistics import compare_pairs, describe

FOLDER = Path("precision") / "bf16"

INTRODUCTION = f"""Runs with `machine.precision=bf16` on a CPU with units for it beside the published ones in fp32, of
the same settings, paired by seed: the test metric at the paper's sparsity, and the time of a whole run, whatever else
the processor did meanwhile. Between processors, or orders of summation, two runs of a seed differ as two seeds do.
The reading is that of the page of results, with its margin of {MARGINS[Kind.METRIC]:g} points."""


def precision_section(results: Path) -> list[Block]:
    """A line per configuration that has runs in both precisions; nothing where there is none.

    Raises:
        ValueError: one sentence with the record that is damaged.
    """
    rows = [_row(pairs) for pairs in _pairs(results)]
    header = ["Run", "n", "Metric in fp32", "Metric in bf16", "Difference", "95 % interval", "Reading",
              "Time in fp32", "Time in bf16"]  # fmt: skip
    return [Heading(2, "Whole runs in bf16"), Prose(INTRODUCTION), table(header, rows)] if rows else []


def _pairs(results: Path) -> Iterator[list[tuple[Run, Run]]]:
    """The runs in fp32 and in bf16 of each configuration, seed by seed."""
    folders: dict[Path, list[tuple[Run, Run]]] = {}
    for directory in find_runs(results / FOLDER):
        place = directory.relative_to(results / FOLDER)
        if (results / place / "summary.json").is_file():
            folders.setdefault(place.parent, []).append((load_run(results / place), load_run(directory)))
    yield from folders.values()


def _row(pairs: list[tuple[Run, Run]]) -> list[str]:
    metrics = [[_metric(run) for run in runs] for runs in zip(*pairs, strict=True)]
    found = compare_pairs(metrics[1], metrics[0])
    assert found is not None, "there is a pair"
    times = [_times(runs) for runs in zip(*pairs, strict=True)]
    summary = pairs[0][0].summary
    return [
        f"{code(summary.experiment)}, {summary.pruner} {summary.fingerprint[:8]}",
        str(len(pairs)),
        *(spread(describe(values), Kind.METRIC) for values in metrics),
        number(found.difference.mean, Kind.METRIC, "+"),
        interval(found.difference, Kind.METRIC),
        reading(found, MARGINS[Kind.METRIC]),
        *times,
    ]


def _times(runs: Sequence[Run]) -> str:
    """How long each run took, and on what."""
    seconds = ", ".join(duration(run.summary.provenance.wall_seconds) for run in runs)
    return f"{seconds} on {', '.join(dict.fromkeys(run.summary.provenance.device for run in runs))}"


def _metric(run: Run) -> float:
    row = row_at(run, AT_PAPER_SPARSITY) or run.summary.rows[0]
    return row.test
