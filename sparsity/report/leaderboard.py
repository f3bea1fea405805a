"""The section that holds all methods against each other at one budget, and each against what was published of it."""

from collections.abc import Callable, Sequence

from sparsity.records import Layer
from sparsity.report.blocks import Block, Folded, Heading, Prose, Table, table
from sparsity.report.cells import code, interval, number, spread
from sparsity.report.comparison import ROUNDING, Kind
from sparsity.report.configurations import Configuration
from sparsity.report.paper import PaperExperiment, PublishedRow
from sparsity.report.plots.leaderboard import LOWEST, draw_leaderboard
from sparsity.report.plots.style import figure
from sparsity.report.reading import Run
from sparsity.report.rescored import Rescored
from sparsity.report.standings import LAST, Leaderboard, Standing, at_own_budget, standings
from sparsity.report.statistics import Statistic, describe

TITLE = "All methods, one loop"
WITHIN = 0.15  # points by which a published metric may be missed and still counts as reached
PUBLISHED = {"lobster_authors": "lobster", "han": "magnitude", "magnitude": ""}
"""Pruners whose row in the paper's table has another name there; ours with one threshold for all layers has none."""
NUM_TRIES = 3  # before a published point counts as not reached

INTRODUCTION = """Every method in the same loop: network, split, the experiment's optimiser unless the method has one of
its own under `conf/specializing/pruner`, and the same budget, so many epochs in all (the experiment's own dense start
apart) for each of a few strengths. Of those, validation data of the first seed choose one: the sparsest network whose
validation metric stands above the bound, or else the one of the best metric; the other seeds are run with it. No choice
saw test data. `python scripts/leaderboard.py METHOD` makes the runs; a method of one's own takes part by its name. A
budget this short favours methods that are fast: it does not tell what a method does in the 200 or 10,000 epochs of its
own paper."""

UNITS = """Left, in three units: of the weights of layers; of weights, biases and norms; and of the bytes of the dense
file, for the sparse file that is handed on and for gzip -9 of a plain one with true zeros. *Reached* holds the
published sparsity in its own unit, storage as the smaller of these two: among all tries that leave no more than was
published, the one of the best validation metric must have a test metric within {within:g} points of that."""

OWN_BUDGETS = """The same at the budget of each method's own paper, at most three hours a run (`--own`): length,
batches, rates and strength as published; data, split and counting as above."""


def leaderboard_section(
    sections: Sequence[tuple[PaperExperiment, list[Configuration]]],
    listed: Leaderboard,
    rescored: Callable[[str], Sequence[Rescored]],
) -> list[Block]:
    """The methods of each experiment at the budget; nothing where there is no such run.

    Args:
        rescored: an experiment's name -> published networks of it that were scored again.
    """
    blocks: list[Block] = []
    for paper, ours in sections:
        found = standings(paper, ours, listed)
        blocks += _experiment(paper, found, listed, rescored(paper.experiment)) if found else []
        blocks += _own_budgets(paper, [each for each in ours if at_own_budget(each, paper, listed)])
    return [Heading(2, TITLE), Prose(INTRODUCTION), Prose(UNITS.format(within=WITHIN)), *blocks] if blocks else []


def _experiment(
    paper: PaperExperiment, found: Sequence[Standing], listed: Leaderboard, rescored: Sequence[Rescored]
) -> list[Block]:
    num_epochs, bound = listed.budget_in(paper.experiment).num_epochs, listed.bound_in(paper)
    caption = (
        f"{paper.title}: test metric against the weights left. Filled: the chosen try of a method, mean over seeds; "
        "hollow: its other tries; squares and diamond: the paper's table, in the unit of each row; crosses: elsewhere. "
        f"What is more than {LOWEST:g} points below the best of ours is not in the picture."
    )
    return [
        Heading(3, f"{paper.title}: all methods at {num_epochs} epochs"),
        figure(f"{paper.experiment}/leaderboard", caption, lambda: draw_leaderboard(paper, found)),
        _table(paper, found, rescored),
        Prose(reading(paper, found, bound)),
        Folded("Every try", (_tries(paper, found),)),
    ]


