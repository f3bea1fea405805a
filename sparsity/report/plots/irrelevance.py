"""How much weaker than plain L2 the penalty is, by 1 - I: over time where most, and layer by layer."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import NullFormatter

from sparsity.report.configurations import Configuration
from sparsity.report.plots.style import colours, labels, legend, new_drawing
from sparsity.report.stops import regularised

LOWEST = 1e-6  # below this the figures of a run are rounded
MOST_LAYERS = 16
LONGEST_AT_9_POINTS = 20  # letters of a parameter's name; longer ones leave the panel too little room


def draw_irrelevance(configurations: Sequence[Configuration]) -> Drawing:
    """1 - mean irrelevance, logarithmic: at 1 nothing is pulled, at 0.01 the penalty is within 1 % of L2."""
    layers = [ours.first.irrelevance or {} for ours in configurations]
    names = _most_relevant(layers)
    drawing, axes = new_drawing((1.0, 0.35 + 0.075 * len(names)) if names else (1.0,))
    for ours, colour, label in zip(configurations, colours(configurations), labels(configurations), strict=True):
        points = [(p.step / 1000, p.lowest_mean_irrelevance) for p in regularised(ours.runs[0])]
        drawn = [(step, max(1 - mean, LOWEST)) for step, mean in points if mean is not None]
        axes[0].plot([step for step, _ in drawn], [value for _, value in drawn], color=colour, linewidth=1, label=label)
    _percent(axes[0], "y")
    axes[0].set_ylabel("1 - mean irrelevance (%),\nlayer where largest")
    axes[0].set_xlabel("training step of the regularised phase (thousands)", loc="right")
    if names:
        _draw_layers(axes[1], names, layers, colours(configurations))
    legend(drawing, configurations, columns=2)
    return drawing


def _most_relevant(layers: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The parameters in the network's order; of a large network those where some configuration is furthest from L2."""
    means: dict[str, float] = {}
    for each in layers:
        for name, figures in each.items():
            means[name] = min(means.get(name, 1.0), figures["mean"])
    chosen = sorted(means, key=lambda name: means[name])[:MOST_LAYERS]
    return [name for name in means if name in chosen]


def _draw_layers(
    axes: Axes, names: Sequence[str], layers: Sequence[Mapping[str, Mapping[str, float]]], colour: Sequence[str]
) -> None:
    for each, own in zip(layers, colour, strict=True):
        drawn = [(max(1 - each[name]["mean"], LOWEST), i) for i, name in enumerate(names) if name in each]
        axes.plot([value for value, _ in drawn], [i for _, i in drawn], "o", color=own, markersize=5)
    _percent(axes, "x")
    axes.set_yticks(range(len(names)), names, fontsize=9 if max(map(len, names)) <= LONGEST_AT_9_POINTS else 6)
    axes.invert_yaxis()
    axes.set_xlabel("1 - mean irrelevance (%), averaged over the phase", loc="right")


def _percent(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis of whole decades, in percent."""
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    low, high = axis.get_data_interval()
    first = floor(log10(max(low, LOWEST)))
    decades = range(first, max(ceil(log10(max(high, LOWEST))), first + 1) + 1)
    axes.set(**{f"{which}lim": (10.0 ** decades[0], 10.0 ** decades[-1]), f"{which}scale": "log"})
    axis.set_ticks([10.0**decade for decade in decades], [f"{100 * 10.0**decade:g}" for decade in decades])
    axis.set_minor_formatter(NullFormatter())
