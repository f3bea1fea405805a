"""What happened in training: validation metric and sparsity over the steps, and when weights were pruned."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.report.configurations import Configuration
from sparsity.report.plots.style import MUTED, colours, labels, legend, new_drawing
from sparsity.report.stops import regularised

PRUNES_HEIGHT = 0.09  # of a panel, per configuration
IGNORED_LOWEST = 0.03  # of the points: the first evaluations of a network that has learnt nothing yet


def draw_training(metric_label: str, configurations: Sequence[Configuration]) -> Drawing:
    """The regularised phase of each configuration's first seed: metric, sparsity, and a tick per prune."""
    heights = (1.0, 0.7, 0.12 + PRUNES_HEIGHT * len(configurations))
    drawing, (metric, sparsity, prunes) = new_drawing(heights, share_x=True)
    for ours, colour, label in zip(configurations, colours(configurations), labels(configurations), strict=True):
        points = regularised(ours.runs[0])
        steps = [point.step / 1000 for point in points]
        metric.plot(steps, [point.val for point in points], color=colour, linewidth=1, label=label)
        sparsity.plot(steps, [100 * point.sparsity for point in points], color=colour)
    _draw_bounds(metric, configurations)
    _draw_prunes(prunes, configurations)
    _frame(metric, sparsity, prunes, metric_label, configurations)
    legend(drawing, configurations)
    return drawing


def _draw_bounds(axes: Axes, configurations: Sequence[Configuration]) -> None:
    bounds = {ours.first.gate.bound_used for ours in configurations} - {None}
    for bound in sorted(bound for bound in bounds if bound is not None):
        axes.axhline(bound, color=MUTED, linestyle="--", linewidth=1, label="bound")


def _draw_prunes(axes: Axes, configurations: Sequence[Configuration]) -> None:
    steps = [[point.step / 1000 for point in regularised(ours.runs[0]) if point.pruned] for ours in configurations]
    offsets = [-number for number in range(len(configurations))]
    axes.eventplot(steps, lineoffsets=offsets, linelengths=0.7, linewidths=0.7, colors=colours(configurations))
    axes.set_ylim(-len(configurations) + 0.4, 0.6)


def _frame(
    metric: Axes, sparsity: Axes, prunes: Axes, metric_label: str, configurations: Sequence[Configuration]
) -> None:
    values = sorted(point.val for ours in configurations for point in regularised(ours.runs[0]))
    low, high = values[int(IGNORED_LOWEST * len(values))], values[-1]
    margin = max(0.08 * (high - low), 0.05)
    metric.set_ylim(low - margin, high + margin)
    metric.set_ylabel(f"validation\n{metric_label}")
    sparsity.set_ylabel("sparsity (%)")
    sparsity.set_ylim(-3, 103)
    prunes.set_yticks([])
    prunes.set_ylabel("prunes", rotation=0, ha="right", va="center")
    prunes.grid(visible=False)
    prunes.set_xlabel("training step of the regularised phase (thousands)")
