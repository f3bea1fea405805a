"""Are per-step figures kept in order, and never lost in silence?"""

import math

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
    assert target.drain(2) == [{"loss": 1.0, "rate": 10.0}, {"loss": 2.0, "rate": 20.0}]


def test_a_drained_row_does_not_come_back() -> None:
    target = recorder()
    write(target, 1.0)
    target.drain(1)
    write(target, 2.0)
    assert [row["loss"] for row in target.drain(1)] == [2.0]


def test_order_holds_over_many_fillings() -> None:
    target, found = recorder(), []
    for value in range(9):
        write(target, float(value))
        if value % 3 == 2:
            found += target.drain(3)
    assert [row["loss"] for row in found] == list(range(9))


def test_a_row_that_is_not_finite_leaves_the_others_alone() -> None:
    target = recorder()
    write(target, 1.0, math.nan, 3.0)
    first, bad, last = (row["loss"] for row in target.drain(3))
    assert (first, last, math.isnan(bad)) == (1.0, 3.0, True)


def test_a_figure_that_needs_a_gradient_or_has_another_precision_is_taken_as_a_number() -> None:
    target = recorder()
    target.write([torch.tensor(1.5, requires_grad=True), torch.tensor(2.5, dtype=torch.float64)])
    assert target.drain(1) == [{"loss": 1.5, "rate": 2.5}]
