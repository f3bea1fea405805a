"""All methods at one budget: the metric against the weights left, on a logarithmic axis."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.report.configurations import Configuration, row_at
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.names import Named, put_names
from sparsity.report.plots.style import INK, MUTED, PAPER, SERIES, new_drawing
from sparsity.report.standings import LAST, Standing
from sparsity.report.statistics import describe

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # percent
MOST = 130.0  # percent: room for the dense network's mark
LOWEST = 1.6  # points below the best that are still shown: a network that fell apart would flatten all others


def draw_leaderboard(paper: PaperExperiment, found: Sequence[Standing]) -> Drawing:
    """One colour a method, its tries joined, its name beside the chosen one; published points in grey."""
    drawing, (axes,) = new_drawing((1.6,))
    names = []
    for point in paper.literature:
        axes.plot(100 * point.density, point.score, "x", color=MUTED, markersize=3, alpha=0.6)
    for row in paper.results.rows:
        if row.sparsity is not None:
            mark, colour = ("D", PAPER) if row.method == "relevance" else ("s", MUTED)
            axes.plot(100 * (1 - row.sparsity), row.metric, mark, color=colour, markersize=4)
            names.append(Named(100 * (1 - row.sparsity), row.metric, row.citation or "the paper", colour))
    for i, standing in enumerate(found):
        colour = SERIES[i % len(SERIES)]
        tries = tuple(zip(*sorted(_place(ours) for ours in standing.tried), strict=True))
        axes.plot(*tries, "-", color=colour, linewidth=0.6, alpha=0.45)
        axes.plot(*tries, "o", color=colour, markersize=4, markerfacecolor="none")
        axes.plot(*_place(standing.chosen), "o", color=colour, markersize=6, zorder=3)
        names.append(Named(*_place(standing.chosen), standing.chosen.first.pruner, INK))
    _frame(axes, found)
    axes.set_ylabel(f"{paper.metric_label}, test")
    put_names(axes, [name for name in names if name.y >= axes.get_ylim()[0]])
    return drawing


def _frame(axes: Axes, found: Sequence[Standing]) -> None:
    """A logarithmic axis of what is left, from more to less."""
    places = [_place(ours) for standing in found for ours in standing.tried]
    best = max(metric for _, metric in places)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], best - LOWEST))
    axes.set_xscale("log")
    low, high = sorted(axes.get_xlim())
    axes.set_xlim(min(high, MOST), low / 1.4)  # room for names
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("weights and biases left (%)")


def _place(ours: Configuration) -> tuple[float, float]:
    """Left in percent, and the test metric, as means over seeds."""
    rows = [row for run in ours.runs if (row := row_at(run, LAST))]
    left, metric = describe([100 * (1 - row.sparsity) for row in rows]), describe([row.test for row in rows])
    assert left is not None and metric is not None, "a run of the leaderboard has a row of its last state"
    return left.mean, metric.mean
