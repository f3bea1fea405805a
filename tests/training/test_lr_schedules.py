"""Which factor does each schedule give? Values by hand."""

import random

import pytest
import torch

from sparsity.settings import LrScheduleSettings
from sparsity.training.lr_schedules import RateOnPlateau, lr_factor


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


@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 0), (1, 3), (10, 50)])
def test_a_rate_on_plateaus_is_torchs_at_a_threshold_of_zero(patience: int, cooldown: int) -> None:
    draw = random.Random(0)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=patience, cooldown=cooldown, threshold=0)
    ours = RateOnPlateau(LrScheduleSettings("plateau", patience=patience, cooldown=cooldown), rate=0.1)
    for _ in range(500):
        loss = draw.random()
        theirs.step(loss)
        ours.see(loss)
        assert 0.1 * ours.factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
    assert ours.factor < 1


def test_other_schedules_take_no_note_of_the_loss() -> None:
    ours = RateOnPlateau(LrScheduleSettings("constant", patience=0), rate=0.1)
    for _ in range(5):
        ours.see(1.0)
    assert ours.factor == 1.0
