"""How far relevance is ahead of its controls, sparsity by sparsity, at equal settings and seeds."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Drawing

from sparsity.report.comparison import Kind
from sparsity.report.configurations import Configuration
from sparsity.report.equivalence import MARGINS
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.sparsity_axis import label_axis, position_of
from sparsity.report.plots.style import MUTED, colours, labels, legend, new_drawing
from sparsity.report.statistics import Paired

_APART = 0.008  # of the axis: between the bars of two controls at one sparsity


def draw_differences(paper: PaperExperiment, ways: Sequence[tuple[Configuration, dict[float, Paired]]]) -> Drawing:
    """Relevance minus each control, means of the pairs with their 95 % interval; grey: the margin of equivalence.

    Args:
        paper: whose sparsity decides how the axis is spaced.
        ways: a control, and level of sparsity -> relevance minus it there, at one level at least (`on_the_way`).
    """
    drawing, (axes,) = new_drawing()
    row = paper.row("relevance")
    assert row is not None and row.sparsity is not None, "every experiment has a row of the paper's own method"
    position, margin = position_of(row.sparsity), MARGINS[Kind.METRIC]
    axes.axhspan(-margin, margin, color=MUTED, alpha=0.2, linewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    controls = [control for control, _ in ways]
    for place, ((_, found), colour, label) in enumerate(zip(ways, colours(controls), labels(controls), strict=True)):
        first, last = (position(level) for level in (min(found), max(found)))
        aside = (place - (len(ways) - 1) / 2) * _APART * (last - first)
        axes.errorbar(
            [position(level) + aside for level in found],
            [each.difference.mean for each in found.values()],
            [each.difference.half_width or 0.0 for each in found.values()],
            fmt="o-", color=colour, markersize=4, capsize=2, linewidth=1, elinewidth=0.8,
            label=f"of {label}, {_pairs(next(iter(found.values())).n)}",
        )  # fmt: skip
    label_axis(axes, row.sparsity, [level for _, found in ways for level in found])
    axes.set_ylabel("relevance ahead by (points)")
    legend(drawing, controls)
    return drawing


def _pairs(number: int) -> str:
    return f"{number} pair{'s' * (number > 1)}"
