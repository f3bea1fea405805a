"""The irrelevance is that of eq. 4, and each variant what its formula says."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsity.pruning.scores import Irrelevance, magnitude

GRADIENT = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)


def irrelevance(gradient: Tensor, multiplier: Tensor | None = None, **form: Any) -> Tensor:
    """Of one tensor, of which all weights are kept unless `multiplier` says otherwise."""
    return Irrelevance(**form)([gradient], [torch.ones_like(gradient) if multiplier is None else multiplier])[0]


def test_the_irrelevance_is_one_without_gradient_and_falls_with_its_size() -> None:
    assert irrelevance(GRADIENT).tolist() == pytest.approx([1.0, math.exp(-1), math.exp(-2)])


def test_alpha_divides_the_gradient() -> None:
    assert irrelevance(GRADIENT, alpha=0.5).tolist() == pytest.approx([1.0, math.exp(-2), math.exp(-4)])


def test_the_hyperbolic_form_is_the_authors_follow_up() -> None:
    assert irrelevance(GRADIENT, alpha=0.25, form="hyperbolic").tolist() == pytest.approx([1.0, 4 / 3, 2.0])


def test_scale_free_does_not_change_when_all_gradients_grow() -> None:
    small, large = irrelevance(GRADIENT, scale_free=True), irrelevance(1e6 * GRADIENT, scale_free=True)
    torch.testing.assert_close(small, large)


def test_scale_free_divides_by_the_mean_size_of_the_gradients() -> None:
    gradient = torch.tensor([1.0, -3.0], dtype=torch.float64)
    assert irrelevance(gradient, scale_free=True).tolist() == pytest.approx([math.exp(-0.5), math.exp(-1.5)])


def test_scale_free_is_not_diluted_by_the_masked_gradients_of_pruned_weights() -> None:
    kept = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    alone = irrelevance(torch.tensor([1.0, 0.0, -3.0]), scale_free=True)
    among_pruned = irrelevance(torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, -3.0]), scale_free=True, multiplier=kept)
    torch.testing.assert_close(among_pruned[kept != 0], alone)


def test_scale_free_takes_a_tensor_without_any_gradient_as_irrelevant() -> None:
    assert irrelevance(torch.zeros(3), scale_free=True).tolist() == [1.0, 1.0, 1.0]


def test_the_magnitude_is_the_size_without_a_graph() -> None:
    score = magnitude(torch.tensor([-2.0, 1.0], requires_grad=True))
    assert score.tolist() == [2.0, 1.0] and not score.requires_grad
