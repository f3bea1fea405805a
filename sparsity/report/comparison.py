"""Our numbers held against the paper's: one verdict each, from means over seeds and tolerances set before.

A metric is never judged without the sparsity it stands at: fewer weights at a lower metric, or more weights at a higher
one, is another point of the same trade, not a better result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import hypot

from sparsity.records import AT_PAPER_SPARSITY
from sparsity.report.configurations import STARTS, Configuration
from sparsity.report.paper import PaperExperiment, PublishedRow, PublishedSizes, Tolerance
from sparsity.report.statistics import Statistic, binomial_half_width

# The rule of `judge`, as it stands beside the verdicts.
RULE = """*matches*: the mean of our seeds is within the tolerance. *short* and *better* take evidence: beyond it, and
the 95 % interval of the difference excludes zero. That interval is Student's over our seeds, widened, as the root of
the sum of squares, by the noise of the paper's single metric: 1.96 binomial standard errors of its accuracy on its test
images; of a BLEU no sentences are published, so the tolerance stands in for its noise; other numbers are taken as they
are printed. Without that evidence a number beyond its tolerance is *inconclusive*, and one seed, which has no interval,
can give no other verdict than *matches* or *inconclusive, n = 1*. Nor can fewer seeds than were planned before the
first of them ran: each look on the way would be another chance to find a difference."""


ROUNDING = 1e-9  # of differences in binary: 99.2 - 99.05 is no more than 0.15


class Verdict(StrEnum):
    """The words of the report; its legend explains them."""

    MATCHES = "matches"
    BETTER = "better"
    SHORT = "short"
    TRADE_OFF = "trade-off"
    DIFFERS = "differs"
    INCONCLUSIVE = "inconclusive"
    BY_CONSTRUCTION = "by construction"
    NOT_RUN = "not run"


class Kind(StrEnum):
    """What a number is, which decides how it is printed."""

    METRIC = "metric"
    FRACTION = "fraction"
    BYTES = "bytes"
    PRUNES = "prunes"


@dataclass(frozen=True)
class Comparison:
    """One number that the paper prints for `method` against ours; `ours` is None where no run has it.

    `paper`, `tolerance`, `noise` and `ours` are in the unit of `kind`; `result` says which of our results it is.
    `noise` is half of the 95 % interval of the paper's single number; `num_seeds` ran, whatever they reached, where
    `planned` were to.
    """

    method: str
    result: str
    number: str
    table: int
    kind: Kind
    paper: float
    tolerance: float
    ours: Statistic | None
    verdict: Verdict
    noise: float = 0.0
    num_seeds: int = 0
    planned: int = 0

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.ours is None else self.ours.mean - self.paper

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval of the difference; None where a single value says nothing about it."""
        return None if self.ours is None else half_width(self.ours, self.noise)

    @property
    def words(self) -> str:
        """The verdict as it is printed: one without evidence says from how many seeds."""
        if self.verdict is not Verdict.INCONCLUSIVE:
            return self.verdict.value
        on_the_way = f" of {self.planned} planned" if self.num_seeds < self.planned else ""
        return f"{self.verdict.value}, n = {self.num_seeds}{on_the_way}"


def half_width(ours: Statistic, noise: float) -> float | None:
    """Half of the 95 % interval of a mean minus a single number of that noise; None for one seed."""
    return None if ours.half_width is None else hypot(ours.half_width, noise)


def judge(ours: Statistic | None, paper: float, tolerance: float, noise: float = 0.0, planned: int = 1) -> Verdict:
    """Judge a number of which more is better, from as many seeds as were planned, by `RULE`."""
    if ours is None:
        return Verdict.NOT_RUN
    difference, half = ours.mean - paper, half_width(ours, noise)
    if abs(difference) <= tolerance + ROUNDING:
        return Verdict.MATCHES
    if half is None or abs(difference) <= half or ours.n < planned:
        return Verdict.INCONCLUSIVE
    return Verdict.BETTER if difference > 0 else Verdict.SHORT


def judge_pair(metric: Verdict, sparsity: Verdict) -> Verdict:
    """Judge a metric together with the sparsity it stands at; more of one for less of the other is a trade-off."""
    if sparsity in (Verdict.MATCHES, Verdict.BY_CONSTRUCTION):
        return metric
    if metric is Verdict.NOT_RUN or sparsity not in (Verdict.BETTER, Verdict.SHORT):
        return sparsity
    if metric is Verdict.INCONCLUSIVE:
        return metric
    return Verdict.TRADE_OFF if {metric, sparsity} == {Verdict.BETTER, Verdict.SHORT} else sparsity


def compare(paper: PaperExperiment, ours: Configuration) -> list[Comparison]:
    """Hold one configuration against every number the paper prints for its method.

    Returns:
        An empty list for a marked configuration, for a variant, and for a method without a
        row of the paper that has a tolerance.
    """
    printed = _judged_row(paper, ours.first.pruner, ours)
    if ours.marks or ours.variant or printed is None:
        return []
    if printed.row.sparsity is None:
        return _dense_from_scratch(printed, ours)
    baseline = _judged_row(paper, "dense", ours)
    comparisons = [baseline.metric("dense baseline", spread)] if baseline and (spread := ours.baseline()) else []
    comparisons += printed.result(AT_PAPER_SPARSITY) + printed.residuals()
    for start in ours.starts():
        comparisons += printed.result(start) if start != AT_PAPER_SPARSITY else []
    return comparisons + printed.sizes()


