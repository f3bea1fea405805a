"""A waterfall: what each step on the way from the sound protocol to the authors' adds to the metric."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure as Drawing

from sparsity.report.cells import number
from sparsity.report.comparison import Kind
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.style import INK, MUTED, PALETTE, PAPER, PLATE, new_drawing
from sparsity.report.statistics import describe

GAIN, LOSS = PALETTE["l2"][0], PALETTE["rose"][0]
HEIGHT, LINE_HEIGHT = 0.16, 0.09  # in panels: a bar with one line of its label, and each further line


@dataclass(frozen=True)
class Bar:
    """What was added, one key a line, and the metric of each seed with all that stands above too."""

    label: str
    values: tuple[float, ...]


def draw_audit(paper: PaperExperiment, bars: Sequence[Bar]) -> Drawing:
    """The first stage as a point with its 95 % interval, each later one as a bar from the mean before it."""
    num_lines = sum(bar.label.count("\n") for bar in bars)
    drawing, (axes,) = new_drawing([0.3 + HEIGHT * len(bars) + LINE_HEIGHT * num_lines])
    before: float | None = None
    for i, bar in enumerate(bars):
        spread = describe(bar.values)
        assert spread is not None, "a bar is of runs"
        axes.plot(bar.values, [i] * len(bar.values), "o", color=MUTED, markersize=3, zorder=3)
        if before is None:
            axes.errorbar(spread.mean, i, xerr=spread.half_width or 0.0, fmt="o", color=INK, capsize=3)
        else:
            change = spread.mean - before
            axes.barh(i, change, left=before, height=0.5, color=GAIN if change >= 0 else LOSS, alpha=0.6)
            axes.plot([before, before], [i - 1, i + 0.25], color=MUTED, linewidth=0.8)
            axes.annotate(
                number(change, Kind.METRIC, "+"), (max(spread.mean, before, *bar.values), i), xytext=(5, 0),
                textcoords="offset points", va="center", fontsize=9, bbox=PLATE,
            )  # fmt: skip
        before = spread.mean
    printed = paper.row("relevance")
    assert printed is not None, "every experiment has a row of the paper's own method"
    axes.axvline(printed.metric, color=PAPER, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.annotate(
        "paper", (printed.metric, -0.5), xytext=(4, -10), textcoords="offset points", fontsize=9, color=PAPER
    )  # fmt: skip
    axes.grid(axis="y", visible=False)
    axes.use_sticky_edges = False  # a bar begins where another ends, and not at the frame
    axes.margins(x=0.16)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_xlabel(f"{paper.metric_label}, test", loc="right")
    return drawing
