"""Learning rates over a phase, as a factor of the base rate: functions of progress, or of the validation loss."""

import math
from typing import Any

from sparsity.settings import LrScheduleSettings


def lr_factor(schedule: LrScheduleSettings, step: float, num_steps: int) -> float:
    """The factor on the base learning rate for `step` in [0, num_steps).

    constant: 1. step: `step_factor` once for each milestone (a fraction of the phase) already reached.
    linear, cosine: from 1 at step 0 towards `final_factor` at `num_steps`, without warm-up. plateau: 1, see below.
    """
    progress = step / num_steps
    if schedule.name == "step":
        return float(schedule.step_factor ** sum(progress >= milestone for milestone in schedule.milestones))
    low = schedule.final_factor
    if schedule.name == "linear":
        return low + (1 - low) * (1 - progress)
    if schedule.name == "cosine":
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0


LEAST_CHANGE = 1e-8  # of a rate; a smaller one is not made


class RateOnPlateau:
    """A factor that falls while the validation loss does not, as torch's ReduceLROnPlateau at a threshold of 0.

    Args:
        schedule: `step_factor`, patience and cooldown; under any other name than plateau the factor stays 1.
        rate: the base rate.
    """

    def __init__(self, schedule: LrScheduleSettings, rate: float) -> None:
        self._schedule, self._rate = schedule, rate
        self.factor = 1.0
        self._best, self._num_bad, self._num_cooling = math.inf, 0, 0

    def see(self, loss: float) -> None:
        """Take note of the loss of one evaluation."""
        if self._schedule.name != "plateau":
            return
        self._num_bad = 0 if loss < self._best else self._num_bad + 1
        self._best = min(self._best, loss)
        if self._num_cooling:
            self._num_cooling, self._num_bad = self._num_cooling - 1, 0
        if self._num_bad > self._schedule.patience:
            self._num_cooling, self._num_bad = self._schedule.cooldown, 0
            lower = self.factor * self._schedule.step_factor
            if self._rate * (self.factor - lower) > LEAST_CHANGE:
                self.factor = lower

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"factor": self.factor, "best": self._best, "num_bad": self._num_bad, "num_cooling": self._num_cooling}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.factor, self._best = state["factor"], state["best"]
        self._num_bad, self._num_cooling = state["num_bad"], state["num_cooling"]
