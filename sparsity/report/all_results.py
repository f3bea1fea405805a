"""results/results.csv: every row of every published run, for those who plot themselves."""

import csv
import io
from collections.abc import Sequence

from sparsity.report.reading import Run
from sparsity.report.tables import Section

FILE = "results.csv"
COLUMNS = (
    *(
        "experiment",
        "pruner",
        "fingerprint",
        "scale",
        "protocol",
        "marks",
        "seed",
        "start",
        "sparsity",
        "kept",
        "total",
    ),
    *("metric", "val", "test", "dense_test", "epoch", "num_prunes", "seconds", "device", "commit"),
)


def results_csv(sections: Sequence[Section]) -> str:
    """One line a row, in the order of the page; sparsity in [0, 1], metrics in their own unit, marks by semicolons."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for _, ours in sections:
        for each in ours:
            for run in each.runs:
                writer.writerows(_rows(run, "; ".join(each.marks)))
    return text.getvalue()


def _rows(run: Run, marks: str) -> list[list[object]]:
    of, origin = run.summary, run.summary.provenance
    return [
        [
            *(of.experiment, of.pruner, of.fingerprint, of.scale, of.protocol, marks, of.seed, row.start),
            *(f"{row.sparsity:.6f}", row.kept, row.total, of.metric, row.val, row.test, of.baseline.test, row.epoch),
            *(of.regularise.num_prunes, f"{origin.wall_seconds:.0f}", origin.device, origin.commit),
        ]
        for row in of.rows
    ]
