"""Is a plateau so many evaluations without a better validation loss, and how far may a prune go then?"""

import math
from collections.abc import Callable

import pytest

from sparsity.pruning.plateaus import Plateau, RestoringPlateau, Sizes, bisect_threshold
from sparsity.settings import ScheduleSettings


def plateau_after(*losses: float, patience: int = 2) -> tuple[Plateau, list[bool]]:
    plateau = Plateau(ScheduleSettings(plateau_evaluations=patience, loss_tolerance=0.1))
    return plateau, [plateau.decide(1, {"loss": loss}).prune for loss in losses]


def test_a_plateau_is_so_many_evaluations_without_a_better_loss() -> None:
    assert plateau_after(1.0, 0.9, 0.95, 0.9)[1] == [False, False, False, True]


def test_a_better_loss_starts_the_count_again() -> None:
    assert plateau_after(1.0, 1.0, 0.9, 0.9, 0.9)[1] == [False, False, False, False, True]


def test_after_a_prune_the_next_plateau_takes_as_long() -> None:
    assert plateau_after(1.0, 1.0, 1.0, 1.0, 1.0)[1] == [False, False, True, False, True]


def test_a_prune_may_lead_to_the_best_loss_plus_its_tolerance() -> None:
    assert plateau_after(1.0, 0.5, 0.8)[0].bound == pytest.approx(0.55)


def test_a_restored_plateau_decides_as_the_one_that_was_saved() -> None:
    saved, _ = plateau_after(1.0, 1.0)
    restored, _ = plateau_after()
    restored.load_state_dict(saved.state_dict())
    assert restored.decide(1, {"loss": 1.0}).prune and restored.bound == saved.bound


def restoring(patience: int = 3) -> RestoringPlateau:
    return RestoringPlateau(ScheduleSettings(plateau_evaluations=patience, loss_tolerance=0.1))


def verdicts(trigger: RestoringPlateau, *losses: float) -> str:
    """Of each evaluation: b if its state is the best, P if the best one is put back and pruned."""
    decisions = [trigger.decide(1, {"loss": loss}) for loss in losses]
    return "".join("P" if each.from_best and each.prune else "b" if each.is_best else "-" for each in decisions)


def test_a_loss_within_a_hundredth_of_the_best_is_no_bad_one_and_no_best_one() -> None:
    assert verdicts(restoring(), 1.0, 1.005, 1.009, 1.02, 1.03, 1.02) == "b----P"
    assert verdicts(restoring(), 1.0, 1.02, 1.02, 1.009, 1.02, 1.02, 1.02) == "b-----P"  # the count begins again


def test_after_the_prune_the_best_is_forgotten() -> None:
    assert verdicts(restoring(2), 1.0, 1.1, 1.1, 5.0, 4.0, 4.5, 4.5) == "b-Pbb-P"


def test_no_number_is_a_bad_loss() -> None:
    assert verdicts(restoring(2), 1.0, math.nan, math.nan) == "b-P"


def test_a_restored_plateau_of_the_authors_decides_as_the_one_that_was_saved() -> None:
    saved, restored = restoring(), restoring()
    verdicts(saved, 1.0, 1.5, 1.5)
    saved.bound = 3.0
    restored.load_state_dict(saved.state_dict())
    assert (verdicts(restored, 1.02), restored.bound) == ("P", 3.0)


def found(loss_at: Callable[[float], float], bound: float, mean: float) -> tuple[float, int]:
    """The threshold, and how often the loss was asked for."""
    asked: list[float] = []

    def asking(threshold: float) -> float:
        asked.append(threshold)
        return loss_at(threshold)

    return bisect_threshold(asking, loss_at(0.0), bound, Sizes(least=0.01, mean=mean, most=2.0)), len(asked)


@pytest.mark.parametrize("mean", [0.1, 1.5])
def test_the_threshold_is_where_the_loss_meets_the_bound_from_either_side_of_the_mean(mean: float) -> None:
    threshold, num_asked = found(lambda size: 1 + size**2, bound=1.25, mean=mean)
    assert abs(1 + threshold**2 - 1.25) < 0.05 * 1.25 and num_asked < 12


def test_where_the_loss_jumps_the_threshold_is_the_one_within_the_bound() -> None:
    threshold, _ = found(lambda size: 1.0 if size < 0.7 else 9.0, bound=1.25, mean=0.1)
    assert 0.7 - 1e-9 < threshold < 0.7
