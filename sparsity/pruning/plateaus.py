"""Triggers that wait for a plateau of the validation loss, as LOBSTER does (arXiv 2011.09905)."""

from collections.abc import Mapping

from sparsity.pruning.triggers import Decision, Trigger
from sparsity.settings import ScheduleSettings


class Plateau(Trigger):
    """Allows a prune when the validation loss has not fallen for a number of evaluations.

    `bound` is the validation loss that the prune may lead to: the best one, times one plus the tolerance.
    """

    bound: float
    remembered = ("bound", "_num_without_better")

    def __init__(self, settings: ScheduleSettings) -> None:
        self.settings = settings
        self.bound = float("inf")
        self.why = "the best validation loss plus its tolerance, at a plateau"
        self._num_without_better = 0

    def decide(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """The verdict on one evaluation's validation loss; a plateau ends with the prune that it allows."""
        bound, patience = metrics["loss"] * (1 + self.settings.loss_tolerance), self.settings.plateau_evaluations
        if bound < self.bound:
            self.bound, self._num_without_better = bound, 0
            return Decision(False, "the validation loss still falls")
        self._num_without_better += 1
        if self._num_without_better < patience:
            return Decision(False, f"no better loss for {self._num_without_better} of {patience} evaluations")
        self._num_without_better = 0
        return Decision(True, f"no better loss for {patience} evaluations", within_bound=True)
