"""The figures: they show the numbers of the records, in two renderings, the same bytes each time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from sparsity.report.configurations import Configuration, collect
from sparsity.report.figures import experiment_figures
from sparsity.report.paper import PaperExperiment, load_paper
from sparsity.report.plots.frontier import draw_frontier
from sparsity.report.plots.irrelevance import draw_irrelevance
from sparsity.report.plots.residuals import draw_residuals
from sparsity.report.plots.sizes import draw_sizes
from sparsity.report.plots.study import draw_study
from sparsity.report.plots.style import PALETTE, colours, figure, labels, shared, standalone
from sparsity.report.plots.training import draw_training
from sparsity.report.reading import find_runs, load_run
from tests.report.fake_results import AddRun, row, summary


@pytest.fixture
def paper(results: Path) -> PaperExperiment:
    return load_paper(results / "paper")[0]


@pytest.fixture
def ours(results: Path, paper: PaperExperiment) -> Callable[[], list[Configuration]]:
    return lambda: collect([load_run(directory) for directory in find_runs(results)], paper)


def series(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Label -> the points of a line or of an error bar."""
    handles, names = axes.get_legend_handles_labels()
    lines = [getattr(handle, "lines", [handle])[0] for handle in handles]
    return {name: (list(line.get_xdata()), list(line.get_ydata())) for name, line in zip(names, lines, strict=True)}


def widths(drawing: Drawing) -> dict[str, list[float]]:
    return {str(bars.get_label()): [bar.get_width() for bar in bars] for bars in drawing.axes[0].containers}


