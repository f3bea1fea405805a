"""All methods in one loop at one budget: what is run, what belongs to it, and which try of a method is shown.

A run belongs to it by its length alone: so many epochs in all, and one final phase from the last state. Whatever was
tried of a method at that length counts as a try.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparsity.report.configurations import Configuration, row_at
from sparsity.report.paper import PaperExperiment
from sparsity.report.parsing import decode_document, load_yaml
from sparsity.report.variants import DATA, GATED_BY_TEST, PROTOCOL

FILE = "leaderboard.yaml"
LAST = "last"

# What a mark begins with that keeps a run out: being shorter than the paper's, or from another start, does not.
_UNFIT = (DATA, PROTOCOL, GATED_BY_TEST, "uncommitted", "model", "smoke", "rehearsal")


@dataclass(frozen=True)
class Entry:
    """A method: the settings of all its runs, and what is tried of it, one setting a try.

    only: settings of single experiments, by their names.
    own: experiment -> settings of the one run as in the method's own paper, in the place of all these.
    """

    pruner: str
    settings: tuple[str, ...] = ()
    tries: tuple[str, ...] = ()
    only: dict[str, tuple[str, ...]] = field(default_factory=dict)
    own: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """So many epochs in all, and the settings that say so and that all tries share beside.

    bound: of the validation metric, where networks of this length do not reach that of the paper's gate.
    tries: pruner -> its tries, of the methods that are held against each other there alone; empty: of all, as listed.
    """

    num_epochs: int
    settings: tuple[str, ...] = ()
    bound: float | None = None
    tries: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Leaderboard:
    """The settings that all runs share, the methods, and their budget; `budgets` are those of single experiments."""

    common: tuple[str, ...]
    methods: tuple[Entry, ...]
    budget: Budget
    budgets: dict[str, Budget] = field(default_factory=dict)

    def budget_in(self, experiment: str) -> Budget:
        """The budget of an experiment."""
        return self.budgets.get(experiment, self.budget)

    def entries_in(self, experiment: str) -> list[Entry]:
        """The methods that are held against each other in an experiment."""
        tries = self.budget_in(experiment).tries
        return [entry for entry in self.methods if entry.pruner in tries or not tries]

    def tries_in(self, experiment: str, entry: Entry) -> list[tuple[str, ...]]:
        """The overrides of each try of a method; one of which nothing is listed is tried as it stands."""
        budget = self.budget_in(experiment)
        settings = (*budget.settings, *entry.settings, *entry.only.get(experiment, ()))
        return [(*settings, *tried.split()) for tried in budget.tries.get(entry.pruner, entry.tries) or ("",)]

    def bound_in(self, paper: PaperExperiment) -> float:
        """The lower bound of the validation metric, which no method's choice may fall below."""
        bound = self.budget_in(paper.experiment).bound
        printed = next((setting.value for setting in paper.settings if setting.name == "lower bound"), 0.0)
        return float(printed) if bound is None else bound


NONE = Leaderboard(common=(), methods=(), budget=Budget(num_epochs=-1))


@dataclass(frozen=True)
class Standing:
    """What was tried of one method in one experiment, and what of that is shown."""

    chosen: Configuration
    tried: tuple[Configuration, ...]


def load_leaderboard(path: Path) -> Leaderboard:
    """Read a list such as results/leaderboard.yaml; without one there is no budget that a run could have.

    Raises:
        ValueError: one sentence with what is wrong in it.
    """
    if not path.is_file():
        return NONE
    return load_yaml(path, lambda document: decode_document(Leaderboard, document))


def belongs(ours: Configuration, paper: PaperExperiment, listed: Leaderboard) -> bool:
    """Whether a configuration has the leaderboard's length: epochs that the experiment's own start does not have.

    How long the network of a file was trained nobody knows.
    """
    settings = ours.first.settings or {}
    epochs = settings.get("regularise.num_epochs", 0) + settings.get("finetune.num_epochs", 0)
    if ours.first.baseline.source == "train" and paper.baseline != "train":
        epochs += ours.first.baseline.num_epochs
    has_length = epochs == listed.budget_in(paper.experiment).num_epochs and ours.first.baseline.source != "file"
    return _is_fit(ours) and has_length and settings.get("finetune.start_from") == [LAST]


def _is_fit(ours: Configuration) -> bool:
    return not any(mark.startswith(_UNFIT) for mark in ours.marks)


def at_own_budget(ours: Configuration, paper: PaperExperiment, listed: Leaderboard) -> bool:
    """Whether a configuration is of a method with a budget of its own there, and not of the one that all share."""
    has_own = any(entry.pruner == ours.first.pruner and paper.experiment in entry.own for entry in listed.methods)
    return has_own and _is_fit(ours) and not belongs(ours, paper, listed) and LAST in ours.starts()


def choose(tried: Sequence[Configuration], bound: float) -> Configuration:
    """The try to be shown, by validation data of the first seed: the sparsest above the bound, or else the best.

    Args:
        tried: at least one, each with a row of its last state.
        bound: of the validation metric.
    """

    def place(ours: Configuration) -> tuple[bool, float]:
        row = row_at(ours.runs[0], LAST)
        assert row is not None, "held by `belongs`"
        return (True, row.sparsity) if row.val > bound else (False, row.val)

    return max(tried, key=place)


def standings(paper: PaperExperiment, configurations: Sequence[Configuration], listed: Leaderboard) -> list[Standing]:
    """Each method that has runs at the budget, with what is shown of it, the sparsest first."""
    methods: dict[str, list[Configuration]] = defaultdict(list)
    for ours in configurations:
        if belongs(ours, paper, listed):
            methods[ours.first.pruner].append(ours)
    found = [Standing(choose(tried, listed.bound_in(paper)), tuple(tried)) for tried in methods.values()]
    return sorted(found, key=lambda standing: -standing.chosen.runs[0].summary.rows[0].sparsity)
