"""Learning rates over a phase: pure functions of progress, as a factor of the base rate."""

import math

from sparsity.settings import LrScheduleSettings


def lr_factor(schedule: LrScheduleSettings, step: float, num_steps: int) -> float:
    """The factor on the base learning rate for `step` in [0, num_steps).

    constant: 1. step: `step_factor` once for each milestone (a fraction of the phase) already reached.
    linear, cosine: from 1 at step 0 towards `final_factor` at `num_steps`, without warm-up.
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
