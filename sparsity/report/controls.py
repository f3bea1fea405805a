"""Relevance against its controls L2, L1 and magnitude at equal settings.

LOBSTER stands beside them as its authors run it, at its own settings and length, which is cut: it has no gate, so only
metrics at the paper's sparsity are compared.

Two configurations are compared if all settings but the method's are equal (`Configuration.shared_settings`), marks and
precision included; their runs are paired by seed. They are compared at equal sparsity where both came to it (the
paper's, on test data; the highest of a few that all pairs reached, on validation data) and at equal metric, at the
bound, where it stopped both: there by prunes, each of the same fraction, as near 100 % sparsities differ by next to
nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sparsity.report.blocks import Table, table
from sparsity.report.cells import interval, number, spread
from sparsity.report.comparison import Kind
from sparsity.report.configurations import Configuration, metric_at_paper_sparsity
from sparsity.report.equivalence import (
    MARGINS,
    MOST_SEEDS,
    Outcome,
    outcome,
    p_equivalence,
    reading,
    seeds_for_difference,
    seeds_for_equivalence,
)
from sparsity.report.paper import PaperExperiment
from sparsity.report.reading import Run
from sparsity.report.statistics import Paired, Statistic, compare_pairs, describe
from sparsity.report.stops import LEVELS, is_at_bound, metric_at
from sparsity.report.variants import SHORTENED

METHOD, CONTROLS, LOBSTER = "relevance", ("l2", "magnitude", "l1"), "lobster_authors"


_Number = tuple[str, Kind, Callable[[Run], float | None]]


@dataclass(frozen=True)
class Contrast:
    """One number of a relevance configuration and of a control, over the seeds that both have it for."""

    ours: Configuration
    control: Configuration
    number: str
    kind: Kind
    first: Statistic
    second: Statistic
    pairs: Paired

    @property
    def margin(self) -> float:
        """The smallest difference of its kind that matters."""
        return MARGINS[self.kind]

    @property
    def outcome(self) -> Outcome:
        """What may be concluded."""
        return outcome(self.pairs, self.margin)

    @property
    def reading(self) -> str:
        """The same in words."""
        return reading(self.pairs, self.margin)

    @property
    def seeds_to_settle(self) -> tuple[str, str]:
        """How many seeds would show equivalence, and a difference of the margin; empty where no spread says so."""
        std = self.pairs.difference.std
        if not std:
            return "", ""
        return _seeds(seeds_for_equivalence(std, self.margin)), _seeds(seeds_for_difference(std, self.margin))


def contrasts(paper: PaperExperiment, configurations: Sequence[Configuration]) -> list[Contrast]:
    """Each relevance configuration against each control that shares its settings, where they share a seed."""
    return [
        contrast
        for ours in configurations
        for control in configurations
        if _comparable(ours, control)
        for contrast in _contrasts(paper, ours, control)
    ]


def contrasts_table(found: Sequence[Contrast]) -> Table:
    """Both means, the paired difference with its 95 % interval, all p, the effect size, and what follows."""
    header = [
        *("Relevance", "Control", "Number", "Relevance's", "Control's", "Pairs", "Difference", "95 % interval"),
        *("p (t)", "p (exact)", "d_z", "Margin", "p (equivalence)", "Reading"),
        *("Seeds for equivalence", "Seeds for a difference"),
    ]
    return table(header, [_row(contrast) for contrast in found])


def sentence(contrast: Contrast) -> str:
    """The verdict on one contrast as a sentence, generated from its statistics alone."""
    pairs, kind = contrast.pairs, contrast.kind
    difference = f"{number(pairs.difference.mean, kind, '+')} {_unit(kind)}"
    subject = f"{contrast.ours.name} against {contrast.control.name}, {contrast.number}"
    known = [f"n = {pairs.n}"]
    known += [f"95 % interval {interval(pairs.difference, kind)}"] if pairs.difference.half_width is not None else []
    known += [_probabilities(contrast)] if pairs.p_t is not None else []
    equal, different = contrast.seeds_to_settle
    settled = f"; {equal} seeds would show equivalence, {different} a difference of the margin" if equal else ""
    open_still = settled if contrast.outcome is Outcome.UNDECIDED else ""
    return f"{subject}: {difference} ({'; '.join(known)}): {contrast.reading}{open_still}."


def _probabilities(contrast: Contrast) -> str:
    pairs = contrast.pairs
    equal = p_equivalence(pairs.difference, contrast.margin)
    return f"p = {pairs.p_t:.2g} (t), {pairs.p_exact:.2g} (exact), {equal:.2g} (equivalence within {_margin(contrast)})"


def _comparable(ours: Configuration, control: Configuration) -> bool:
    if ours.first.pruner != METHOD or control.first.pruner not in (*CONTROLS, LOBSTER):
        return False
    is_lobster = control.first.pruner == LOBSTER
    shared = [each.shared_with_lobster if is_lobster else each.shared_settings for each in (ours, control)]
    marks = tuple(mark for mark in control.marks if not (is_lobster and mark == SHORTENED))
    is_alike = ours.first.provenance.products == control.first.provenance.products
    return shared[0] is not None and shared[0] == shared[1] and ours.marks == marks and is_alike


def _contrasts(paper: PaperExperiment, ours: Configuration, control: Configuration) -> Iterator[Contrast]:
    numbers: list[_Number] = [
        (f"{paper.metric_label} at the paper's sparsity", Kind.METRIC, metric_at_paper_sparsity),
        *_at_equal_sparsity(paper, ours, control),
        ("Prunes at the bound", Kind.PRUNES, _prunes_at_bound),
    ]
    for name, kind, value in numbers[:1] if control.first.pruner == LOBSTER else numbers:
        first, second = ours.by_seed(value), control.by_seed(value)
        seeds = sorted(first.keys() & second.keys())
        mine, theirs = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
        means, pairs = (describe(mine), describe(theirs)), compare_pairs(mine, theirs)
        if means[0] and means[1] and pairs:
            yield Contrast(ours, control, name, kind, means[0], means[1], pairs)


def on_the_way(ours: Configuration, control: Configuration) -> dict[float, Paired]:
    """Level of sparsity -> the paired differences of the validation metric there, before any final phase.

    Only levels that both runs of every pair came to, so that each is of the same pairs.
    """
    seeds = _shared_seeds(ours, control)

    def pairs(level: float) -> Paired | None:
        first, second = (each.by_seed(partial(metric_at, level=level)) for each in (ours, control))
        return compare_pairs([first[seed] for seed in seeds], [second[seed] for seed in seeds])

    return {level: found for level in _levels(ours, control) if (found := pairs(level))}


def _shared_seeds(ours: Configuration, control: Configuration) -> list[int]:
    return sorted(set(ours.seeds) & set(control.seeds))


def _levels(ours: Configuration, control: Configuration) -> list[float]:
    """The levels of sparsity that both runs of every pair have an evaluation at."""
    seeds = _shared_seeds(ours, control)
    runs = [run for each in (ours, control) for run in each.runs if run.summary.seed in seeds]
    return [level for level in LEVELS if all(metric_at(run, level) is not None for run in runs)]


def _at_equal_sparsity(paper: PaperExperiment, ours: Configuration, control: Configuration) -> list[_Number]:
    """The validation metric at the highest level of sparsity that all pairs came to."""
    reached = _levels(ours, control)
    if not reached:
        return []
    level = reached[-1]
    name = f"{paper.metric_label} on validation data at {100 * level:g} % sparsity"
    return [(name, Kind.METRIC, partial(metric_at, level=level))]


def _prunes_at_bound(run: Run) -> float | None:
    return run.summary.regularise.num_prunes if is_at_bound(run) else None


def _row(contrast: Contrast) -> list[str]:
    pairs, kind = contrast.pairs, contrast.kind
    return [
        contrast.ours.name,
        contrast.control.name,
        contrast.number,
        spread(contrast.first, kind),
        spread(contrast.second, kind),
        str(pairs.n),
        number(pairs.difference.mean, kind, sign="+"),
        interval(pairs.difference, kind),
        _p(pairs.p_t),
        _p(pairs.p_exact),
        "" if pairs.effect_size is None else f"{pairs.effect_size:+.2f}",
        _margin(contrast),
        _p(p_equivalence(pairs.difference, contrast.margin)),
        contrast.reading,
        *contrast.seeds_to_settle,
    ]


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _margin(contrast: Contrast) -> str:
    return f"±{contrast.margin:g} {_unit(contrast.kind)}"


def _seeds(number: int) -> str:
    return f"{number:,}" if number <= MOST_SEEDS else f"over {MOST_SEEDS:,}"


def _unit(kind: Kind) -> str:
    return "prunes" if kind is Kind.PRUNES else "points"