def test_the_frontier_has_our_result_and_the_papers(
    paper: PaperExperiment, ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    add_run(rows=[row(test=99.0)])
    drawn = series(draw_frontier(paper, ours()).axes[0])
    assert drawn["ours: relevance"][1] == [99.0]
    assert drawn["paper: its method"][1] == [99.23]


def test_the_frontier_of_wmt14_has_the_papers_points_and_the_envelopes_apart(results: Path) -> None:
    wmt = load_paper(results / "paper")[4]
    drawn = series(draw_frontier(wmt, []).axes[0])
    assert len(drawn["paper: Figure 1"][0]) == 12
    assert drawn["[25]: magnitude pruning"][1][0] == 26.33


def test_the_residuals_are_the_papers_beside_ours(
    paper: PaperExperiment, ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    add_run()
    drawn = widths(draw_residuals(paper, ours()))
    assert drawn["paper"] == [0.29, 0.0182, 0.0011, 0.0335]
    assert drawn["ours: relevance"] == pytest.approx([150 / 520, 456 / 25050, 440 / 400500, 168 / 5010])


def test_training_shows_metric_and_sparsity_and_marks_each_prune(
    paper: PaperExperiment, ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    add_run()
    metric, sparsity, prunes = draw_training("Accuracy (%)", ours()).axes
    assert series(metric)["relevance"] == ([0.25, 0.5, 0.75], [98.0, 99.0, 100.0])
    assert list(sparsity.lines[0].get_ydata()) == pytest.approx([0.0, 4.0, 8.0])
    assert [list(events.get_positions()) for events in prunes.collections] == [[0.5]]  # type: ignore[attr-defined]


def test_the_irrelevance_is_drawn_as_its_distance_from_l2(
    ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    add_run(irrelevance={"conv1.weight": {"mean": 0.9, "below_0.99": 1.0}})
    over_time, by_layer = draw_irrelevance(ours()).axes
    assert list(over_time.lines[0].get_ydata()) == pytest.approx([0.01, 0.009, 0.008])
    assert list(by_layer.lines[0].get_xdata()) == pytest.approx([0.1])


def test_sizes_are_drawn_where_they_were_measured(results: Path, add_run: AddRun) -> None:
    taskmaster = load_paper(results / "paper")[5]
    add_run(experiment=taskmaster.experiment, sizes={"dense_bytes": 43_000_000, "pruned_bytes": 1_000_000})
    found = collect([load_run(directory) for directory in find_runs(results)], taskmaster)
    drawing = draw_sizes(taskmaster, found)
    assert widths(drawing)[f"ours: {found[0].label}"] == [43.0, 1.0]
    assert len(widths(drawing)["paper"]) == 9


def test_the_study_shows_seeds_and_their_mean(
    paper: PaperExperiment, ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    for seed, test in enumerate((99.0, 99.2)):
        add_run(seed=seed, rows=[row(test=test)])
    metric, sparsity = draw_study(paper, ours()).axes
    assert list(metric.lines[0].get_xdata()) == [99.0, 99.2]
    assert list(metric.lines[1].get_xdata()) == pytest.approx([99.1])
    assert list(sparsity.lines[0].get_xdata()) == pytest.approx([99.72, 99.72])


def test_configurations_have_their_pruners_colours_and_never_the_same_twice(
    ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    for pruner, fingerprint in (("relevance", "a"), ("relevance", "b"), ("l2", "c")):
        add_run(pruner=pruner, fingerprint=fingerprint)
    found = colours(ours())
    assert found[0] == PALETTE["relevance"][0] and found[2] == PALETTE["l2"][0]
    assert len(set(found)) == 3


def test_labels_carry_the_fingerprint_only_where_they_would_be_the_same(
    ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    for pruner, fingerprint in (("relevance", "a"), ("relevance", "b"), ("l2", "c")):
        add_run(pruner=pruner, fingerprint=fingerprint)
    assert labels(ours()) == ["relevance a", "relevance b", "l2"]


def test_marks_that_all_runs_share_are_said_once_and_whole(
    ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    for fingerprint in ("a", "b"):
        add_run(fingerprint=fingerprint)
    mark = "baseline: published, chosen on the test set"
    found = [replace(each, marks=(mark,)) for each in ours()]
    assert (labels(found), shared(found)) == (["relevance a", "relevance b"], mark)
    apart = [found[0], replace(found[1], marks=("shortened",))]
    assert (labels(apart), shared(apart)) == ([f"relevance ({mark})", "relevance (shortened)"], "")


def test_labels_leave_out_what_all_share_and_the_figure_says_it_once(
    ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    for pruner, fingerprint in (("relevance", "a"), ("l2", "b")):
        add_run(pruner=pruner, fingerprint=fingerprint)
    found = [replace(each, changed=("fraction 0.2",), marks=("shortened",)) for each in ours()]
    assert (labels(found), shared(found)) == (["relevance", "l2"], "fraction 0.2 (shortened)")
    assert (labels(found[:1]), shared(found[:1])) == (["relevance, fraction 0.2 (shortened)"], "")


def test_the_study_has_no_panel_for_a_sparsity_that_no_run_reached(
    paper: PaperExperiment, ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    add_run(rows=[row(start="last")])
    assert len(draw_study(paper, ours()).axes) == 1


def test_a_panel_of_the_study_leaves_out_methods_that_have_no_value_in_it(
    paper: PaperExperiment, ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    add_run(pruner="relevance", fingerprint="a")
    add_run(pruner="magnitude", fingerprint="b", rows=[row(start="last")])
    metric, sparsity = draw_study(paper, ours()).axes
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in (metric, sparsity)]
    assert names == [["relevance"], ["relevance", "magnitude"]]


def test_an_experiment_without_runs_still_shows_the_papers_points(results: Path) -> None:
    names = [found.name for found in experiment_figures(load_paper(results / "paper")[5], [])]
    assert names == [f"transformer_taskmaster1/{name}" for name in ("frontier", "residuals", "sizes")]


def test_a_run_that_never_pruned_has_no_training_figure(
    paper: PaperExperiment, ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    add_run(pruner="dense", regularise={**summary()["regularise"], "num_prunes": 0})
    assert not [found for found in experiment_figures(paper, ours()) if found.name.endswith("/training")]


def test_a_figure_is_the_same_bytes_each_time_and_takes_its_colours_from_the_page(
    paper: PaperExperiment, ours: Callable[[], list[Configuration]], add_run: AddRun
) -> None:
    add_run()

    def rendered() -> tuple[str, bytes]:
        found = figure("x/y", "What it <shows>.", lambda: draw_residuals(paper, ours())).rendering
        return found.svg, found.png

    svg, png = rendered()
    assert (svg, png) == rendered()
    assert png.startswith(b"\x89PNG")
    assert 'role="img" aria-label="What it &lt;shows&gt;."' in svg
    assert "fill: var(--paper,#bc4c00)" in svg and "fill: #bc4c00" not in svg
    assert "Matplotlib" not in svg and ' id="axes' not in svg


def test_a_figure_as_a_file_brings_its_own_light_and_dark_colours() -> None:
    text = standalone('<svg viewBox="0 0 1 1">\n</svg>')
    assert text.startswith('<svg viewBox="0 0 1 1">\n <style>')
    assert "--ink:#1f2328" in text and "@media(prefers-color-scheme:dark){svg{--surface:#0d1117" in text
