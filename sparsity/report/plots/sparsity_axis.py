"""Sparsity on an axis, evenly or by the weights left, so that 99 % and 99.9 % stand apart."""

from collections.abc import Callable, Sequence
from math import log10

from matplotlib.axes import Axes

LOGARITHMIC_FROM = 0.95  # a paper's sparsity above this is crowded against the edge of an even axis
TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)


def position_of(paper_sparsity: float) -> Callable[[float], float]:
    """Where a sparsity in [0, 1) stands on the axis of an experiment: in percent, or at -log10 of what is left."""
    if paper_sparsity < LOGARITHMIC_FROM:
        return lambda sparsity: 100 * sparsity
    return lambda sparsity: -log10(max(1 - sparsity, 1e-6))


def label_axis(axes: Axes, paper_sparsity: float, sparsities: Sequence[float]) -> None:
    """Head the horizontal axis, with ticks that fit the sparsities shown."""
    position = position_of(paper_sparsity)
    if paper_sparsity < LOGARITHMIC_FROM:
        axes.set_xlabel("sparsity (%)")
        return
    low, high = min(sparsities), max(sparsities)
    ticks = [tick for tick in TICKS if low - 0.3 <= tick <= high + (1 - high) / 2]
    axes.set_xticks([position(tick) for tick in ticks], [f"{100 * tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("sparsity (%), spaced by the weights left")
