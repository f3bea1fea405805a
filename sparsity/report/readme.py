"""README.md's table of results, which stands between two marker comments and is written by `make report`."""

from collections.abc import Sequence
from pathlib import Path

from sparsity.report.blocks import Table, table
from sparsity.report.configurations import Configuration
from sparsity.report.markdown import render_markdown
from sparsity.report.paper import PaperExperiment
from sparsity.report.tables import NOT_RUN, Section, own_results, printed, reached

BEGIN, END = "<!-- results: written by make report -->", "<!-- end of results -->"


def results_table(sections: Sequence[Section]) -> Table:
    """One line per experiment and judged configuration of the paper's method: metric at sparsity, theirs and ours."""
    rows = [row for paper, configurations in sections for row in _rows(paper, own_results(paper, configurations))]
    return table(["experiment", "paper", "ours, at the paper's sparsity", "seeds", "verdict"], rows)


def filled(text: str, sections: Sequence[Section]) -> str:
    """A README's text with the table of these results between its markers.

    Raises:
        ValueError: if one marker stands there without the other.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"README.md has no line '{END}' after '{BEGIN}': restore both, the results go between them.")
    return "\n\n".join((before + begin, render_markdown([results_table(sections)]).rstrip("\n"), end + after))


def brought_up_to_date(readme: Path, sections: Sequence[Section]) -> dict[Path, str]:
    """A README, if it is there and has the marker, and what it should hold. Raises as `filled`."""
    if not readme.is_file() or BEGIN not in (text := readme.read_text(encoding="utf-8")):
        return {}
    return {readme: filled(text, sections)}


def _rows(paper: PaperExperiment, ours: Sequence[Configuration]) -> list[list[str]]:
    name = f"{paper.title}, {'accuracy' if paper.metric == 'accuracy' else 'BLEU'}"
    return [[name, printed(paper), *each] for each in [reached(paper, each) for each in ours] or [NOT_RUN]]
