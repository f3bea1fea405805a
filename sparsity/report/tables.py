"""Where we stand against the paper: the overview, each printed number against ours, all methods side by side."""

from collections.abc import Sequence

from sparsity.records import AT_PAPER_SPARSITY
from sparsity.report.blocks import Block, Prose, Table, anchor, table
from sparsity.report.cells import comparison, number, spread
from sparsity.report.comparison import Comparison, Kind, compare, headline, not_run
from sparsity.report.configurations import STARTS, Baseline, Configuration, baselines
from sparsity.report.layer_groups import groups_of_our_own
from sparsity.report.paper import PaperExperiment, PublishedRow
from sparsity.report.rescored import Rescored
from sparsity.report.statistics import describe

Section = tuple[PaperExperiment, list[Configuration]]
NOT_RUN = ("", "", "not run")  # in the place of what `reached` says


def own_results(paper: PaperExperiment, configurations: Sequence[Configuration]) -> list[Configuration]:
    """The configurations of the paper's method that are judged."""
    return [ours for ours in configurations if ours.first.pruner == "relevance" and headline(paper, ours)]


def overview_table(sections: Sequence[Section]) -> Table:
    """One line per experiment and judged configuration of the paper's method, at the paper's sparsity."""
    header = ["Experiment", "Paper: metric at sparsity", "Ours at the paper's sparsity", "n", "Verdict", "Run"]
    rows = []
    for paper, configurations in sections:
        target, link = f"{paper.metric_label} {printed(paper)}", f"[{paper.title}](#{anchor(paper.title)})"
        results = [[link, target, *reached(paper, ours), ours.name] for ours in own_results(paper, configurations)]
        rows += results or [[paper.title, target, *NOT_RUN, ""]]
    return table(header, rows)


def printed(paper: PaperExperiment) -> str:
    """The paper's metric and sparsity of its own method."""
    row = paper.row("relevance")
    assert row is not None, "every experiment has a row of the paper's own method"
    return f"{number(row.metric, Kind.METRIC)} at {number(row.sparsity, Kind.FRACTION)} %"


def reached(paper: PaperExperiment, ours: Configuration) -> tuple[str, str, str]:
    """Our metric and sparsity at the paper's sparsity, of how many seeds, and the verdict."""
    metric = ours.test_metric(AT_PAPER_SPARSITY)
    sparsity = ours.sparsity(AT_PAPER_SPARSITY)
    item = headline(paper, ours)
    assert item is not None, "these results are judged"
    if metric is None:
        return "never reached", "0", item.words
    return f"{spread(metric, Kind.METRIC)} at {spread(sparsity, Kind.FRACTION)} %", str(metric.n), item.words


def comparison_tables(paper: PaperExperiment, configurations: Sequence[Configuration]) -> list[Block]:
    """Each number of the paper against ours: a table per judged configuration, one more for what was not run."""
    blocks: list[Block] = []
    done: list[Comparison] = []
    for ours in configurations:
        items = compare(paper, ours)
        done += items
        if items:
            blocks += [Prose(_caption(ours)), _comparison_table(items), Prose(_rule(paper, items))]
    missing = not_run(paper, done)
    if missing:
        blocks += [Prose("Not run:"), _comparison_table(missing)]
    return blocks


def _caption(ours: Configuration) -> str:
    seeds = ", ".join(str(seed) for seed in ours.seeds)
    return f"**{ours.name}**, seed {seeds}:"


def _rule(paper: PaperExperiment, items: Sequence[Comparison]) -> str:
    """What a verdict beyond the tolerance takes, beside the verdicts it gives."""
    noise = max(item.noise for item in items if item.kind is Kind.METRIC)
    images = paper.results.num_test
    why = f"1.96 binomial standard errors on {images:,} images" if images else "the tolerance, its sentences unknown"
    return (
        "Beyond the tolerance a verdict takes a 95 % interval of the difference that excludes zero (Student's over our "
        f"seeds; a metric's is widened by the noise of the paper's one number, up to ±{number(noise, Kind.METRIC)}: "
        f"{why}); else it is *inconclusive*, as always for one seed."
    )


def _comparison_table(items: Sequence[Comparison]) -> Table:
    header = [
        *("Result", "Number", "Table", "Paper", "Tolerance", "Ours", "95 % interval", "n"),
        *("Difference (its 95 % interval)", "Verdict"),
    ]
    rows = [[_result(item), item.number, str(item.table), *comparison(item)] for item in items]
    return table(header, rows)


def _result(item: Comparison) -> str:
    return item.result if item.ours else f"{item.method}, {item.result}"


def methods_table(
    paper: PaperExperiment, configurations: Sequence[Configuration], rescored: Sequence[Rescored] = ()
) -> Table:
    """The paper's result table as printed, then our rows in the same columns; marked rows say why they do not count.

    Behind a row whose network its authors published stands what that network has when it is scored again.
    """
    groups = [*paper.results.groups, *groups_of_our_own(paper.model)]
    header = ["Method", *groups, paper.metric_label, "Sparsity (%)", "n", "Note"]
    again = {each.row: each for each in rescored}
    rows = []
    for row in paper.results.rows:
        rows.append(_published_row(row, groups))
        if row.printed in again:
            rows.append(_rescored_row(again[row.printed], groups))
    rows += [_baseline_row(each, groups) for each in baselines(configurations)]
    for ours in configurations:
        rows += [_our_row(ours, start, groups) for start in ours.starts()]
    return table(header, rows)


def _published_row(row: PublishedRow, groups: Sequence[str]) -> list[str]:
    left = [number(row.residual.get(group), Kind.FRACTION) for group in groups]
    name = f"Paper: {row.printed} {row.citation or ''}".strip()
    return [name, *left, number(row.metric, Kind.METRIC), number(row.sparsity, Kind.FRACTION), "", ""]


def _rescored_row(again: Rescored, groups: Sequence[str]) -> list[str]:
    left = [number(again.residual.get(group), Kind.FRACTION) for group in groups]
    note = f"its authors' network, on {again.num_test:,} test examples"
    metric, sparsity = number(again.test, Kind.METRIC), number(again.sparsity, Kind.FRACTION)
    return [f"Scored again: {again.row}", *left, metric, sparsity, "1", note]


def _baseline_row(ours: Baseline, groups: Sequence[str]) -> list[str]:
    metric = describe([*ours.by_seed.values()])
    first, *others = ours.of
    note = f"the start of {first}" + (f" and {len(others)} more" if others else "")
    return [f"Ours: {ours.name}", *[""] * len(groups), spread(metric, Kind.METRIC), "", str(len(ours.by_seed)), note]


def _our_row(ours: Configuration, start: str, groups: Sequence[str]) -> list[str]:
    residual = ours.residual(start)
    left = [spread(residual.get(group), Kind.FRACTION) for group in groups]
    metric, sparsity = ours.test_metric(start), ours.sparsity(start)
    count = str(metric.n) if metric else ""
    name = f"Ours: {ours.name}, {STARTS[start]}"
    return [name, *left, spread(metric, Kind.METRIC), spread(sparsity, Kind.FRACTION), count, _note(ours)]


def _note(ours: Configuration) -> str:
    reasons = [*ours.marks, *(["a variant"] if ours.variant else [])]
    return "; ".join([*reasons, "no verdict"]) if reasons else ""
