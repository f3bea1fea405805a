"""Are per-step figures kept in order, and never lost in silence?"""

import pytest
import torch

from sparsity.training.recorder import StepRecorder


def recorder(capacity: int = 3) -> StepRecorder:
    return StepRecorder(["loss", "rate"], capacity, torch.device("cpu"))


def write(target: StepRecorder, *values: float) -> None:
    for value in values:
        target.write([torch.tensor(value), torch.tensor(10 * value)])


def test_rows_come_back_oldest_first_under_their_names() -> None:
    target = recorder()
    write(target, 1.0, 2.0)
    assert target.drain() == [{"loss": 1.0, "rate": 10.0}, {"loss": 2.0, "rate": 20.0}]


def test_a_drained_row_does_not_come_back() -> None:
    target = recorder()
    write(target, 1.0)
    target.drain()
    assert target.drain() == []


def test_order_holds_over_many_fillings() -> None:
    target, found = recorder(), []
    for value in range(10):
        write(target, float(value))
        if target.is_full:
            found += target.drain()
    assert [row["loss"] for row in found + target.drain()] == list(range(10))


def test_it_is_full_at_its_capacity_and_no_longer_once_drained() -> None:
    target, states = recorder(capacity=2), []
    for value in (1.0, 2.0):
        write(target, value)
        states.append(target.is_full)
    target.drain()
    assert [*states, target.is_full] == [False, True, False]


def test_a_row_too_many_is_an_error_instead_of_a_lost_row() -> None:
    target = recorder(capacity=1)
    write(target, 1.0)
    with pytest.raises(IndexError):
        write(target, 2.0)


def test_a_figure_that_needs_a_gradient_or_has_another_precision_is_taken_as_a_number() -> None:
    target = recorder()
    target.write([torch.tensor(1.5, requires_grad=True), torch.tensor(2.5, dtype=torch.float64)])
    assert target.drain() == [{"loss": 1.5, "rate": 2.5}]
