"""When is a prune allowed, and how strongly does the penalty pull meanwhile?

A trigger looks at the metrics of each evaluation: the gate of the paper, or LOBSTER's plateau.

The gate of PAPER section 4: at each evaluation, prune if the validation metric is strictly above the bound. The printed
bounds stand above some of the paper's own baselines; the policy says what to do when a baseline falls short of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sparsity.settings import GateSettings, PenaltySettings, ScheduleSettings


def penalty_decay(settings: PenaltySettings, count: Tensor, steps_per_epoch: int, steps_per_evaluation: int) -> Tensor:
    """The factor on lambda, in [0, 1], `count` steps after the last prune; computed on the device.

    linear: max(0, 1 - count / steps_per_epoch), as the authors' code. exponential: halved every
    `half_life_evaluations`, PAPER section 4 gives no rate. none: 1.
    """
    if settings.decay == "linear":  # Deviation 4
        return (1 - count / steps_per_epoch).clamp_min(0.0)
    if settings.decay == "exponential":
        return torch.exp2(-count / (settings.half_life_evaluations * steps_per_evaluation))
    return torch.ones_like(count)


@dataclass(frozen=True)
class Decision:
    """Whether to prune now, and why or why not, in a few words.

    fills_bound: as many weights are to go as the trigger's bound on the loss tolerates, not the scheduled fraction.
    """

    prune: bool
    reason: str
    fills_bound: bool = False


class Trigger(Protocol):
    """Says at each evaluation whether to prune; stateful.

    bound: the number it goes by now. why: where that number comes from.
    """

    bound: float
    why: str

    def decide(self, metrics: Mapping[str, float]) -> Decision:
        """The verdict on one evaluation."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        ...


class Gate:
    """Allows at most one prune an evaluation, while the validation metric is strictly above the bound.

    Args:
        settings: bound, policy, margin.
        metric: name of the validation metric.
        num_evaluations: evaluations planned for the whole phase.
        baseline_metric: the starting point's validation metric, None when training starts from scratch.

    Raises:
        ValueError: under `policy: error`, if the baseline does not stand above the bound.
    """

    def __init__(
        self, settings: GateSettings, metric: str, num_evaluations: int, baseline_metric: float | None
    ) -> None:
        self.settings, self._metric = settings, metric
        self.bound = settings.bound
        self.why = "the configured bound"
        self._patience = None if baseline_metric is not None else max(1, num_evaluations // 4)
        self._num_seen = 0
        self._best = float("-inf")
        if baseline_metric is not None and baseline_metric <= settings.bound:
            self._fall_short(baseline_metric, "the baseline's validation metric")

    def decide(self, metrics: Mapping[str, float]) -> Decision:
        """The verdict on one evaluation's validation metric, in its own unit.

        From scratch, the first evaluation past the first quarter of the phase settles whether the bound is in reach.

        Raises:
            ValueError: under `policy: error`, if it is not.
        """
        metric = metrics[self._metric]
        self._num_seen += 1
        self._best = max(self._best, metric)
        if self._patience is not None and self._num_seen > self._patience:
            self._patience = None
            if self._best <= self.bound:
                self._fall_short(self._best, "the best validation metric so far, past the phase's first quarter")
        if metric > self.bound:
            return Decision(True, f"{metric:.2f} is above the bound {self.bound:.2f}")
        return Decision(False, f"{metric:.2f} is not above the bound {self.bound:.2f}")

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        names = ("bound", "why", "_patience", "_num_seen", "_best")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)

    def _fall_short(self, reached: float, what: str) -> None:
        short = f"{what}, {reached:.2f}, does not exceed the configured bound {self.settings.bound:g}"
        if self.settings.policy == "error":
            raise ValueError(f"Nothing would ever be pruned: {short}; set gate.bound below it or gate.policy=fallback.")
        if self.settings.policy == "fallback":  # Deviation 5
            self.bound = reached - self.settings.margin
            self.why = f"{short}; fell back to it minus the margin {self.settings.margin:g}"
        else:
            self.why = f"the configured bound, although {short}"


class Plateau:
    """Allows a prune when the validation loss has not fallen for a number of evaluations (LOBSTER, arXiv 2011.09905).

    `bound` is the validation loss that the prune may lead to: the best one, times one plus the tolerance.
    """

    def __init__(self, settings: ScheduleSettings) -> None:
        self.settings = settings
        self.bound = float("inf")
        self.why = "the best validation loss plus its tolerance, at a plateau"
        self._num_without_better = 0

    def decide(self, metrics: Mapping[str, float]) -> Decision:
        """The verdict on one evaluation's validation loss; a plateau ends with the prune that it allows."""
        bound, patience = metrics["loss"] * (1 + self.settings.loss_tolerance), self.settings.plateau_evaluations
        if bound < self.bound:
            self.bound, self._num_without_better = bound, 0
            return Decision(False, "the validation loss still falls")
        self._num_without_better += 1
        if self._num_without_better < patience:
            return Decision(False, f"no better loss for {self._num_without_better} of {patience} evaluations")
        self._num_without_better = 0
        return Decision(True, f"no better loss for {patience} evaluations", fills_bound=True)

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"bound": self.bound, "_num_without_better": self._num_without_better}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)