def headline(paper: PaperExperiment, ours: Configuration) -> Comparison | None:
    """The metric at the paper's sparsity, with the verdict on both; None where a configuration is not judged."""
    return next((item for item in compare(paper, ours) if item.result == STARTS[AT_PAPER_SPARSITY]), None)


def not_run(paper: PaperExperiment, done: Iterable[Comparison]) -> list[Comparison]:
    """The numbers of the methods that have a tolerance and no comparison in `done`."""
    methods = {item.method for item in done}
    missing: list[Comparison] = []
    for row in paper.results.rows:
        printed = _judged_row(paper, row.method, None)
        if printed is None or row.method in methods:
            continue
        if row.sparsity is None:
            missing.append(printed.metric("dense baseline", None))
        else:
            missing += printed.result(AT_PAPER_SPARSITY) + printed.residuals() + printed.sizes()
    return missing


def _dense_from_scratch(printed: "_JudgedRow", ours: Configuration) -> list[Comparison]:
    """A dense run is the paper's baseline only where the method starts from random weights too."""
    if ours.baseline() is not None:
        return []
    return [printed.metric("dense baseline", ours.test_metric("last"))]


def _judged_row(paper: PaperExperiment, method: str, ours: Configuration | None) -> "_JudgedRow | None":
    row = paper.row(method)
    return _JudgedRow(paper, row, row.tolerance, ours) if row and row.tolerance else None


@dataclass(frozen=True)
class _JudgedRow:
    """One row of the paper with its tolerance, and the configuration held against it (None: nothing ran)."""

    paper: PaperExperiment
    row: PublishedRow
    tolerance: Tolerance
    ours: Configuration | None

    def metric(self, result: str, ours: Statistic | None) -> Comparison:
        """The metric alone, as the baseline is judged."""
        images, tolerance = self.paper.results.num_test, self.tolerance.metric
        noise = tolerance if images is None else binomial_half_width(self.row.metric, images)
        return self._compare(result, self.paper.metric_label, Kind.METRIC, self.row.metric, tolerance, ours, noise)

    def result(self, start: str) -> list[Comparison]:
        """Metric (judged with its sparsity) and sparsity."""
        assert self.row.sparsity is not None, "a dense row has no result at a sparsity"
        found = self.ours.sparsity(start) if self.ours else None
        sparsity = self._compare(
            STARTS[start], "Sparsity (%)", Kind.FRACTION, self.row.sparsity, self.tolerance.sparsity, found
        )
        if start == AT_PAPER_SPARSITY and self.ours:
            sparsity = replace(sparsity, verdict=self._reached(sparsity.verdict, self.ours))
        metric = self.metric(STARTS[start], self.ours.test_metric(start) if self.ours else None)
        return [replace(metric, verdict=judge_pair(metric.verdict, sparsity.verdict)), sparsity]

    def _reached(self, judged: Verdict, ours: Configuration) -> Verdict:
        """A state that is taken at the paper's sparsity has it by construction; the question is who gets there."""
        assert self.row.sparsity is not None, "a dense row has no result at a sparsity"
        reached, num_seeds = ours.num_reached(self.row.sparsity), len(ours.runs)
        if reached == num_seeds:
            return Verdict.BY_CONSTRUCTION if judged is Verdict.MATCHES else judged
        are_enough = num_seeds >= max(2, self.paper.planned_seeds)
        return Verdict.SHORT if reached == 0 and are_enough else Verdict.INCONCLUSIVE

    def residuals(self) -> list[Comparison]:
        """What each group keeps at the paper's sparsity, where neither more nor less is better."""
        ours = self.ours.residual(AT_PAPER_SPARSITY) if self.ours else {}
        result, ratio = STARTS[AT_PAPER_SPARSITY], self.tolerance.residual_ratio
        return [
            _either_way(self._compare(result, f"{group} left (%)", Kind.FRACTION, left, ratio * left, ours.get(group)))
            for group, left in self.row.residual.items()
        ]

    def sizes(self) -> list[Comparison]:
        """Sizes on disk, which the paper prints for its own method only."""
        sizes = self.paper.sizes
        if sizes is None or self.row.method != "relevance":
            return []
        return [_either_way(self._size(key, size, sizes)) for key, size in sizes.values.items()]

    def _size(self, key: str, size: float, sizes: PublishedSizes) -> Comparison:
        ours, tolerance = self.ours.size_bytes(key) if self.ours else None, sizes.tolerance_ratio * size
        number = key.removesuffix("_bytes").replace("_", " ") + " (MB)"
        return replace(self._compare("on disk", number, Kind.BYTES, size, tolerance, ours), table=sizes.table)

    def _compare(
        self,
        result: str,
        number: str,
        kind: Kind,
        paper: float,
        tolerance: float,
        ours: Statistic | None,
        noise: float = 0.0,
    ) -> Comparison:
        table, num_seeds = self.paper.results.table, len(self.ours.runs) if self.ours else 0
        planned = self.paper.planned_seeds
        verdict = judge(ours, paper, tolerance, noise, planned)
        return Comparison(
            self.row.method, result, number, table, kind, paper, tolerance, ours, verdict, noise, num_seeds, planned
        )


def _either_way(comparison: Comparison) -> Comparison:
    """More is not better; the size of a file follows from what is kept and is judged by its tolerance alone."""
    judged = comparison.verdict in (Verdict.BETTER, Verdict.SHORT)
    judged |= comparison.kind is Kind.BYTES and comparison.verdict is Verdict.INCONCLUSIVE
    return replace(comparison, verdict=Verdict.DIFFERS) if judged else comparison
