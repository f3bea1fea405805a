"""What sparsity costs: the metric against sparsity, in the style of the paper's Figure 1."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.report.bleu import DEFINITIONS, bleu_of
from sparsity.report.configurations import Configuration
from sparsity.report.paper import PaperExperiment, PublishedCurve
from sparsity.report.plots.sparsity_axis import label_axis, position_of
from sparsity.report.plots.style import MUTED, PAPER, PLATE, SERIES, colours, labels, legend, new_drawing

CURVES_WITHIN = (
    0.12  # of the paper's sparsity: where a competitor's curve must be seen; elsewhere it may leave the figure
)

FIGURE_1 = {"bleu_intl": "D", "bleu_compound": "s"}  # the definitions of BLEU in the paper's Figure 1, as our marks


def draw_frontier(paper: PaperExperiment, configurations: Sequence[Configuration]) -> Drawing:
    """Our validation metric at each prune (lines), test metric after the final phase (dots), and the paper's rows."""
    drawing, (axes,) = new_drawing((1.25,))
    row = paper.row("relevance")
    assert row is not None and row.sparsity is not None, "every experiment has a row of the paper's own method"
    target = row.sparsity
    _draw_literature(axes, paper, target)
    _draw_paper(axes, paper, target)
    for colour, curve in zip(reversed(SERIES), paper.curves, strict=False):
        _draw_curve(axes, curve, target, colour)
    for ours, colour, label in zip(configurations, colours(configurations), labels(configurations), strict=True):
        _draw_ours(axes, ours, target, colour, label)
        if paper.curves:
            _draw_definitions(axes, ours, target, colour)
    _frame(axes, paper, configurations, target)
    legend(drawing, configurations, columns=2)
    return drawing


def _draw_paper(axes: Axes, paper: PaperExperiment, target: float) -> None:
    """The paper's own method as a diamond, its competitors in grey under their reference numbers."""
    position = position_of(target)
    competitors = []
    for row in paper.results.rows:
        if row.sparsity is None:
            axes.axhline(row.metric, color=PAPER, linestyle=":", linewidth=1, label="paper: baseline")
        elif row.method == "relevance":
            axes.plot(position(row.sparsity), row.metric, "D", color=PAPER, label="paper: its method", zorder=4)
        else:
            place = position(row.sparsity)
            axes.plot(place, row.metric, "s", color=MUTED, markersize=4, label="paper: other methods", zorder=3)
            competitors.append((place, row.metric, row.citation or row.printed))
    _name(axes, competitors)


def _draw_literature(axes: Axes, paper: PaperExperiment, target: float) -> None:
    """What is published elsewhere, whatever its unit; a point far below the others may leave the figure."""
    if paper.literature:
        places = [position_of(target)(1 - point.density) for point in paper.literature]
        scores = [point.score for point in paper.literature]
        axes.plot(places, scores, "x", color=MUTED, markersize=4, label="published elsewhere", zorder=2)


def _name(axes: Axes, competitors: Sequence[tuple[float, float, str]]) -> None:
    """Put a reference number over each mark, or under it where the next mark is higher, so that none hides another."""
    for place, metric, name in competitors:
        others = [other for other in competitors if other[2] != name]
        _, nearest, _ = min(others, key=lambda other: abs(other[0] - place), default=(place, metric, name))
        is_below = nearest > metric
        axes.annotate(
            name, (place, metric), (0, -6 if is_below else 5), textcoords="offset points", fontsize=8, color=MUTED,
            horizontalalignment="center", verticalalignment="top" if is_below else "bottom", bbox=PLATE,
        )  # fmt: skip


def _draw_curve(axes: Axes, curve: PublishedCurve, target: float, colour: str) -> None:
    position = position_of(target)
    places, metrics = [position(sparsity) for sparsity, _ in curve.points], [metric for _, metric in curve.points]
    if curve.method == "relevance":
        axes.plot(places, metrics, color=PAPER, marker="D", markersize=4, zorder=3, label=curve.label)
    else:
        axes.plot(places, metrics, color=colour, linewidth=1, label=curve.label)


def _draw_ours(axes: Axes, ours: Configuration, target: float, colour: str, label: str) -> None:
    """A line per seed, fainter the more there are; the dots are means over seeds with their standard deviation."""
    position, alpha = position_of(target), 0.6 / len(ours.runs) ** 0.5
    for run in ours.runs:
        points = run.summary.frontier
        places = [position(p.sparsity) for p in points]
        axes.plot(places, [p.val for p in points], color=colour, linewidth=0.8, alpha=alpha)
    for start in ours.starts():
        metric = ours.test_metric(start)
        sparsity = ours.sparsity(start)
        assert metric is not None and sparsity is not None, "a start has a row"
        axes.errorbar(
            position(sparsity.mean), metric.mean, metric.std or 0, fmt="o", color=colour, markersize=5, capsize=3,
            label=f"ours: {label}", zorder=5,
        )  # fmt: skip


def _draw_definitions(axes: Axes, ours: Configuration, target: float, colour: str) -> None:
    """Our test BLEU as the paper's own points and as the competitors' curves define it, as open marks."""
    for name, marker in FIGURE_1.items():
        for start in ours.starts():
            metric, sparsity = bleu_of(ours, start, name), ours.sparsity(start)
            if metric is not None and sparsity is not None:
                axes.plot(
                    position_of(target)(sparsity.mean), metric.mean, marker, color=colour, markersize=6,
                    markerfacecolor="none", label=f"ours: {DEFINITIONS[name]}", zorder=5,
                )  # fmt: skip


def _frame(axes: Axes, paper: PaperExperiment, configurations: Sequence[Configuration], target: float) -> None:
    """Axes that show what is compared: a competitor's far end must not flatten the rest."""
    published = [(row.sparsity, row.metric) for row in paper.results.rows if row.sparsity is not None]
    tested = [(row.sparsity, row.test) for each in configurations for run in each.runs for row in run.summary.rows]
    beside = {name for name in FIGURE_1 if paper.curves}
    tested += [
        (row.sparsity, row.test_metrics[name])
        for each in configurations
        for run in each.runs
        for row in run.summary.rows
        for name in beside & row.test_metrics.keys()
    ]
    pruned = [(p.sparsity, p.val) for each in configurations for run in each.runs for p in run.summary.frontier]
    curves = [point for curve in paper.curves for point in curve.points if abs(point[0] - target) < CURVES_WITHIN]
    sparsities, metrics = zip(*published, *tested, *pruned, *curves, strict=True)
    highest = max(*metrics, *(row.metric for row in paper.results.rows))
    margin = max(0.12 * (highest - min(metrics)), 0.05)
    axes.set_ylim(min(metrics) - margin, highest + margin)
    if paper.curves:
        axes.set_xlim(100 * min(sparsities) - 2, 100 * max(sparsities) + 2)
    label_axis(axes, target, sparsities)
    axes.set_ylabel(paper.metric_label)
