"""Methods at equal settings: the metric at equal sparsity, and how sparse each became, seed by seed."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.report.configurations import Configuration, metric_at_paper_sparsity
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.style import colours, labels, new_drawing, shared
from sparsity.report.reading import Run
from sparsity.report.statistics import describe


def draw_study(paper: PaperExperiment, configurations: Sequence[Configuration]) -> Drawing:
    """One line per method and panel: seeds as small dots, the mean as a large one with its 95 % interval.

    A panel leaves out methods without its value, as of those that never came to the paper's sparsity.
    """
    panels: dict[str, Callable[[Run], float | None]] = {
        f"test {paper.metric_label} at the paper's sparsity": metric_at_paper_sparsity,
        "sparsity (%) after the last prune": _sparsity,
    }
    found = {label: _lines(configurations, value) for label, value in panels.items()}
    drawn = {label: lines for label, lines in found.items() if lines}
    drawing, axes = new_drawing([0.28 + 0.11 * len(lines) for lines in drawn.values()])
    for each, (label, lines) in zip(axes, drawn.items(), strict=True):
        _draw(each, lines)
        each.set_xlabel(label, loc="right")
    if shared(configurations):
        axes[0].set_title(f"all runs: {shared(configurations)}", loc="right")
    return drawing


class _Line(NamedTuple):
    """What a panel shows of one method."""

    label: str
    colour: str
    values: list[float]  # one a seed


def _lines(configurations: Sequence[Configuration], value: Callable[[Run], float | None]) -> list[_Line]:
    whole = zip(configurations, labels(configurations), colours(configurations), strict=True)
    lines = [_Line(label, colour, list(ours.by_seed(value).values())) for ours, label, colour in whole]
    return [line for line in lines if line.values]


def _draw(axes: Axes, lines: Sequence[_Line]) -> None:
    for i, line in enumerate(lines):
        spread = describe(line.values)
        assert spread
        axes.plot(line.values, [i] * len(line.values), "o", color=line.colour, markersize=3, alpha=0.6)
        axes.errorbar(
            spread.mean, i, xerr=spread.half_width or 0.0, fmt="o", color=line.colour, markersize=7, capsize=3,
            markerfacecolor="none",
        )  # fmt: skip
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.ticklabel_format(axis="x", useOffset=False)


def _sparsity(run: Run) -> float:
    return 100 * run.summary.regularise.sparsity
