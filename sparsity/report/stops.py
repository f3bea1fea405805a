"""What stopped the pruning of a run, the bound or the end of the epochs, and the metric at a sparsity.

A run whose last offered evaluation still pruned would have gone on: its last sparsity says how early and how often the
gate was missed, not how far the method can go.
"""

from collections.abc import Sequence

from sparsity.records import CurvePoint
from sparsity.report.configurations import Configuration
from sparsity.report.reading import Run

LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)  # sparsities at which tables look

_EPOCHS_ENDED = "epochs ended"  # as a summary says that nothing else came first


def regularised(run: Run) -> list[CurvePoint]:
    """The evaluations of the regularised phase."""
    return [point for point in run.curve if point.phase == "regularise"]


def num_missed(run: Run) -> int:
    """Offered evaluations after the last prune, none of which allowed another."""
    offered = _offered(run)
    return next((i for i, point in enumerate(reversed(offered)) if point.pruned), len(offered))


def is_at_bound(run: Run) -> bool:
    """Whether the gate's bound stopped the pruning; a run that ends where it was asked to has just pruned."""
    return _is_gated(run) and num_missed(run) > 0


def stopped_by(run: Run) -> str:
    """What stopped the pruning, in words."""
    stopped, missed = run.summary.regularise.stopped, num_missed(run)
    if not _prunes(run):
        return "not pruned"
    if is_at_bound(run):
        why = f"bound, not passed at the last {missed} of {len(_offered(run))} evaluations"
        return why if stopped == _EPOCHS_ENDED else f"{why}; {stopped}"
    return "end of the epochs" if stopped == _EPOCHS_ENDED else stopped


def counted(configurations: Sequence[Configuration]) -> str:
    """How many runs with a gate its bound stopped, and what the sparsity of the others means, in two sentences."""
    runs = [run for each in configurations for run in each.runs if _is_gated(run)]
    others = [run for run in runs if not is_at_bound(run)]
    why = "; ".join(dict.fromkeys(stopped_by(run) for run in others))
    return (
        f"The bound stopped the pruning of {len(runs) - len(others)} of {len(runs)} runs. The other {len(others)} "
        f"pruned when the gate was last asked ({why or 'none'}): how sparse they became says how early and how often "
        "the gate was missed, not how far the method can go; it is not compared."
    )


def metric_at(run: Run, level: float) -> float | None:
    """The validation metric of the first evaluation of a network at least so sparse, whether it passed or not.

    It stands one interval after the prune, before any final phase; None where the run never had such an evaluation.
    """
    points = regularised(run)
    before = [0.0, *(point.sparsity for point in points)]
    return next((point.val for point, sparsity in zip(points, before, strict=False) if sparsity >= level), None)


def _is_gated(run: Run) -> bool:
    return _prunes(run) and (run.summary.settings or {}).get("pruner.trigger", "gate") == "gate"


def _prunes(run: Run) -> bool:
    settings = run.summary.settings
    return settings is None or bool(settings.get("pruner.prunes", False))


def _offered(run: Run) -> Sequence[CurvePoint]:
    """The evaluations at which the gate was asked: the one that closes the phase never prunes."""
    return regularised(run)[: run.summary.plan.num_evaluations]
