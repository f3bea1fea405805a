"""Does lambda decay as its formula says, and does the gate open strictly above its bound?"""

import math
from typing import Any

import pytest
import torch

from sparsity.pruning.plateaus import Plateau
from sparsity.pruning.schedules import Cubic, Gate, OneShot, Own, Threshold, build_trigger, penalty_decay
from sparsity.pruning.triggers import Decision
from sparsity.run.plan import plan_phase
from sparsity.settings import (
    GateSettings,
    PenaltySettings,
    PhaseSettings,
    PrunerSettings,
    ScheduleSettings,
    Settings,
)


def decay(kind: str, count: float, **changes: Any) -> float:
    settings = PenaltySettings(decay=kind, **changes)
    return float(penalty_decay(settings, torch.tensor(count), steps_per_epoch=10, steps_per_evaluation=4))


@pytest.mark.parametrize(("count", "factor"), [(0, 1.0), (1, 0.9), (5, 0.5), (10, 0.0), (25, 0.0)])
def test_linear_decay_reaches_zero_after_an_epoch_and_stays_there(count: int, factor: float) -> None:
    assert decay("linear", count) == pytest.approx(factor)


@pytest.mark.parametrize(("count", "factor"), [(0, 1.0), (4, 0.5), (8, 0.25), (2, math.sqrt(0.5))])
def test_exponential_decay_halves_with_each_evaluation(count: int, factor: float) -> None:
    assert decay("exponential", count) == pytest.approx(factor)


def test_the_half_life_is_counted_in_evaluations() -> None:
    assert decay("exponential", 12, half_life_evaluations=3.0) == pytest.approx(0.5)


def test_without_decay_lambda_stays() -> None:
    assert decay("none", 1000) == 1.0


def gate(baseline: float | None = 95.0, num_evaluations: int = 8, **changes: Any) -> Gate:
    return Gate(GateSettings(**{"bound": 90.0, "margin": 0.5} | changes), "accuracy", num_evaluations, baseline)


@pytest.mark.parametrize(("metric", "prunes"), [(90.01, True), (90.0, False), (89.99, False)])
def test_the_gate_opens_strictly_above_the_bound(metric: float, prunes: bool) -> None:
    assert gate().decide(1, {"accuracy": metric}).prune is prunes


def test_the_reason_gives_metric_and_bound() -> None:
    assert gate().decide(1, {"accuracy": 91.234}).reason == "91.23 is above the bound 90.00"
    assert gate().decide(1, {"accuracy": 80.0}).reason == "80.00 is not above the bound 90.00"


def test_a_baseline_above_the_bound_leaves_it() -> None:
    assert (gate().bound, gate().why) == (90.0, "the configured bound")


@pytest.mark.parametrize("baseline", [90.0, 85.0])
def test_a_baseline_not_above_the_bound_lowers_it_by_the_margin(baseline: float) -> None:
    lowered = gate(baseline)
    assert lowered.bound == baseline - 0.5
    assert lowered.why == (
        f"the baseline's validation metric, {baseline:.2f}, does not exceed the configured bound 90; "
        "fell back to it minus the margin 0.5"
    )
    assert lowered.decide(1, {"accuracy": baseline - 0.4}).prune


def test_the_printed_policy_keeps_the_bound_and_says_that_it_is_out_of_reach() -> None:
    kept = gate(85.0, policy="printed")
    assert kept.bound == 90.0
    assert kept.why.startswith("the configured bound, although the baseline's validation metric, 85.00, does not")


def test_the_error_policy_refuses_a_baseline_that_is_not_above_the_bound() -> None:
    with pytest.raises(ValueError, match=r"Nothing would ever be pruned: .* 85\.00.* set gate\.bound below it or"):
        gate(85.0, policy="error")


def bounds(untrained: Gate, *metrics: float) -> list[float]:
    found = []
    for metric in metrics:
        untrained.decide(1, {"accuracy": metric})
        found.append(untrained.bound)
    return found


def test_from_scratch_the_bound_falls_after_the_first_quarter_to_the_best_so_far() -> None:
    assert bounds(gate(None), 50.0, 70.0, 60.0, 95.0) == [90.0, 90.0, 69.5, 69.5]


def test_from_scratch_one_metric_above_the_bound_in_time_leaves_it() -> None:
    assert bounds(gate(None), 50.0, 91.0, 60.0, 50.0) == [90.0] * 4


def test_from_scratch_the_fallback_is_taken_once() -> None:
    assert bounds(gate(None), 50.0, 60.0, 60.0, 40.0, 30.0)[-1] == 59.5


def test_from_scratch_the_reach_of_the_bound_is_settled_once() -> None:
    printed = gate(None, policy="printed")
    bounds(printed, 50.0, 60.0, 70.0, 80.0)
    assert printed.bound == 90.0 and "so far, past the phase's first quarter, 70.00," in printed.why


