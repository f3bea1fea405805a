"""Sizes of the saved network, compressed or not, ours beside the paper's."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Drawing

from sparsity.report.configurations import Configuration
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.style import INK, PAPER, colours, labels, legend, new_drawing
from sparsity.report.sizes import size_label

BAR_SPACE = 0.84


def draw_sizes(paper: PaperExperiment, configurations: Sequence[Configuration]) -> Drawing:
    """Bars in MB (10^6 bytes) for each way to store the network that the paper or a run has measured."""
    published = paper.sizes.values if paper.sizes else {}
    measured = [ours.first.sizes or {} for ours in configurations]
    keys = list(dict.fromkeys([*published, *(key for sizes in measured for key in sizes)]))
    ours = {
        f"ours: {label}": ({key: spread.mean for key in keys if (spread := each.size_bytes(key))}, colour)
        for each, colour, label in zip(configurations, colours(configurations), labels(configurations), strict=True)
    }
    series = {name: value for name, value in ({"paper": (published, PAPER)} | ours).items() if value[0]}
    drawing, (axes,) = new_drawing((0.35 + 0.08 * len(keys) * (0.5 + len(series)),))
    height = BAR_SPACE / len(series)
    for number, (name, (sizes, colour)) in enumerate(series.items()):
        positions = [i + (number - (len(series) - 1) / 2) * height for i, key in enumerate(keys) if key in sizes]
        values = [sizes[key] / 1e6 for key in keys if key in sizes]
        axes.barh(positions, values, height=0.9 * height, color=colour, label=name)
        for position, value in zip(positions, values, strict=True):
            axes.annotate(
                f"{value:.3g}",
                (value, position),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
    axes.set_yticks(range(len(keys)), [size_label(key) for key in keys])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("size on disk (MB)")
    legend(drawing, configurations, columns=2)
    return drawing
