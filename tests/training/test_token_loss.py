"""Is the chunked loss the plain one, gradient included?"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparsity.special_tokens import IGNORED
from sparsity.training.token_loss import token_cross_entropy

LABELS = torch.tensor([3, IGNORED, 0, 5, 5, 1, IGNORED])


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states [7, 4], projection [6, 4] and bias [6]."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 4, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(6, 4, generator=generator, dtype=dtype).requires_grad_()
    return hidden, weight, torch.randn(6, generator=generator, dtype=dtype)


def plain(hidden: Tensor, weight: Tensor, bias: Tensor, smoothing: float) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight, bias), LABELS, reduction="sum", label_smoothing=smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk_tokens", [1, 3, 100])
def test_loss_and_gradients_are_those_of_plain_cross_entropy(chunk_tokens: int, smoothing: float) -> None:
    hidden, weight, bias = problem()
    expected = plain(hidden, weight, bias, smoothing)
    loss = token_cross_entropy(hidden, LABELS, weight, bias, smoothing, chunk_tokens)
    torch.testing.assert_close(loss, expected)
    gradients = torch.autograd.grad(3 * loss, [hidden, weight])
    torch.testing.assert_close(gradients, torch.autograd.grad(3 * expected, [hidden, weight]))


def test_no_more_than_a_chunk_of_scores_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, bias = problem()
    shapes: list[tuple[int, ...]] = []
    linear = F.linear

    def watched(*arguments: Tensor) -> Tensor:
        scores = linear(*arguments)
        shapes.append(tuple(scores.shape))
        return scores

    monkeypatch.setattr(F, "linear", watched)
    token_cross_entropy(hidden, LABELS, weight, bias, chunk_tokens=3).backward()
    assert shapes == [(3, 6), (3, 6), (1, 6)]


def test_under_autocast_the_products_are_in_its_precision_and_the_sum_is_not() -> None:
    hidden, weight, bias = problem(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = token_cross_entropy(hidden, LABELS, weight, bias)
    low = F.linear(hidden.bfloat16(), weight.bfloat16()).float() + bias
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(low, LABELS, reduction="sum"))
    loss.backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_without_a_gradient_none_is_computed() -> None:
    hidden, weight, bias = problem()
    with torch.no_grad():
        assert not token_cross_entropy(hidden, LABELS, weight, bias).requires_grad


class ScatteredInto(TorchDispatchMode):
    """Takes down the dimensions of what is scattered into."""

    def __init__(self) -> None:
        super().__init__()
        self.dimensions: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation below autograd."""
        if "scatter" in func.name():
            self.dimensions.append(args[0].dim())
        return func(*args, **(kwargs or {}))


def test_a_gpu_is_not_waited_for_as_it_is_where_more_than_one_dimension_is_scattered_into() -> None:
    hidden, weight, bias = problem()
    with ScatteredInto() as scattered:
        token_cross_entropy(hidden, LABELS, weight, bias, chunk_tokens=4)
    assert scattered.dimensions == [1, 1]
