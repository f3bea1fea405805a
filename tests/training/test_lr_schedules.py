"""Which factor does each schedule give? Values by hand."""

import pytest

from sparsity.settings import LrScheduleSettings
from sparsity.training.lr_schedules import lr_factor


def factors(schedule: LrScheduleSettings, num_steps: int) -> list[float]:
    return [lr_factor(schedule, step, num_steps) for step in range(num_steps)]


def test_constant_is_one_throughout() -> None:
    assert factors(LrScheduleSettings("constant"), 3) == [1.0, 1.0, 1.0]


def test_step_multiplies_at_each_milestone_from_its_first_step_on() -> None:
    schedule = LrScheduleSettings("step", milestones=[0.5, 0.75], step_factor=0.1)
    assert factors(schedule, 8) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_linear_falls_in_equal_steps_from_one_to_the_final_factor() -> None:
    assert factors(LrScheduleSettings("linear", final_factor=0.2), 4) == pytest.approx([1.0, 0.8, 0.6, 0.4])


def test_cosine_falls_from_one_to_the_final_factor() -> None:
    schedule = LrScheduleSettings("cosine", final_factor=0.2)
    assert factors(schedule, 4) == pytest.approx([1.0, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5])


def test_cosine_reaches_zero_by_default_at_the_end_of_the_phase() -> None:
    assert lr_factor(LrScheduleSettings("cosine"), 100, 100) == pytest.approx(0.0)
