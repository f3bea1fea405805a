"""Is a plateau so many evaluations without a better validation loss, and how far may a prune go then?"""

import pytest

from sparsity.pruning.plateaus import Plateau
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
