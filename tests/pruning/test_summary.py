"""Are sparsities and the distribution of the irrelevance those of the weights still kept?"""

import math

import pytest
import torch

from sparsity.pruning.masks import Masks
from sparsity.pruning.scores import Irrelevance
from sparsity.pruning.summary import IrrelevanceProbe, layer_sparsities, sparsity


def values(mask: list[float], gradient: list[float], scale_free: bool = False) -> dict[str, float]:
    multipliers = {"w": torch.tensor(mask)}
    probe = IrrelevanceProbe(Irrelevance(scale_free=scale_free), multipliers)
    probe.observe([torch.zeros(len(gradient))], [torch.tensor(gradient)])
    return {name.rpartition("/")[2]: value for name, value in probe.values().items()}


def test_sparsity_is_the_fraction_that_is_gone() -> None:
    assert sparsity(25, 100) == 0.75


def test_the_total_weighs_each_layer_by_its_size() -> None:
    masks = Masks({"a": torch.ones(10), "b": torch.ones(90)})
    masks.shrink({"a": torch.arange(10) < 5, "b": torch.arange(90) < 10})
    found = layer_sparsities(masks)
    assert found == pytest.approx({"sparsity/total": 0.85, "sparsity/layer/a": 0.5, "sparsity/layer/b": 8 / 9})


def test_the_probe_gives_mean_minimum_and_the_share_that_differs_from_l2() -> None:
    found = values([1, 1, 1, 1], [0.0, 0.0, 0.005, 1.0])
    mean = (2 + math.exp(-0.005) + math.exp(-1)) / 4
    assert found == pytest.approx({"mean": mean, "min": math.exp(-1), "below_0.99": 0.25})


def test_the_probe_looks_at_kept_weights_only() -> None:
    assert values([1, 0, 1], [0.0, 5.0, 1.0]) == pytest.approx(
        {"mean": (1 + math.exp(-1)) / 2, "min": math.exp(-1), "below_0.99": 0.5}
    )


def test_the_probe_measures_the_scale_on_kept_weights_only() -> None:
    assert values([1, 0, 1], [1.0, 500.0, 3.0], scale_free=True)["min"] == pytest.approx(math.exp(-1.5))


def test_a_layer_of_which_nothing_is_kept_has_no_irrelevance_to_show() -> None:
    assert values([0, 0], [1.0, 1.0]) == {}


def test_the_figures_are_named_by_parameter() -> None:
    probe = IrrelevanceProbe(Irrelevance(), {"fc1.weight": torch.ones(2)})
    assert probe.values() == {}
    probe.observe([torch.ones(2)], [torch.ones(2)])
    assert list(probe.values()) == [f"irrelevance/layer/fc1.weight/{name}" for name in ("mean", "min", "below_0.99")]
