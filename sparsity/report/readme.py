"""README.md's first screen, between two marker comments, written by `make report`: table, claims, picture."""

from collections.abc import Sequence
from pathlib import Path

from sparsity.report.blocks import Block, Prose, Table, table
from sparsity.report.claims import FILE as CLAIMS
from sparsity.report.claims import Claim, load_claims, tally
from sparsity.report.configurations import Configuration
from sparsity.report.markdown import render_markdown
from sparsity.report.paper import PaperExperiment
from sparsity.report.statistics import describe
from sparsity.report.tables import NOT_RUN, Section, own_results, printed, reached

BEGIN, END = "<!-- results: written by make report -->", "<!-- end of results -->"
PICTURE = "figures/lenet5_mnist/leaderboard.svg"
CAPTION = "LeNet-5 on MNIST: test accuracy against the weights left, of each method at one budget; grey: as published"
CLAIMS_PAGE = "results/README.md#the-papers-claims"


def results_table(sections: Sequence[Section]) -> Table:
    """One line per experiment and judged configuration of the paper's method: metric at sparsity, theirs and ours."""
    rows = [row for paper, configurations in sections for row in _rows(paper, own_results(paper, configurations))]
    return table(["experiment", "paper", "ours, at the paper's sparsity", "seeds", "verdict", "a run took"], rows)


def first_screen(results: Path, sections: Sequence[Section], claims: Sequence[Claim]) -> list[Block]:
    """What a reader sees first: the table, how the claims stand, and the methods against each other."""
    blocks: list[Block] = [results_table(sections)]
    if claims:
        counts = ", ".join(f"{count} {finding.value}" for finding, count in tally(sections, claims).items())
        blocks.append(Prose(f"The paper's {len(claims)} claims, each by a printed rule: [{counts}]({CLAIMS_PAGE})."))
    if (results / PICTURE).is_file():
        blocks.append(Prose(f"![{CAPTION}](results/{PICTURE})\n\n*{CAPTION}.*"))
    return blocks


def filled(text: str, blocks: Sequence[Block]) -> str:
    """A README's text with these blocks between its markers.

    Raises:
        ValueError: if one marker stands there without the other.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"README.md has no line '{END}' after '{BEGIN}': restore both, the results go between them.")
    return "\n\n".join((before + begin, render_markdown(blocks).rstrip("\n"), end + after))


def brought_up_to_date(results: Path, sections: Sequence[Section]) -> dict[Path, str]:
    """The README above the results, if it is there and has the marker, and what it should hold. Raises as `filled`."""
    readme = results.parent / "README.md"
    if not readme.is_file() or BEGIN not in (text := readme.read_text(encoding="utf-8")):
        return {}
    return {readme: filled(text, first_screen(results, sections, load_claims(results / CLAIMS)))}


def _rows(paper: PaperExperiment, ours: Sequence[Configuration]) -> list[list[str]]:
    name = f"{paper.title}, {'accuracy' if paper.metric == 'accuracy' else 'BLEU'}"
    found = [[*reached(paper, each), _took(each)] for each in ours] or [[*NOT_RUN, ""]]
    return [[name, printed(paper), *each] for each in found]


def _took(ours: Configuration) -> str:
    """Hours of a run, in the mean over seeds, and on what."""
    origins = [run.summary.provenance for run in ours.runs]
    hours = describe([origin.wall_seconds / 3600 for origin in origins])
    assert hours is not None, "a configuration has a run"
    devices = [origin.device.removeprefix("cpu: ").replace(" 1 threads", " 1 thread") for origin in origins]
    return f"{hours.mean:.1f} h; {' and '.join(dict.fromkeys(devices))}"
