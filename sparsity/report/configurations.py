"""Runs that belong together, seeds of one configuration, and what they are called.

Runs of one configuration differ by their seed only, in what was asked for: their commits and processors stand in the
table of runs. Those in another precision than most of them are a configuration of their own, with a mark that says so.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsity.records import AT_PAPER_SPARSITY, Row, Summary
from sparsity.report.layer_groups import residual_by_group
from sparsity.report.paper import PaperExperiment
from sparsity.report.reading import Run
from sparsity.report.statistics import Statistic, describe
from sparsity.report.variants import DATA, PROTOCOL, changes, marks

# The states from which a final phase starts, and how the tables call the result. The last one is the authors' choice of
# a checkpoint: the best validation metric, whatever the sparsity (protocol.report=any_phase).
STARTS = {
    AT_PAPER_SPARSITY: "from the paper's sparsity",
    "last": "from the last state",
    "best_of_all": "the best of all states",
}

# What makes the method, and how the tables call a value that is not the default. A control shares all other settings.
_OF_IRRELEVANCE: dict[str, Callable[[Any], str]] = {
    "pruner.penalty.alpha": lambda value: f"alpha {value:g}",
    "pruner.penalty.scale_free": lambda _: "scale-free",
    "pruner.penalty.irrelevance": str,
    "pruner.penalty.decoupled": lambda _: "decoupled",
    "pruner.score": lambda _: "own score",
}
_OF_METHOD = {*_OF_IRRELEVANCE, "pruner.name", "pruner.prunes", "pruner.method", "pruner.penalty.kind"} - {
    "pruner.penalty.decoupled",
    "pruner.score",
}
# LOBSTER has an optimiser, a trigger, a lambda and a length of its own: it shares the network, the data and the start.
_OF_LOBSTER = ("pruner.", "gate.", "schedule.", "regularise.")

# In the tables the paper's method comes first and the unpruned control last.
_ORDER = {"relevance": 0, "dense": 2}


@dataclass(frozen=True)
class Configuration:
    """The runs of one pruner and fingerprint at one scale, in the order of their seeds, and what marks them.

    changed: the settings of the method that are not the paper's, in words.
    """

    runs: tuple[Run, ...]
    marks: tuple[str, ...]
    changed: tuple[str, ...] = ()

    @property
    def first(self) -> Summary:
        """The summary of the first seed; everything but the seed's results is the same in all."""
        return self.runs[0].summary

    @property
    def name(self) -> str:
        """As the tables call it: pruner, start of the fingerprint, then what is unusual in method and protocol."""
        return self._named(self.short_name)

    @property
    def short_name(self) -> str:
        """Pruner and start of the fingerprint."""
        return f"{self.first.pruner} {self.first.fingerprint[:8]}"

    @property
    def label(self) -> str:
        """The name without the fingerprint, and the marks: short enough for the legend of a figure."""
        shown = [mark for mark in self.marks if not mark.startswith((DATA, PROTOCOL))]  # the name says those
        marks = f" ({'; '.join(shown)})" if shown else ""
        return self._named(self.first.pruner) + marks

    @property
    def shared_settings(self) -> str | None:
        """What a relevance run and its controls must share; None where a summary does not hold its settings."""
        settings = self.first.settings
        if settings is None:
            return None
        return json.dumps({path: value for path, value in settings.items() if path not in _OF_METHOD}, sort_keys=True)

    @property
    def shared_with_lobster(self) -> str | None:
        """The same for a comparison with LOBSTER at its own settings."""
        settings = self.first.settings
        if settings is None:
            return None
        shared = {path: value for path, value in settings.items() if not path.startswith(_OF_LOBSTER)}
        return json.dumps(shared, sort_keys=True)

    @property
    def before_final_phase(self) -> str | None:
        """What runs share that differ in their final phase only, so that it starts from the same bits; None where a
        summary does not hold its settings.
        """
        settings = self.first.settings
        if settings is None:
            return None
        shared = {
            path: value
            for path, value in settings.items()
            if not path.startswith(("finetune.", "gate.stop_at_sparsity"))
        }
        origins = {(of.commit, of.device, of.products) for of in (run.summary.provenance for run in self.runs)}
        same = [self.first.pruner, self.first.scale, self.marks, sorted(map(str, origins))]
        return json.dumps([*same, shared], sort_keys=True)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that ran."""
        return tuple(run.summary.seed for run in self.runs)

    def starts(self) -> list[str]:
        """The starts of the final phase that any seed has a row for."""
        return [start for start in STARTS if any(row_at(run, start) for run in self.runs)]

    def over_rows(self, start: str, value: Callable[[Row], float]) -> Statistic | None:
        """One value per seed that has a row for `start`."""
        rows = [row_at(run, start) for run in self.runs]
        return describe([value(row) for row in rows if row is not None])

    def test_metric(self, start: str) -> Statistic | None:
        """The metric on test data of each seed that has a row for `start`."""
        return self.over_rows(start, lambda row: row.test)

    def sparsity(self, start: str) -> Statistic | None:
        """The sparsity of each seed that has a row for `start`."""
        return self.over_rows(start, lambda row: row.sparsity)

    def by_seed(self, value: Callable[[Run], float | None]) -> dict[int, float]:
        """One value per seed that has it."""
        return {run.summary.seed: found for run in self.runs if (found := value(run)) is not None}

    def residual(self, start: str) -> dict[str, Statistic]:
        """Fraction left in each column's group, over the seeds that have a row for `start`."""
        fractions: dict[str, list[float]] = defaultdict(list)
        for run in self.runs:
            layers = [layer for layer in run.layers if layer.start == start]
            for group, fraction in residual_by_group(run.summary.model, layers).items():
                fractions[group].append(fraction)
        return {group: spread for group, values in fractions.items() if (spread := describe(values))}

    def baseline(self) -> Statistic | None:
        """Test metric of the dense starting point; None for runs from random weights."""
        return describe([run.summary.baseline.test for run in self.runs if run.summary.baseline.test is not None])

    def size_bytes(self, key: str) -> Statistic | None:
        """One size on disk per seed that measured it."""
        sizes = [run.summary.sizes or {} for run in self.runs]
        return describe([size[key] for size in sizes if key in size])

    def num_reached(self, sparsity: float) -> int:
        """How many seeds kept a state at a sparsity, the paper's, or at least went beyond it."""
        reached = [row_at(run, AT_PAPER_SPARSITY) or run.summary.regularise.sparsity >= sparsity for run in self.runs]
        return sum(map(bool, reached))

    @property
    def variant(self) -> str:
        """How its method differs from the paper's, in words; empty where it does not."""
        settings = self.first.settings or {}
        words = [say(settings[path]) for path, say in _OF_IRRELEVANCE.items() if path in settings]
        return ", ".join([*words, *self.changed])

    @property
    def has_own_irrelevance(self) -> bool:
        """Whether its irrelevance, or what goes by it, is another than the paper's."""
        return any(path in (self.first.settings or {}) for path in _OF_IRRELEVANCE)

    def _named(self, start: str) -> str:
        data = f" on {self.first.data_name}" if any(mark.startswith(DATA) for mark in self.marks) else ""
        variant = f", {self.variant}" if self.variant else ""
        protocol = [f" ({mark})" for mark in self.marks if mark.startswith(PROTOCOL)]
        return "".join([start, data, variant, *protocol])