def _own_budgets(paper: PaperExperiment, ours: Sequence[Configuration]) -> list[Block]:
    if not ours:
        return []
    alone = [Standing(each, (each,)) for each in ours]
    return [Prose(OWN_BUDGETS), _table(paper, alone, ()), Folded("Their commands", (_tries(paper, alone),))]


def _table(paper: PaperExperiment, found: Sequence[Standing], rescored: Sequence[Rescored]) -> Table:
    header = [
        *("Method", "Published: metric at sparsity", "n", paper.metric_label, "95 % interval", "Weights left (%)"),
        *("With biases (%)", "Sparse file (%)", "gzip (%)", "Tries", "Published point", "Alarms"),
    ]
    rows = [_row(paper, standing) for standing in found]
    rows += [_rescored_row(each) for each in rescored]
    return table(header, rows)


def _row(paper: PaperExperiment, standing: Standing) -> list[str]:
    ours = standing.chosen
    metric = ours.test_metric(LAST)
    published = paper.row(PUBLISHED.get(ours.first.pruner, ours.first.pruner))
    alarms = dict.fromkeys(alarm for run in ours.runs for alarm in run.summary.alarms)
    return [
        ours.name,
        _published(published),
        str(len(ours.runs)),
        spread(metric, Kind.METRIC),
        interval(metric, Kind.METRIC),
        *(spread(_over(ours, left), Kind.FRACTION) for left in (weights_left, all_left, file_left, gzip_left)),
        str(len(standing.tried)),
        verdict(published, standing),
        "; ".join(alarms),
    ]


def _rescored_row(again: Rescored) -> list[str]:
    weights = [layer for name, layer in again.layers.items() if name.endswith("weight")]
    left = sum(layer.kept for layer in weights) / sum(layer.total for layer in weights)
    cells = [number(left, Kind.FRACTION), number(1 - again.sparsity, Kind.FRACTION)]
    name = f"{again.row}, its authors' network scored again"
    return [name, "", "1", number(again.test, Kind.METRIC), "", *cells, "", "", "", "", ""]


def _published(row: PublishedRow | None) -> str:
    if row is None or row.sparsity is None:
        return ""
    metric, sparsity = number(row.metric, Kind.METRIC), number(row.sparsity, Kind.FRACTION)
    return f"{metric} at {sparsity} % of {unit_of(row)} {row.citation or ''}".strip()


def unit_of(row: PublishedRow) -> str:
    """What a published sparsity counts: storage, weights and biases, or weights, also where no source says it."""
    counts = row.counts or "weights"
    return next((unit for unit in ("storage", "weights and biases") if counts.startswith(unit)), "weights")


def verdict(published: PublishedRow | None, standing: Standing) -> str:
    """Whether the method came to its published point, in that point's own unit."""
    if published is None or published.sparsity is None:
        return "none published"
    left = {"storage": storage_left, "weights and biases": all_left, "weights": weights_left}[unit_of(published)]
    most = 1 - published.sparsity
    sparse = [ours for ours in standing.tried if (of := left(ours.runs[0])) is not None and of <= most]
    if not sparse:
        return _missed("no try is as sparse", standing)
    best = max(sparse, key=lambda ours: ours.runs[0].summary.rows[0].val)
    metric = best.test_metric(LAST)
    assert metric is not None, "a run has a row"
    short = published.metric - metric.mean
    return "reached" if short <= WITHIN + ROUNDING else _missed(f"{short:.2f} points short", standing)


def _missed(why: str, standing: Standing) -> str:
    known = len(standing.tried) >= NUM_TRIES
    return f"not reached: {why}" if known else f"open: {why} in {len(standing.tried)} of {NUM_TRIES} tries"


