"""The way from the sound protocol to the authors', one key after the other, and the runs that stand on it.

results/audit.yaml lists the keys in their order. Everything else is read from the runs: a run stands where its
departures from the sound protocol say.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsity.records import AT_PAPER_SPARSITY, Row
from sparsity.report.configurations import Configuration, row_at
from sparsity.report.paper import PaperExperiment
from sparsity.report.parsing import decode_document, load_yaml
from sparsity.report.tables import own_results
from sparsity.report.variants import PROTOCOL

FILE = "audit.yaml"
REPORT, POLICY = "protocol.report", "gate.policy"
BEST_OF_ALL = "best_of_all"
SOUND = "sound"


@dataclass(frozen=True)
class Step:
    """One key of the protocol: the override that sets it, what it does, and where that can matter."""

    override: str
    words: str
    experiments: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its dotted path."""
        return self.override.partition("=")[0]

    @property
    def name(self) -> str:
        """Its last part."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True)
class Audit:
    """The keys in the order in which they are added, and the seeds of each."""

    seeds: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()

    def of(self, experiment: str) -> list[Step]:
        """The steps that can matter there."""
        return [step for step in self.steps if experiment in step.experiments]


@dataclass(frozen=True)
class Stage:
    """A point on the way: what was added last, and the runs with all keys up to it, and with that key alone.

    seeds: those of the audit; others are left out, so that the changes sum. start: which row of the runs is meant.
    """

    name: str
    words: str
    seeds: tuple[int, ...]
    together: Configuration | None
    alone: Configuration | None = None
    start: str = AT_PAPER_SPARSITY

    @property
    def tests(self) -> dict[int, float]:
        """The test metric of each seed with all keys up to here; none where it was not run."""
        return self._by_seed(self.together, lambda row: row.test)

    @property
    def tests_alone(self) -> dict[int, float]:
        """The same with this key alone."""
        return self._by_seed(self.alone, lambda row: row.test)

    @property
    def sparsities(self) -> dict[int, float]:
        """The sparsity of each seed with all keys up to here."""
        return self._by_seed(self.together, lambda row: row.sparsity)

    def _by_seed(self, ours: Configuration | None, value: Callable[[Row], float]) -> dict[int, float]:
        found = ours.by_seed(lambda run: value(row) if (row := row_at(run, self.start)) else None) if ours else {}
        return {seed: number for seed, number in found.items() if seed in self.seeds}


def load_audit(path: Path) -> Audit:
    """The list of a file such as results/audit.yaml; without one no steps.

    Raises:
        ValueError: one sentence with what is wrong in it.
    """
    return load_yaml(path, lambda document: decode_document(Audit, document)) if path.is_file() else Audit()


def stages(paper: PaperExperiment, configurations: Sequence[Configuration], audit: Audit) -> list[Stage]:
    """The sound protocol, then one stage for each key that can matter to the experiment."""
    steps, so_far = audit.of(paper.experiment), set[str]()
    sound = next(iter(own_results(paper, configurations)), None)
    departed = _departed(configurations, sound, {step.key for step in steps}) if sound else []
    words = "none: held-out training images gate, one state is reported at one sparsity"
    way = [Stage(SOUND, words, audit.seeds, sound)]
    for step in steps:
        so_far = so_far | {step.key}
        together, alone = (_with(keys, step.key, departed) for keys in (so_far, {step.key}))
        start = BEST_OF_ALL if step.key == REPORT else AT_PAPER_SPARSITY
        way.append(Stage(step.name, step.words, audit.seeds, together, alone, start))
    return way


def _departed(
    configurations: Sequence[Configuration], sound: Configuration, listed: set[str]
) -> list[tuple[set[str], Configuration]]:
    """The configurations that differ from the sound one by the protocol alone, each with its keys that matter.

    Whether the bound may fall back matters where it did so in the sound runs.
    """
    is_moved = any(run.summary.gate.bound_used != run.summary.gate.bound_printed for run in sound.runs)
    matter = listed | ({POLICY} if is_moved else set())
    return [
        (matter & set(each.first.departures), each)
        for each in configurations
        if all(mark.startswith(PROTOCOL) for mark in each.marks)
        and each.first.pruner == sound.first.pruner
        and each.first.provenance.products == sound.first.provenance.products
        and _beside_protocol(each) == _beside_protocol(sound)
    ]


def _beside_protocol(ours: Configuration) -> dict[str, Any] | None:
    settings: dict[str, Any] | None = json.loads(ours.shared_settings or "null")
    if settings is None or ours.has_own_irrelevance:
        return None
    return {path: value for path, value in settings.items() if not path.startswith("protocol.") and path != POLICY}


def _with(keys: set[str], last: str, departed: Sequence[tuple[set[str], Configuration]]) -> Configuration | None:
    """The runs with these keys, of most seeds; `report` is needed where it was added last, and else does nothing."""
    free = set[str]() if last == REPORT else {REPORT}
    found = [each for matter, each in departed if matter - free == keys - free]
    return max(found, key=lambda each: len(each.runs), default=None)
