"""The section on what the paper leaves open, whether relevance differs from L2, from the runs of scripts/study.py.

Its runs are those of any experiment in which a relevance run and a control share all settings but the method.
"""

from collections.abc import Sequence

from sparsity.records import AT_PAPER_SPARSITY
from sparsity.report.blocks import Block, Figure, Heading, Prose, Table, table
from sparsity.report.cells import code, spread
from sparsity.report.comparison import Kind
from sparsity.report.configurations import Configuration
from sparsity.report.controls import LOBSTER, Contrast, contrasts, contrasts_table, on_the_way, sentence
from sparsity.report.equivalence import RULE, Outcome
from sparsity.report.figures import MOST_CONFIGURATIONS, irrelevance_figure
from sparsity.report.paper import PaperExperiment
from sparsity.report.plots.differences import draw_differences
from sparsity.report.plots.study import draw_study
from sparsity.report.plots.style import figure
from sparsity.report.statistics import describe
from sparsity.report.stops import counted, is_at_bound

TITLE = "Does relevance differ from L2?"

QUESTION = """The penalty is L2 times the irrelevance `I = exp(-|g| / alpha)`. Where I is near 1 for every weight, the
method is L2 under another name, and the paper's own Table 11 has the two within 0.06 BLEU of each other. A smaller
alpha, or gradients scaled by their layer's mean, make the difference larger. Below, all settings but the method's are
equal, and the precision; commits and processors are those of the table of runs. Runs are paired by seed. They are
compared at equal sparsity where both came to it: on test data at the paper's, on validation data at the first
evaluation of a network of the highest sparsity below that all pairs reached. They are compared at equal metric, *at the
bound*, where the bound stopped both: the last evaluation that could have pruned did not. There prunes are counted, each
of the same fraction of what is left: near 100 % sparsities hardly differ."""

ON_LOBSTER = """LOBSTER stands beside them as its authors run it (`pruner=lobster_authors`), at its own rate, lambda and
length, of which three hours are run: it has no gate, so only metrics at the paper's sparsity are compared.
`pruner=lobster` is no control: it restores no best state before it looks for a threshold, holds that threshold to the
lowest loss ever instead of a bound measured then, and lowers no rate on the plateau."""

NO_RUNS = """No relevance run has a control at equal settings and seed yet: `python scripts/study.py` makes them, and
goes on from where it was stopped."""


def study_section(sections: Sequence[tuple[PaperExperiment, list[Configuration]]]) -> list[Block]:
    """Question, verdict, and per experiment a table of settings, a figure and the paired comparison."""
    studied = [(paper, ours, found) for paper, ours in sections if (found := contrasts(paper, ours))]
    blocks: list[Block] = [Heading(2, TITLE), Prose(QUESTION), Prose(RULE), Prose(ON_LOBSTER)]
    if not studied:
        return [*blocks, Prose(NO_RUNS)]
    blocks.append(Prose(counted([each for _, ours, found in studied for each in _members(ours, found)])))
    blocks.append(Prose(verdict([contrast for _, _, found in studied for contrast in found])))
    for paper, ours, found in studied:
        blocks += _experiment(paper, _members(ours, found), found)
    return blocks


def verdict(found: Sequence[Contrast]) -> str:
    """What the comparisons with L2 say, in one paragraph made from their statistics; each stands below it."""
    against_l2 = [contrast for contrast in found if contrast.control.first.pruner == "l2"]
    if not against_l2:
        return "**Verdict.** Open: there is no L2 control at equal settings yet."
    outcomes = [contrast.outcome for contrast in against_l2]
    counts = "; ".join(f"{outcomes.count(each)} {each.value}" for each in Outcome)
    first = f"**Verdict.** {len(outcomes)} comparisons with L2: {counts}."
    caution = "p is not corrected for the number of comparisons: at 0.05, one in twenty differs by chance."
    return "\n".join([f"{first} {caution}", "", *(f"- {sentence(contrast)}" for contrast in against_l2)])


def _members(ours: Sequence[Configuration], found: Sequence[Contrast]) -> list[Configuration]:
    return [each for each in ours if any(each in (contrast.ours, contrast.control) for contrast in found)]


def _experiment(paper: PaperExperiment, members: Sequence[Configuration], found: Sequence[Contrast]) -> list[Block]:
    name = f"{paper.experiment}/study"
    caption = (
        f"{paper.title}: test metric at the paper's sparsity, and sparsity after the last prune, whatever stopped it, "
        "per method; small dots are seeds, large ones means with their 95 % interval."
    )
    return [
        Heading(3, f"{paper.title}: methods at equal settings"),
        Prose(f"Experiment {code(paper.experiment)}."),
        _members_table(paper, members),
        figure(name, caption, lambda: draw_study(paper, members)),
        *_differences(paper, found),
        irrelevance_figure(paper, members[:MOST_CONFIGURATIONS], "study_irrelevance"),
        contrasts_table(found),
    ]


def _differences(paper: PaperExperiment, found: Sequence[Contrast]) -> list[Figure]:
    """The whole way to the level that the table compares at, of the paper's irrelevance in runs of full length."""
    pairs = list[tuple[Configuration, Configuration]]()
    for each in found:
        pair, is_whole = (each.ours, each.control), not (each.ours.marks or each.ours.has_own_irrelevance)
        if is_whole and each.control.first.pruner != LOBSTER and pair not in pairs:
            pairs.append(pair)
    ways = [(control, way) for ours, control in pairs if (way := on_the_way(ours, control))]
    if not ways:
        return []
    caption = (
        f"{paper.title}: how far relevance is ahead of each control at equal sparsity, on validation data, before any "
        "final phase: means of the pairs with their 95 % interval; grey: the margin of equivalence. Many looks at the "
        "same runs: what is concluded is concluded at the last one, in the table."
    )
    return [figure(f"{paper.experiment}/differences", caption, lambda: draw_differences(paper, ways))]


def _members_table(paper: PaperExperiment, members: Sequence[Configuration]) -> Table:
    header = [
        *("Run", "n", f"{paper.metric_label} at the paper's sparsity", "Sparsity (%) after the last prune"),
        *("Stopped by the bound", "Lowest mean irrelevance of a layer"),
    ]
    return table(header, [_member_row(each) for each in members])


def _member_row(each: Configuration) -> list[str]:
    metric = each.test_metric(AT_PAPER_SPARSITY)
    sparsity = describe([run.summary.regularise.sparsity for run in each.runs])
    lowest = each.by_seed(
        lambda run: min((figures["mean"] for figures in (run.summary.irrelevance or {}).values()), default=None)
    )
    irrelevance = describe(list(lowest.values()))
    return [
        each.name,
        str(len(each.runs)),
        spread(metric, Kind.METRIC),
        spread(sparsity, Kind.FRACTION),
        f"{sum(map(is_at_bound, each.runs))} of {len(each.runs)}",
        "" if irrelevance is None else f"{irrelevance.mean:.4f}",
    ]
