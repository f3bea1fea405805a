"""The weights left in each group of layers, ours beside the paper's."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.records import AT_PAPER_SPARSITY
from sparsity.report.configurations import Configuration
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.style import INK, PAPER, colours, labels, legend, new_drawing

LOWEST = 1e-4  # of the logarithmic axis: FC1 keeps 0.11 % where Conv1 keeps 29 %
BAR_SPACE = 0.84  # of the distance between two groups


def draw_residuals(paper: PaperExperiment, configurations: Sequence[Configuration]) -> Drawing:
    """Bars of the fraction left at the paper's sparsity, logarithmic, each with its number."""
    row = paper.row("relevance")
    assert row is not None, "every experiment has a row of the paper's own method"
    ours = {
        label: ({group: spread.mean for group, spread in each.residual(AT_PAPER_SPARSITY).items()}, colour)
        for each, colour, label in zip(configurations, colours(configurations), labels(configurations), strict=True)
    }
    drawn = {"paper": (row.residual, PAPER)} | {f"ours: {name}": value for name, value in ours.items()}
    series = {name: value for name, value in drawn.items() if value[0]}
    groups = paper.results.groups
    drawing, (axes,) = new_drawing((0.35 + 0.085 * len(groups) * (1 + len(series)),))
    for number, (name, (left, colour)) in enumerate(series.items()):
        _draw_bars(axes, groups, left, colour, name, number, len(series))
    _frame(axes, groups)
    legend(drawing, configurations, columns=2)
    return drawing


def _draw_bars(
    axes: Axes, groups: Sequence[str], left: Mapping[str, float], colour: str, name: str, number: int, count: int
) -> None:
    height = BAR_SPACE / count
    positions = [i + (number - (count - 1) / 2) * height for i in range(len(groups))]
    values = [left.get(group, 0.0) for group in groups]
    axes.barh(positions, values, height=0.9 * height, color=colour, label=name)
    for position, value in zip(positions, values, strict=True):
        shown = max(value, LOWEST)
        axes.annotate(
            f"{100 * value:.2f} %", (shown, position), (4, 0), textcoords="offset points", va="center", fontsize=8,
            color=INK,
        )  # fmt: skip


def _frame(axes: Axes, groups: Sequence[str]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(LOWEST, 4.0)  # beyond 1: room for the numbers
    ticks = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    axes.set_xticks(ticks, [f"{100 * tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("weights left (%), logarithmic")