def test_from_scratch_the_error_policy_waits_for_the_first_quarter() -> None:
    waiting = gate(None, policy="error")
    waiting.decide(1, {"accuracy": 50.0})
    waiting.decide(1, {"accuracy": 50.0})
    with pytest.raises(ValueError, match="the best validation metric so far"):
        waiting.decide(1, {"accuracy": 50.0})


def test_from_scratch_a_short_phase_still_waits_for_one_evaluation() -> None:
    assert bounds(gate(None, num_evaluations=2), 50.0, 60.0) == [90.0, 59.5]


def test_a_restored_gate_decides_as_the_one_that_was_saved() -> None:
    saved, restored = gate(None), gate(None)
    saved.decide(1, {"accuracy": 50.0})
    saved.decide(1, {"accuracy": 70.0})
    restored.load_state_dict(saved.state_dict())
    assert bounds(restored, 60.0, 69.6) == bounds(saved, 60.0, 69.6) == [69.5, 69.5]
    assert restored.why == saved.why


def test_a_restored_gate_does_not_settle_the_reach_of_the_bound_again() -> None:
    saved, restored = gate(None, policy="printed"), gate(None, policy="printed")
    bounds(saved, 50.0, 60.0, 70.0)
    restored.load_state_dict(saved.state_dict())
    restored.decide(1, {"accuracy": 80.0})
    assert restored.why == saved.why


def test_a_lowered_bound_stands_in_the_state() -> None:
    saved, restored = gate(85.0), gate(85.0)
    restored.bound = 0.0
    restored.load_state_dict(saved.state_dict())
    assert restored.bound == 84.5


def test_a_bound_of_minus_one_lets_even_a_network_through_that_gets_nothing_right() -> None:
    assert gate(baseline=None, bound=-1.0).decide(1, {"accuracy": 0.0}).prune
    assert not gate(baseline=None, bound=0.0).decide(1, {"accuracy": 0.0}).prune


def cubic(step: int, **changes: Any) -> Decision:
    return Cubic(ScheduleSettings(**({"begin": 0.2, "end": 0.6} | changes)), 0.9, num_steps=100).decide(step, {})


@pytest.mark.parametrize("step", [1, 20])
def test_a_cubic_schedule_waits_for_its_beginning(step: int) -> None:
    assert not cubic(step).prune


@pytest.mark.parametrize(("step", "passed"), [(30, 0.25), (40, 0.5), (60, 1.0), (100, 1.0)])
def test_a_cubic_schedule_follows_its_formula_to_the_final_sparsity(step: int, passed: float) -> None:
    assert cubic(step).to_sparsity == pytest.approx(0.9 * (1 - (1 - passed) ** 3), abs=1e-12)


def test_one_shot_is_before_the_first_step_and_never_again() -> None:
    trigger = OneShot(0.9)
    assert trigger.begin() == Decision(True, trigger.why, to_sparsity=0.9)
    assert not trigger.decide(1, {"accuracy": 99.0}).prune


def rounds(every: int, **schedule: float) -> list[bool]:
    """At which of ten evaluations, ten steps apart, the weights below their thresholds go."""
    trigger = Threshold(ScheduleSettings(every_evaluations=every, **schedule), num_steps=100)
    decisions = [trigger.decide(step, {}) for step in range(10, 101, 10)]
    assert all(decision.below == 1.0 for decision in decisions if decision.prune)
    return [decision.prune for decision in decisions]


def test_thresholds_are_applied_at_each_so_many_th_evaluation_between_begin_and_end() -> None:
    assert rounds(1, begin=0.0, end=1.0) == [True] * 10
    assert rounds(1, begin=0.2, end=0.5) == [False] * 2 + [True] * 3 + [False] * 5
    assert rounds(3, begin=0.1, end=1.0) == [False, True, False, False, True, False, False, True, False, False]


def test_restored_thresholds_go_on_counting_their_rounds() -> None:
    saved, restored = (Threshold(ScheduleSettings(every_evaluations=2, end=1.0), num_steps=100) for _ in range(2))
    assert saved.decide(10, {}).prune
    restored.load_state_dict(saved.state_dict())
    assert not restored.decide(20, {}).prune and restored.decide(30, {}).prune


@pytest.mark.parametrize(
    ("trigger", "prunes", "expected"),
    [
        ("gate", True, Gate),
        ("plateau", True, Plateau),
        ("cubic", True, Cubic),
        ("one_shot", True, OneShot),
        ("threshold", True, Threshold),
        ("own", True, Own),
        ("cubic", False, Gate),
    ],
)
def test_the_trigger_is_the_one_that_is_named_where_anything_is_pruned(
    trigger: str, prunes: bool, expected: type
) -> None:
    settings = Settings(pruner=PrunerSettings(prunes=prunes, trigger=trigger), gate=GateSettings(target_sparsity=0.9))
    assert isinstance(build_trigger(settings, plan_phase(PhaseSettings(1, 10), 100), None), expected)
