"""Triggers, which say when to prune and how far, and the decay of lambda between two prunes.

A trigger is asked before the first step and at each evaluation: the gate of the paper, LOBSTER's plateau, the cubic
schedule of Zhu & Gupta, one shot, or thresholds of the method; of one that says by itself which weights are there
nothing is asked.

The gate of the paper's section 4: at each evaluation, prune if the validation metric is strictly above the bound. The
printed bounds stand above some of the paper's own baselines; the policy says what to do when a baseline falls short of
its own.
"""

from collections.abc import Mapping
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from sparsity.pruning.plateaus import Plateau, RestoringPlateau
from sparsity.pruning.triggers import Decision, Trigger
from sparsity.settings import GateSettings, PenaltySettings, ScheduleSettings, Settings, final_sparsity

Number = TypeVar("Number", float, Tensor)


def cubic(passed: Number) -> Number:
    """The share of its final value that a sparsity has, steep at first, where a share of the way has passed."""
    return 1 - (1 - passed) ** 3


def penalty_decay(settings: PenaltySettings, count: Tensor, steps_per_epoch: int, steps_per_evaluation: int) -> Tensor:
    """The factor on lambda, in [0, 1], `count` steps after the last prune; computed on the device.

    linear: max(0, 1 - count / steps_per_epoch), as the authors' code. exponential: halved every
    `half_life_evaluations`, the paper's section 4 gives no rate. none: 1.
    """
    if settings.decay == "linear":  # Deviation 4
        return (1 - count / steps_per_epoch).clamp_min(0.0)
    if settings.decay == "exponential":
        return torch.exp2(-count / (settings.half_life_evaluations * steps_per_evaluation))
    return torch.ones_like(count)


class PhaseLengths(Protocol):
    """How long a phase is planned to be."""

    @property
    def num_steps(self) -> int:
        """Steps."""
        ...

    @property
    def num_evaluations(self) -> int:
        """Scheduled evaluations."""
        ...


class Gate(Trigger):
    """Allows at most one prune an evaluation, while the validation metric is strictly above the bound.

    Args:
        settings: bound, policy, margin.
        metric: name of the validation metric.
        num_evaluations: evaluations planned for the whole phase.
        baseline_metric: the starting point's validation metric, None when training starts from scratch.

    Raises:
        ValueError: under `policy: error`, if the baseline does not stand above the bound.
    """

    bound: float
    remembered = ("bound", "why", "_patience", "_num_seen", "_best")

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

    def decide(self, step: int, metrics: Mapping[str, float]) -> Decision:
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

    def _fall_short(self, reached: float, what: str) -> None:
        short = f"{what}, {reached:.2f}, does not exceed the configured bound {self.settings.bound:g}"
        if self.settings.policy == "error":
            raise ValueError(f"Nothing would ever be pruned: {short}; set gate.bound below it or gate.policy=fallback.")
        if self.settings.policy == "fallback":  # Deviation 5
            self.bound = reached - self.settings.margin
            self.why = f"{short}; fell back to it minus the margin {self.settings.margin:g}"
        else:
            self.why = f"the configured bound, although {short}"


class Cubic(Trigger):
    """Prunes to s_f (1 - (1 - (t - t0) / (t1 - t0))^3) at each evaluation (Zhu & Gupta 2017, arXiv 1710.01878).

    Args:
        settings: t0 and t1, as fractions of the phase.
        final_sparsity: s_f.
        num_steps: of the phase.
    """

    knows_its_end = True

    def __init__(self, settings: ScheduleSettings, final_sparsity: float, num_steps: int) -> None:
        self._begin, self._end = settings.begin * num_steps, settings.end * num_steps
        self._final = final_sparsity
        self.why = f"a cubic schedule to a sparsity of {final_sparsity:g}"

    def decide(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """A prune to where the schedule stands after `step` steps."""
        if step <= self._begin:
            return Decision(False, "the schedule has not begun")
        passed = min(1.0, (step - self._begin) / (self._end - self._begin))
        target = self._final * cubic(passed)
        return Decision(True, f"the schedule stands at {100 * target:.2f} %", to_sparsity=target)


class OneShot(Trigger):
    """Prunes once, before the first step (SNIP, arXiv 1810.02340)."""

    knows_its_end = True

    def __init__(self, final_sparsity: float) -> None:
        self._final = final_sparsity
        self.why = f"one shot to a sparsity of {final_sparsity:g} before the first step"

    def begin(self) -> Decision | None:
        """The one prune."""
        return Decision(True, self.why, to_sparsity=self._final)

    def decide(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """No prune."""
        return Decision(False, "pruned before the first step")


class Threshold(Trigger):
    """Prunes all weights whose score is below 1, at each so many-th evaluation from the schedule's begin to its end.

    A method with thresholds divides its scores by them (Han et al. 2015; Tartaglione et al. 2018).

    Args:
        settings: begin and end, as fractions of the phase, and how often.
        num_steps: of the phase.
    """

    remembered = ("_num_seen",)

    def __init__(self, settings: ScheduleSettings, num_steps: int) -> None:
        self._begin, self._end = settings.begin * num_steps, settings.end * num_steps
        self._every, self._num_seen = settings.every_evaluations, 0
        self.why = "the method's thresholds"

    def decide(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """A prune of what is below its threshold, at the first evaluation and each so many-th that follows."""
        if not self._begin < step <= self._end:
            return Decision(False, "no evaluation of the schedule")
        self._num_seen += 1
        if (self._num_seen - 1) % self._every:
            return Decision(False, "the network is trained again")
        return Decision(True, "the weights below their thresholds", below=1.0)


class Own(Trigger):
    """Never prunes: the method says by itself which weights are there, at each evaluation or at the phase's end."""

    knows_its_end = True
    why = "the method's own rule"

    def decide(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """No prune."""
        return Decision(False, self.why)


def build_trigger(settings: Settings, plan: PhaseLengths, baseline_metric: float | None) -> Trigger:
    """The trigger of the regularised phase that `pruner.trigger` names."""
    name, final = settings.pruner.trigger, final_sparsity(settings)
    if name == "plateau":
        return Plateau(settings.schedule)
    if name == "restoring_plateau":
        return RestoringPlateau(settings.schedule)
    if name == "gate" or not settings.pruner.prunes:
        return Gate(settings.gate, settings.metric, plan.num_evaluations, baseline_metric)
    if name == "own":
        return Own()
    if name == "threshold":
        return Threshold(settings.schedule, plan.num_steps)
    assert final is not None, "held to be there by the check of the settings"
    return Cubic(settings.schedule, final, plan.num_steps) if name == "cubic" else OneShot(final)
