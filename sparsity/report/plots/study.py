"""Methods at equal settings: the metric at equal sparsity, and how sparse each became, seed by seed."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.records import AT_PAPER_SPARSITY
from sparsity.report.configurations import Configuration, row_at
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.style import colours, labels, new_drawing, shared
from sparsity.report.reading import Run
from sparsity.report.statistics import describe


def draw_study(paper: PaperExperiment, configurations: Sequence[Configuration]) -> Drawing:
    """One line per method and panel: seeds as small dots, the mean as a large one with its 95 % interval.

    The metric has a panel where any run came to the paper's sparsity.
    """
    panels: dict[str, Callable[[Run], float | None]] = {
        f"test {paper.metric_label} at the paper's sparsity": _test_metric,
        "sparsity (%) after the last prune": _sparsity,
    }
    drawn = {label: value for label, value in panels.items() if any(ours.by_seed(value) for ours in configurations)}
    drawing, axes = new_drawing([0.28 + 0.11 * len(configurations)] * len(drawn))
    for each, (label, value) in zip(axes, drawn.items(), strict=True):
        _draw(each, configurations, value)
        each.set_xlabel(label, loc="right")
    if shared(configurations):
        axes[0].set_title(f"all runs: {shared(configurations)}", loc="right")
    return drawing


def _draw(axes: Axes, configurations: Sequence[Configuration], value: Callable[[Run], float | None]) -> None:
    for i, (ours, colour) in enumerate(zip(configurations, colours(configurations), strict=True)):
        values = list(ours.by_seed(value).values())
        spread = describe(values)
        if spread is None:
            continue
        axes.plot(values, [i] * len(values), "o", color=colour, markersize=3, alpha=0.6)
        axes.errorbar(
            spread.mean, i, xerr=spread.half_width or 0.0, fmt="o", color=colour, markersize=7, capsize=3,
            markerfacecolor="none",
        )  # fmt: skip
    axes.set_yticks(range(len(configurations)), labels(configurations))
    axes.set_ylim(len(configurations) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.ticklabel_format(axis="x", useOffset=False)


def _sparsity(run: Run) -> float:
    return 100 * run.summary.regularise.sparsity


def _test_metric(run: Run) -> float | None:
    row = row_at(run, AT_PAPER_SPARSITY)
    return row.test if row else None
