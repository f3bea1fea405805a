"""The runs that may be held against the paper: marks, and the settings that make a variant, in words.

A run with a mark (small scale, shortened, other data, unsound protocol, uncommitted code, processes of several commits)
keeps its row without a verdict; so does a variant.
"""

from collections.abc import Callable, Container, Iterator
from typing import Any

from sparsity.records import AT_PAPER_SPARSITY, Provenance, Summary
from sparsity.report.paper import PaperExperiment
from sparsity.settings import Settings, leaves

DATA, PROTOCOL = "data: ", "protocol: "  # how the marks begin that are part of a run's name
SHORTENED = "shortened"
GATED_BY_TEST = "its test images gate"

_DEFAULTS = dict(leaves(Settings()))
# The paper's settings of its method by the names in results/paper, their paths, and how the tables call another value.
_OF_PAPER = {
    "lambda": ("pruner.penalty.strength", "lambda"),
    "lower bound": ("gate.bound", "bound"),
    "pruned per prune": ("schedule.fraction", "fraction"),
    "learning rate": ("regularise.optimizer.lr", "learning rate"),
}
# How the tables call another final phase; the paper gives no more of it than its length.
_OF_FINAL_PHASE: dict[str, Callable[[Any], str]] = {
    "finetune.num_epochs": lambda value: f"final epochs {value}",
    "finetune.optimizer.lr": lambda value: f"final rate {value:g}",
    "finetune.lr_schedule.name": lambda value: f"final schedule {value}",
}
_STOP, _STARTS = "gate.stop_at_sparsity", "finetune.start_from"
_PHASES = ("baseline.", "regularise.", "finetune.", "gate.", "schedule.")
_ELSEWHERE = {"baseline.source", "baseline.path", _STOP, _STARTS}  # a mark, a row or a word of its own says those


def marks(summary: Summary, paper: PaperExperiment) -> tuple[str, ...]:
    """Why a run must not be held against the paper, in words; empty for a run that may."""
    provenance = summary.provenance
    num_weights = summary.rows[0].total if summary.rows else paper.num_parameters
    reasons = {
        f"{summary.scale} scale": summary.scale != "paper",
        SHORTENED: summary.shortened and not _is_whole_up_to_the_papers_sparsity(summary, paper),
        f"{DATA}{summary.data_used}": summary.data_source != "real" or summary.dataset != paper.dataset,
        f"model: {summary.model}": summary.model != paper.model,
        f"model of {num_weights:,} weights": summary.model == paper.model and num_weights != paper.num_parameters,
        f"baseline: {_baseline(summary, paper)}": summary.baseline.source != paper.baseline,
        GATED_BY_TEST: summary.protocol == "sound" and _gates_by_test(summary),
        protocol_mark(summary): summary.protocol != "sound",
        "uncommitted code": _is_uncommitted(provenance),
    }
    return (*(reason for reason, holds in reasons.items() if holds), *_mixtures(provenance))


def _gates_by_test(summary: Summary) -> bool:
    splits = summary.splits or {}
    return "test" in splits and splits["test"] == splits.get("val")


def _is_uncommitted(provenance: Provenance) -> bool:
    """Whether any process ran code that no commit has."""
    commits = [(provenance.commit, provenance.dirty), *((of.commit, of.dirty) for of in provenance.history)]
    return any(dirty or not commit for commit, dirty in commits)


def _mixtures(provenance: Provenance) -> Iterator[str]:
    """What of the computation differed between the processes that trained a run, one after the other."""
    commits = {process.commit for process in provenance.history}
    precisions = {process.precision for process in provenance.history}
    if len(commits) > 1:
        yield f"{len(commits)} commits"
    if len(precisions) > 1:
        yield " and ".join(sorted(precisions))


def _is_whole_up_to_the_papers_sparsity(summary: Summary, paper: PaperExperiment) -> bool:
    """Whether a run was cut only behind the state that its one row starts from, which is a full run's."""
    settings = summary.settings or {}
    ours = {path: settings.get(path, _DEFAULTS[path]) for path in _DEFAULTS}
    lengths = [path for path in ("baseline.num_epochs", "regularise.num_epochs") if ours[path] != _ours(paper, path)]
    stop, target = ours[_STOP], ours["gate.target_sparsity"]
    stops_there = stop is not None and target is not None and stop >= target and ours[_STARTS] == [AT_PAPER_SPARSITY]
    return stops_there and not lengths and not any(ours[f"{phase}max_steps"] for phase in _PHASES[:3])


def _ours(paper: PaperExperiment, path: str) -> Any:
    """A setting as the experiment stands."""
    return paper.ours.get(path, _DEFAULTS[path])


def changes(summary: Summary, paper: PaperExperiment) -> tuple[str, ...]:
    """Which settings are not the paper's or, where it prints none, the experiment's, in words; LOBSTER has its own.

    A marked run is not judged anyway; of it only what the paper prints is said.
    """
    settings = summary.settings
    if settings is None or "plateau" in settings.get("pruner.trigger", ""):
        return ()
    printed = {_OF_PAPER[setting.name]: setting.value for setting in paper.settings if setting.name in _OF_PAPER}
    ours = {path: settings.get(path, _DEFAULTS[path]) for path, _ in printed}
    decay = settings.get("pruner.penalty.decay")
    words = [f"{word} {ours[path]:g}" for (path, word), value in printed.items() if ours[path] != value]
    words += [f"decay {decay}"] if decay else []
    return tuple(words if marks(summary, paper) else words + _unprinted(summary, paper, printed))


def _unprinted(summary: Summary, paper: PaperExperiment, printed: Container[tuple[str, str]]) -> list[str]:
    """The settings of the phases and the gate that the paper does not print and that are not the experiment's."""
    settings = summary.settings or {}
    said = _ELSEWHERE | {path for path, word in _OF_PAPER.values() if (path, word) in printed}
    ours = {path: settings.get(path, default) for path, default in _DEFAULTS.items()}
    changed = [
        path for path in ours if path.startswith(_PHASES) and path not in said and ours[path] != _ours(paper, path)
    ]
    words = [_OF_FINAL_PHASE.get(path, lambda value, path=path: f"{path} {value}")(ours[path]) for path in changed]
    return words + (["until the paper's sparsity"] if ours[_STOP] is not None else [])


def protocol_mark(summary: Summary) -> str:
    """Whose protocol it is, or which of its keys are not sound."""
    if summary.protocol != "mixed":
        return f"{PROTOCOL}{summary.protocol}"
    return f"{PROTOCOL}{', '.join(path.removeprefix('protocol.') for path in summary.departures)}"


def _baseline(summary: Summary, paper: PaperExperiment) -> str:
    """Where the dense network came from, with what must be said of it wherever the run is shown."""
    is_tainted = summary.baseline.source == "published" and paper.published_checkpoint
    return summary.baseline.source + (", chosen on the test set" if is_tainted else "")
