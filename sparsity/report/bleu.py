"""The BLEU of a result by each definition, and on each form of the test set."""

from collections.abc import Sequence

from sparsity.report.blocks import Block, Heading, Prose, table
from sparsity.report.cells import spread
from sparsity.report.comparison import Kind
from sparsity.report.configurations import STARTS, Configuration, row_at
from sparsity.report.paper import PaperExperiment
from sparsity.report.statistics import Statistic, describe

# As a run's summary names them, and the tables.
DEFINITIONS = {"bleu_13a": "sacrebleu 13a", "bleu_intl": "international", "bleu_compound": "compounds split"}
SUBSETS = {"newstest2014_2737": "2,737 of newstest2014"}

_NOTE = """*sacrebleu 13a* is the definition that others can compute and compare. *International*: the tokenisation of
mteval and of tensor2tensor's t2t-bleu, which the authors' code takes, and so the paper's own numbers. *Compounds
split*: 13a, then words split at their hyphens, after tensor2tensor's get_ende_bleu.sh (which takes Moses' tokeniser),
the definition of the published runs in Figure 1, some 0.7 to 1 point above sacrebleu's. Each on the whole test set and,
where that is newstest2014 with its 3,003 sentences, on the 2,737 that WMT judged by and that Stanford's release holds.
Early runs recorded one definition only."""


def bleu_of(ours: Configuration, start: str, name: str) -> Statistic | None:
    """One definition of the test BLEU, over the seeds that recorded it."""
    rows = [row_at(run, start) for run in ours.runs]
    return describe([row.test_metrics[name] for row in rows if row and name in row.test_metrics])


def bleu_section(paper: PaperExperiment, configurations: Sequence[Configuration]) -> list[Block]:
    """Every result by every definition that its runs recorded; nothing where none did."""
    columns = {name: f"Test, {words}" for name, words in DEFINITIONS.items()} | {
        f"{name}/{subset}": f"{where}, {words}"
        for subset, where in SUBSETS.items()
        for name, words in DEFINITIONS.items()
    }
    rows = [
        [f"{ours.name}, {STARTS[start]}", *(spread(bleu_of(ours, start, name), Kind.METRIC) for name in columns)]
        for ours in configurations
        for start in ours.starts()
    ]
    rows = [row for row in rows if any(row[1:])]
    if paper.metric != "bleu" or not rows:
        return []
    return [Heading(3, "BLEU by its definition"), Prose(_NOTE), table(["Run", *columns.values()], rows)]
