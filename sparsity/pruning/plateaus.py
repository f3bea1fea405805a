"""Triggers that wait for a plateau of the validation loss, as LOBSTER does (arXiv 2011.09905)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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


TOLERATED = 0.01  # an evaluation is no bad one whose loss is above the best by less than this share
CLOSE, FINE = 0.05, 1e-10  # losses closer than this share of the bound end a search, and thresholds closer than that


class RestoringPlateau(Trigger):
    """The plateau of LOBSTER's authors: the best state since the last prune is put back, and then looked at anew.

    An evaluation is bad if its loss is not below the best one plus a hundredth; at so many bad ones in a row the best
    state comes back, what goes is found by `bisect_threshold`, and the best is forgotten. `bound` is what that prune
    was held to, None before the first.

    Args:
        settings: how many bad evaluations are a plateau, and the tolerance of the loss.
    """

    remembered = ("bound", "_best", "_num_bad")

    def __init__(self, settings: ScheduleSettings) -> None:
        self.settings = settings
        self.why = "the loss of the best state since the last prune plus its tolerance, at a plateau"
        self._best, self._num_bad = math.inf, 0

    def decide(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """The verdict on one evaluation's validation loss; a plateau ends with the prune that it allows."""
        loss, patience = metrics["loss"], self.settings.plateau_evaluations
        self._num_bad = 0 if loss < self._best * (1 + TOLERATED) else self._num_bad + 1
        if self._num_bad < patience:
            is_best = loss < self._best
            self._best = min(self._best, loss) if is_best else self._best
            return Decision(False, f"{self._num_bad} of {patience} evaluations without a good loss", is_best=is_best)
        self._best, self._num_bad = math.inf, 0
        return Decision(True, f"no good loss for {patience} evaluations", from_best=True)


@dataclass(frozen=True)
class Sizes:
    """Of the scores of the weights that are left: the least, the mean of the means of the tensors, and the most."""

    least: float
    mean: float
    most: float


def bisect_threshold(loss_at: Callable[[float], float], loss: float, bound: float, sizes: Sizes) -> float:
    """A threshold at which the loss is about as high as the bound allows, as the authors' code looks for it.

    It begins at the mean size and ends between two thresholds, one within the bound and one beyond it, whose losses are
    within 5 % of the bound of each other; where the loss jumps, at the one within.

    Args:
        loss_at: the validation loss without all weights below a threshold.
        loss: without any prune.
        bound: what the loss may become.
        sizes: of the weights.
    """
    at_mean = loss_at(sizes.mean)
    low, at_low, high, at_high = sizes.mean, at_mean, sizes.most, math.inf
    if not at_mean < bound:
        low, at_low, high, at_high = sizes.least, loss, sizes.mean, at_mean
    before = math.inf
    while not abs(at_low - at_high) < CLOSE * bound:
        center = (low + high) / 2
        if abs(before - center) <= FINE:
            return low
        before, at_center = center, loss_at(center)
        if at_center <= bound:
            low, at_low = center, at_center
        else:
            high, at_high = center, at_center
    return (low + high) / 2