def reading(paper: PaperExperiment, found: Sequence[Standing], bound: float) -> str:
    """Which methods no other beats in both numbers, and what the number of seeds can tell apart.

    Args:
        bound: of the validation metric, below which a try is chosen only where all are.
    """
    points = [
        (each.chosen, _mean(each.chosen.test_metric(LAST)), _mean(_over(each.chosen, all_left))) for each in found
    ]
    best = [
        ours.first.pruner
        for ours, metric, left in points
        if not any(m >= metric and w <= left and (m, w) != (metric, left) for _, m, w in points)
    ]
    spreads = [spread.half_width for each in found if (spread := each.chosen.test_metric(LAST))]
    widths = [width for width in spreads if width is not None]
    noise = (
        f"The 95 % interval of a mean is up to {max(widths):.2f} points to either side"
        if widths
        else "With one seed a method there is no interval"
    )
    low = [each.chosen.first.pruner for each in found if _val(each.chosen) <= bound]
    below = f" Below the bound of {bound:g} on validation data with every try: {', '.join(low)}." if low else ""
    return (
        f"No other method is both sparser and better than {', '.join(best)}. {noise}, and the test set, of "
        f"{paper.results.num_test or 0:,} examples, adds its own error: smaller differences say nothing.{below}"
    )


def _tries(paper: PaperExperiment, found: Sequence[Standing]) -> Table:
    header = [
        *("Method", "Chosen", "Seeds", "Validation, first seed", paper.metric_label, "Left (%)"),
        *("Products in", "Command"),
    ]
    return table(header, [_try_row(ours, standing) for standing in found for ours in standing.tried])


def _try_row(ours: Configuration, standing: Standing) -> list[str]:
    return [
        ours.name,
        "yes" if ours is standing.chosen else "",
        ", ".join(map(str, ours.seeds)),
        number(_val(ours), Kind.METRIC),
        spread(ours.test_metric(LAST), Kind.METRIC),
        spread(_over(ours, all_left), Kind.FRACTION),
        ", ".join(dict.fromkeys(run.summary.provenance.products for run in ours.runs)),
        code(ours.first.provenance.command),
    ]


def weights_left(run: Run) -> float | None:
    """Share of the weights of layers that is left: tensors of two dimensions or more, so no biases and no norms."""
    return _left([layer for layer in run.layers if layer.start == LAST and "x" in layer.shape])


def all_left(run: Run) -> float | None:
    """Share of all parameters that is left."""
    return _left([layer for layer in run.layers if layer.start == LAST])


def file_left(run: Run) -> float | None:
    """Bytes of the sparse file that is handed on, of those of the dense one."""
    network = next((network for network in run.networks if network.start == LAST), None)
    dense = (run.summary.sizes or {}).get("dense_bytes")
    return network.bytes / dense if network and dense else None


def gzip_left(run: Run) -> float | None:
    """Bytes of a plain file with true zeros behind gzip -9, of those of the dense one without."""
    sizes = run.summary.sizes or {}
    packed, dense = sizes.get("pruned_gzip_9_bytes"), sizes.get("dense_bytes")
    return packed / dense if packed and dense else None


def storage_left(run: Run) -> float | None:
    """The smaller of the two: ours has a bit mask, which alone is 3 %; a published size has coded indices."""
    return min((left for left in (file_left(run), gzip_left(run)) if left is not None), default=None)


def _left(layers: Sequence[Layer]) -> float | None:
    total = sum(layer.total for layer in layers)
    return sum(layer.kept for layer in layers) / total if total else None


def _over(ours: Configuration, value: Callable[[Run], float | None]) -> Statistic | None:
    return describe([*ours.by_seed(value).values()])


def _mean(found: Statistic | None) -> float:
    assert found is not None, "a run of the leaderboard has a row of its last state"
    return found.mean


def _val(ours: Configuration) -> float:
    return ours.runs[0].summary.rows[0].val
