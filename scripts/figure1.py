"""Reduce the published runs behind the curves of the paper's Figure 1 to the points that no other run beats.

python scripts/figure1.py FOLDER

FOLDER is state_of_sparsity/results/sparse_transformer/technique_comparison of google-research/google-research on GitHub
(Apache-2.0). Writes results/paper/transformer_wmt14_curves.csv.
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from sparsity.files import run_script, write_text

TARGET = Path(__file__).resolve().parents[1] / "results" / "paper" / "transformer_wmt14_curves.csv"
DECIMALS = 4
COMPETITORS = {
    "magnitude": ("magnitude_pruning", "magnitude pruning"),
    "sparse_vd": ("variational_dropout", "variational dropout"),
    "l0": ("l0_regularization", "L0 regularisation"),
    "random": ("random_pruning", "random pruning"),
}
# Figure 1 of the paper, its own method: sparsity, BLEU.
PAPERS_POINTS = (
    *((0.4361, 26.85), (0.4871, 27.15), (0.5352, 26.86), (0.5781, 26.53), (0.6181, 26.60), (0.6532, 26.60)),
    *((0.6832, 26.81), (0.7115, 26.53), (0.7378, 26.56), (0.7603, 26.02), (0.7813, 25.87), (0.7993, 25.56)),
)
SOURCE = """\
# BLEU against sparsity on WMT14, made by scripts/figure1.py. method=relevance: the points of the paper's own Figure 1,
# BLEU by international tokenisation. The others: the envelope (no other run of the method has as much sparsity and
# more BLEU) of all runs published with the paper's [25], Gale, Elsen, Hooker 2019, in google-research/google-research,
# folder state_of_sparsity, Apache-2.0, changed by this selection; their BLEU is multi-bleu with compound splitting
# (tensor2tensor's get_ende_bleu.sh), some 0.7 to 1 point above sacrebleu's 13a. Figure 1 also has a curve of Targeted
# Dropout, of which no numbers are published.
"""

Point = tuple[float, float]


def main() -> int:
    """Run the command line and return the exit status; a missing table is one sentence and 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the tables transformer_*.csv are")
    try:
        rows = list(list_rows(parser.parse_args().folder))
    except OSError as error:
        print(
            f"{error.filename} cannot be read ({error.strerror}); name the folder of the published tables.",
            file=sys.stderr,
        )
        return 1
    text = io.StringIO(SOURCE)
    text.seek(0, io.SEEK_END)
    csv.writer(text, lineterminator="\n").writerows([("method", "label", "sparsity", "metric"), *rows])
    write_text(TARGET, text.getvalue())
    return 0


def list_rows(folder: Path) -> Iterator[tuple[str, str, float, float]]:
    """The lines of the file: the paper's points, then the envelope of each competitor's runs."""
    for point in PAPERS_POINTS:
        yield "relevance", "paper: Figure 1", *point
    for method, (name, label) in COMPETITORS.items():
        for point in envelope(read_points(folder / f"transformer_{name}.csv")):
            yield method, f"[25]: {label}", *point


def read_points(path: Path) -> Iterator[Point]:
    """All (sparsity, BLEU) pairs of a table: of one pair of columns, or of one pair per threshold (`Sparsity:0.5`)."""
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            columns = {re.sub(r"^moses ", "", name.lower()): value for name, value in line.items()}
            for name in (name for name in columns if name.startswith("sparsity")):
                yield float(columns[name]), float(columns[name.replace("sparsity", "bleu")])


def envelope(points: Iterable[Point]) -> list[Point]:
    """The points at which no other has as much sparsity and more of the metric, by rising sparsity."""
    found: list[Point] = []
    for sparsity, metric in sorted(((round(s, DECIMALS), metric) for s, metric in points), reverse=True):
        if not found or metric > found[-1][1]:
            found.append((sparsity, metric))
    return found[::-1]


if __name__ == "__main__":
    run_script(main)
