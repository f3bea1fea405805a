"""The section that says where the points come from: between the sound protocol and the authors', key by key."""

from collections.abc import Sequence
from itertools import pairwise

from sparsity.report.audit import SOUND, Audit, Stage, stages
from sparsity.report.blocks import Block, Figure, Heading, Prose, Table, table
from sparsity.report.cells import code, interval, number, spread
from sparsity.report.comparison import Kind
from sparsity.report.equivalence import MARGINS, reading
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.audit import Bar, draw_audit
from sparsity.report.plots.style import figure
from sparsity.report.statistics import Paired, compare_pairs, describe
from sparsity.report.tables import Section

TITLE = "Where the points come from"

DESIGN = """From the sound protocol to the authors', key by key. The keys are added up in an order that was set before
the runs (`audit.yaml`): each row has all keys above it, so that the changes sum to the whole, though what a key is
given depends on its place. The other design, each key alone on the sound protocol, takes as many runs again, and its
changes do not sum; where such a run exists, it stands beside. Keys that are not listed do nothing for these networks,
so that the last row but the last is the run of `protocol=authors`; `report` trains nothing and is read from that run
too, from another of its states. All rows are of the same seeds and paired by them, but each trains anew: a changed key
moves a run as another seed does, and a change within its interval is noise. Where the test set gates, the metric is
that of the images by which the state was chosen."""


def audit_section(sections: Sequence[Section], audit: Audit) -> list[Block]:
    """The design, and of each listed experiment a waterfall of what was run and a table of all steps."""
    listed = [(paper, stages(paper, ours, audit)) for paper, ours in sections if audit.of(paper.experiment)]
    blocks: list[Block] = [Heading(2, TITLE), Prose(DESIGN)] if listed else []
    for paper, way in listed:
        blocks.append(Heading(3, f"{paper.title}: from the sound protocol to the authors'"))
        if len(_run(way)) > 1 and _shared_seeds(way):
            blocks.append(_waterfall(paper, way))
        blocks.append(_table(paper, way))
    return blocks


def _run(way: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in way if stage.tests]


def _shared_seeds(way: Sequence[Stage]) -> list[int]:
    """The seeds that every stage with runs has: what differs between stages is then no other choice of seeds."""
    seeds = [set(stage.tests) for stage in _run(way)]
    return sorted(set.intersection(*seeds)) if seeds else []


def _waterfall(paper: PaperExperiment, way: Sequence[Stage]) -> Figure:
    caption = (
        f"{paper.title}: test metric from the sound protocol to the authors', keys added from top to bottom. Bars: "
        "the change of the mean; small dots: seeds, those that all have; dashed: the paper. Keys that were not run one "
        "by one share a bar."
    )
    bars, waiting, seeds = list[Bar](), list[str](), _shared_seeds(way)
    for stage in way:
        waiting.append(stage.name.replace("_", " "))
        if stage.tests:
            bars.append(Bar("\n+ ".join(waiting), tuple(stage.tests[seed] for seed in seeds)))
            waiting.clear()
    return figure(f"{paper.experiment}/audit", caption, lambda: draw_audit(paper, bars))


def _table(paper: PaperExperiment, way: Sequence[Stage]) -> Table:
    header = [
        *("Key added", "What it does", paper.metric_label, "Sparsity (%)", "Seeds"),
        *("Change since the last row that was run", "95 % interval", "Pairs", "Reading", "The key alone, since sound"),
    ]
    run = [i for i, stage in enumerate(way) if stage.tests]
    before = {i: way[j] for j, i in pairwise(run)}
    rows = [
        [*_stage_cells(stage), *_change(stage, before.get(i)), _alone(stage, way[0])] for i, stage in enumerate(way)
    ]
    return table(header, [*rows, _paper_row(paper)])


def _stage_cells(stage: Stage) -> list[str]:
    name = stage.name if stage.name == SOUND else code(stage.name)
    num_seeds = f"{len(stage.tests)} of {len(stage.seeds)}"
    if not stage.tests:
        return [name, stage.words, "not run", "", num_seeds]
    tests, sparsities = describe([*stage.tests.values()]), describe([*stage.sparsities.values()])
    return [name, stage.words, spread(tests, Kind.METRIC), spread(sparsities, Kind.FRACTION), num_seeds]


def _change(stage: Stage, before: Stage | None) -> list[str]:
    """From the stage before that was run: difference by seed, its interval, pairs, what may be concluded."""
    pairs = _paired(stage.tests, before.tests) if before else None
    if pairs is None:
        return ["", "", "", ""]
    difference = number(pairs.difference.mean, Kind.METRIC, "+")
    told = reading(pairs, MARGINS[Kind.METRIC])
    return [difference, interval(pairs.difference, Kind.METRIC), str(pairs.n), told]


def _alone(stage: Stage, sound: Stage) -> str:
    pairs = _paired(stage.tests_alone, sound.tests)
    if pairs is None:
        return "" if stage is sound else "not run"
    return f"{number(pairs.difference.mean, Kind.METRIC, '+')}, n = {pairs.n}"


def _paired(first: dict[int, float], second: dict[int, float]) -> Paired | None:
    seeds = sorted(first.keys() & second.keys())
    return compare_pairs([first[seed] for seed in seeds], [second[seed] for seed in seeds])


def _paper_row(paper: PaperExperiment) -> list[str]:
    row = paper.row("relevance")
    assert row is not None, "every experiment has a row of the paper's own method"
    metric, sparsity = number(row.metric, Kind.METRIC), number(row.sparsity, Kind.FRACTION)
    return ["the paper", "", metric, sparsity, "", "", "", "", "", ""]
