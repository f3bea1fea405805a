"""How a sparsity is spread over tensors: uniform, by Erdos-Renyi kernels, as given."""

import math

import pytest

from sparsity.pruning.budgets import erdos_renyi, given, uniform

LENET = {
    "conv1.weight": (20, 1, 5, 5),
    "conv1.bias": (20,),
    "conv2.weight": (50, 20, 5, 5),
    "conv2.bias": (50,),
    "fc1.weight": (500, 800),
    "fc1.bias": (500,),
    "fc2.weight": (10, 500),
    "fc2.bias": (10,),
}


def test_a_uniform_budget_takes_the_same_share_of_each_tensor_exactly() -> None:
    assert uniform({"a": (3, 5), "b": (1000,)}, 0.9) == {"a": 15 - round(0.9 * 15), "b": 100}


def test_erdos_renyi_reaches_the_sparsity_and_keeps_vectors_whole() -> None:
    kept = erdos_renyi(LENET, 0.9)
    total = sum(map(math.prod, LENET.values()))
    assert sum(kept.values()) == pytest.approx(0.1 * total, abs=len(LENET))
    assert all(kept[name] == math.prod(shape) for name, shape in LENET.items() if len(shape) == 1)


def test_erdos_renyi_gives_density_in_proportion_to_the_sum_over_the_product_of_the_shape() -> None:
    kept = erdos_renyi({"a": (40, 10, 5, 5), "b": (300, 100)}, 0.95)
    densities = {"a": kept["a"] / 10_000, "b": kept["b"] / 30_000}
    assert densities["a"] / densities["b"] == pytest.approx((60 / 10_000) / (400 / 30_000), rel=1e-2)


def test_a_tensor_that_erdos_renyi_would_fill_is_kept_whole_and_the_rest_shares_what_is_left() -> None:
    kept = erdos_renyi(LENET, 0.5)
    assert kept["conv1.weight"] == 500 and kept["fc2.weight"] == 5_000
    assert sum(kept.values()) == pytest.approx(0.5 * 431_080, abs=len(LENET))


def test_erdos_renyi_says_when_biases_alone_are_more_than_the_budget() -> None:
    with pytest.raises(ValueError, match=r"^pruner\.budget=erk keeps biases .* set pruner\.counted=weights\.$"):
        erdos_renyi(LENET, 0.9999)


def test_given_sparsities_are_reached_together_and_who_is_not_named_stays_whole() -> None:
    budget, shapes = given({"a": 0.8, "b": 0.4}), {"a": (100,), "b": (100,), "c": (100,)}
    assert budget(shapes, 0.4) == {"a": 20, "b": 60, "c": 100}
    assert budget(shapes, 0.2) == {"a": 60, "b": 80, "c": 100}
    assert budget(shapes, 0.9) == {"a": 20, "b": 60, "c": 100}, "no more than was given"


def test_a_given_sparsity_of_an_unknown_parameter_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"^pruner\.layer_sparsities names fc9, .* they are a, b\.$"):
        given({"fc9": 0.5})({"a": (2,), "b": (2,)}, 0.5)
