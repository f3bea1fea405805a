"""The figures of an experiment and of a single run, each drawn where there is something to show."""

from collections.abc import Sequence
from pathlib import Path

from sparsity.records import AT_PAPER_SPARSITY
from sparsity.report.blocks import Figure
from sparsity.report.configurations import Configuration
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.frontier import draw_frontier
from sparsity.report.plots.irrelevance import draw_irrelevance
from sparsity.report.plots.residuals import draw_residuals
from sparsity.report.plots.sizes import draw_sizes
from sparsity.report.plots.style import figure
from sparsity.report.plots.training import draw_training
from sparsity.report.publish import write_atomically
from sparsity.report.reading import load_run
from sparsity.report.stops import regularised

FIGURE_1_NOTE = (
    " The paper's Figure 1 mixes definitions of BLEU: its own points take the international tokenisation, the runs of"
    " [25] (the best of all published) split compounds, some 0.7 to 1 point above sacrebleu's 13a; open marks are ours"
    " by these two. Its Targeted Dropout curve is left out: no numbers of it are published."
)
MOST_CONFIGURATIONS = 7  # that one figure can tell apart by colour


def experiment_figures(paper: PaperExperiment, configurations: Sequence[Configuration]) -> list[Figure]:
    """The drawings of one experiment, in the order of the page; of its first configurations, if there are many.

    Variants of the paper's irrelevance are left to the study of it.
    """
    pruned = [each for each in configurations if each.first.regularise.num_prunes > 0 and not each.variant]
    ours = pruned[:MOST_CONFIGURATIONS]
    figures = [_frontier(paper, ours)]
    row = paper.row("relevance")
    if (row and row.residual) or any(each.residual(AT_PAPER_SPARSITY) for each in ours):
        figures.append(_residuals(paper, ours))
    if ours:
        figures.append(_training(paper, ours))
    if any(point.lowest_mean_irrelevance is not None for each in ours for point in regularised(each.runs[0])):
        figures.append(irrelevance_figure(paper, ours, "irrelevance"))
    if paper.sizes:
        figures.append(_sizes(paper, ours))
    return figures


def write_run_figures(directory: Path) -> dict[str, Path]:
    """Draw what one finished run shows by itself into its directory; name -> PNG file."""
    run = load_run(directory)
    alone = [Configuration((run,), ())]
    drawn = {
        "training": figure("training", "", lambda: draw_training(run.summary.metric, alone)),
        "irrelevance": figure("irrelevance", "", lambda: draw_irrelevance(alone)),
    }
    for name, each in drawn.items():
        write_atomically(directory / f"{name}.png", each.rendering.png)
    return {name: directory / f"{name}.png" for name in drawn}


def _frontier(paper: PaperExperiment, ours: Sequence[Configuration]) -> Figure:
    caption = f"{paper.title}: {paper.metric_label} against sparsity."
    if ours:
        caption += (
            " Lines: validation, at each prune, one per seed; dots: test, after the final phase (mean and standard"
            " deviation)."
        )
    if paper.literature:
        caption += " Crosses: published elsewhere, each in its own unit (results/literature.csv)."
    if paper.curves:
        caption += FIGURE_1_NOTE
    return figure(f"{paper.experiment}/frontier", caption, lambda: draw_frontier(paper, ours))


def _residuals(paper: PaperExperiment, ours: Sequence[Configuration]) -> Figure:
    caption = f"{paper.title}: weights left in each group of layers at the paper's sparsity."
    return figure(f"{paper.experiment}/residuals", caption, lambda: draw_residuals(paper, ours))


def _training(paper: PaperExperiment, ours: Sequence[Configuration]) -> Figure:
    seeds = [str(seed) for seed in sorted({each.seeds[0] for each in ours})]
    whose = f"seed {seeds[0]}" if len(seeds) == 1 else f"the first seed of each, {' or '.join(seeds)}"
    caption = f"{paper.title}: the regularised phase of {whose}; each tick is a prune, the dashed line the bound."
    return figure(f"{paper.experiment}/training", caption, lambda: draw_training(paper.metric_label, ours))


def irrelevance_figure(paper: PaperExperiment, ours: Sequence[Configuration], name: str) -> Figure:
    """How far from plain L2 each configuration is."""
    caption = (
        f"{paper.title}: how far the irrelevance is from 1, where the penalty is plain L2. Above: over time, in the "
        "layer where it is furthest. Below, where recorded: layer by layer, averaged over the phase."
    )
    return figure(f"{paper.experiment}/{name}", caption, lambda: draw_irrelevance(ours))


def _sizes(paper: PaperExperiment, ours: Sequence[Configuration]) -> Figure:
    caption = f"{paper.title}: size of the saved network, dense and pruned, plain and compressed, zeros signed or not."
    return figure(f"{paper.experiment}/sizes", caption, lambda: draw_sizes(paper, ours))