def collect(runs: Sequence[Run], paper: PaperExperiment) -> list[Configuration]:
    """Group the runs of one experiment: the paper's method first, unmarked before marked, dense last."""
    groups: dict[tuple[object, ...], list[Run]] = defaultdict(list)
    for run in runs:
        summary = run.summary
        groups[(summary.scale, summary.pruner, summary.fingerprint, marks(summary, paper))].append(run)
    found = [
        Configuration(
            tuple(sorted(alike, key=lambda run: run.summary.seed)),
            (*marks(alike[0].summary, paper), *mark),
            changes(alike[0].summary, paper),
        )
        for group in groups.values()
        for alike, mark in _by_precision(group)
    ]
    return sorted(found, key=_place)


def _by_precision(group: Sequence[Run]) -> list[tuple[list[Run], tuple[str, ...]]]:
    """Runs of one precision each, those of which there are most first, and what marks the others."""
    alike: dict[str, list[Run]] = defaultdict(list)
    for run in group:
        alike[run.summary.provenance.products].append(run)
    first, *others = sorted(alike.items(), key=lambda pair: (-len(pair[1]), pair[0] != "fp32"))
    return [(first[1], ()), *((runs, (f"in {precision}",)) for precision, runs in others)]


def _place(ours: Configuration) -> tuple[object, ...]:
    pruner = ours.first.pruner
    return bool(ours.marks), _ORDER.get(pruner, 1), pruner, ours.variant, ours.name, ours.marks


@dataclass
class Baseline:
    """One dense starting point, of all seeds that began from it."""

    name: str
    of: list[str]  # the configurations that share it, first the one that stands highest
    by_seed: dict[int, float]  # metric on test data

    def is_shared_with(self, tests: Mapping[int, float]) -> bool:
        """Whether another configuration began from it too: they have seeds in common and agree in all of these."""
        common = self.by_seed.keys() & tests.keys()
        return bool(common) and all(self.by_seed[seed] == tests[seed] for seed in common)


def baselines(configurations: Sequence[Configuration]) -> list[Baseline]:
    """The different dense starting points of unmarked configurations, each once although methods share it."""
    found: list[Baseline] = []
    for ours in configurations:
        by_seed = {run.summary.seed: run.summary.baseline.test for run in ours.runs}
        tests = {seed: test for seed, test in by_seed.items() if test is not None}
        if not tests or ours.marks:
            continue
        name = _baseline_name(ours.first)
        shared = next((each for each in found if each.name == name and each.is_shared_with(tests)), None)
        if shared is None:
            found.append(shared := Baseline(name, [], {}))
        shared.of.append(ours.short_name)
        shared.by_seed |= tests
    return found


def _baseline_name(summary: Summary) -> str:
    if summary.baseline.source == "train":
        return f"dense baseline, {summary.baseline.num_epochs} epochs"
    return f"dense baseline, {summary.baseline.source} checkpoint"


def row_at(run: Run, start: str) -> Row | None:
    """The run's result from one start of the final phase, if it has it."""
    return next((row for row in run.summary.rows if row.start == start), None)


def metric_at_paper_sparsity(run: Run) -> float | None:
    """The metric on test data of the network at the paper's sparsity, if the run came to it."""
    row = row_at(run, AT_PAPER_SPARSITY)
    return row.test if row else None
