"""All methods at one budget: the metric against the weights left, on a logarithmic axis."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.report.configurations import Configuration, row_at
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.style import INK, MUTED, SERIES, new_drawing
from sparsity.report.standings import LAST, Standing
from sparsity.report.statistics import describe

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # percent
LOWEST = 4.0  # points below the best that are still shown: a network that fell apart would flatten all others


def draw_leaderboard(paper: PaperExperiment, found: Sequence[Standing]) -> Drawing:
    """One colour a method, its name beside the chosen try; published points in grey under their references."""
    drawing, (axes,) = new_drawing((1.4,))
    for row in paper.results.rows:
        if row.sparsity is not None:
            axes.plot(100 * (1 - row.sparsity), row.metric, "s", color=MUTED, markersize=4)
            _say(axes, 100 * (1 - row.sparsity), row.metric, row.citation or "paper", MUTED)
    for i, standing in enumerate(found):
        colour = SERIES[i % len(SERIES)]
        for ours in standing.tried:
            if ours is not standing.chosen:
                axes.plot(*_place(ours), "o", color=colour, markersize=4, markerfacecolor="none")
        axes.plot(*_place(standing.chosen), "o", color=colour, markersize=6, zorder=3)
        _say(axes, *_place(standing.chosen), standing.chosen.first.pruner, INK)
    best = max(_place(ours)[1] for standing in found for ours in standing.tried)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], best - LOWEST))
    axes.set_xscale("log")
    axes.margins(x=0.12)
    low, high = sorted(axes.get_xlim())
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.set_xlabel("weights and biases left (%)")
    axes.set_ylabel(f"{paper.metric_label}, test")
    return drawing


def _place(ours: Configuration) -> tuple[float, float]:
    """Left in percent, and the test metric, as means over seeds."""
    rows = [row for run in ours.runs if (row := row_at(run, LAST))]
    left, metric = describe([100 * (1 - row.sparsity) for row in rows]), describe([row.test for row in rows])
    assert left is not None and metric is not None, "a run of the leaderboard has a row of its last state"
    return left.mean, metric.mean


def _say(axes: Axes, left: float, metric: float, name: str, colour: str) -> None:
    axes.annotate(
        name, (left, metric), xytext=(4, 4), textcoords="offset points", fontsize=7, color=colour, clip_on=True
    )
