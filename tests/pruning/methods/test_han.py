"""Thresholds per layer: below q deviations a weight goes, the others keep their value and are trained again."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparsity import config
from sparsity.models.lenet import LeNet5
from sparsity.pruning.masks import Masks
from sparsity.pruning.methods.han import Han
from sparsity.pruning.pruner import Pruner
from sparsity.settings import PrunerSettings, ScheduleSettings
from tests import pruners
from tests.tiny_runs import tiny_run
from tests.training.fakes import STEPS, network

PUBLISHED = {"conv1": 0.66, "conv2": 0.12, "fc1": 0.08, "fc2": 0.19}  # of the weights of LeNet-5 that are left


def pruner(model: nn.Module, **knobs: object) -> Pruner:
    node = {"_target_": "sparsity.pruning.methods.han.Han", **knobs}
    settings = PrunerSettings("han", True, node, trigger="threshold", counted="weights")
    return Pruner(model, settings, config.build_method(settings), 0.5, STEPS)


def test_what_is_below_so_many_deviations_of_its_own_tensor_goes_and_the_rest_keeps_its_value() -> None:
    model = network(dtype=torch.float64)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    method = pruner(model, q=0.7)
    method.prune(method.count_below(1.0))
    for name, parameter in model.named_parameters():
        weight = before[name]
        limit = 0.7 * (weight - weight.mean()).square().mean().sqrt() if weight.dim() > 1 else -1.0
        assert torch.equal(parameter.detach(), torch.where(weight.abs() < limit, 0.0, weight))


def quantile(weight: Tensor, left: float) -> float:
    """The q that leaves this share of a tensor, halfway between two of its weights."""
    sizes = weight.abs().flatten().sort(descending=True).values
    count = round(left * len(sizes))
    return float((sizes[count - 1] + sizes[count]) / 2 / weight.std(correction=0))


def test_with_thresholds_fitted_to_the_published_residuals_one_prune_leaves_as_many_weights() -> None:
    model = LeNet5()
    weights = {name: p.detach() for name, p in model.named_parameters() if p.dim() > 1}
    fitted = {name: quantile(weight, PUBLISHED[name.partition(".")[0]]) for name, weight in weights.items()}
    method = pruner(model, q_of=fitted)
    method.prune(method.count_below(1.0))
    assert abs(method.num_kept - 36_280) <= 5
    assert method.count_below(1.0) < 0.5 * 36_280  # what went counts as zeros, so that a second round takes few


def scores(weight: Tensor, **knobs: bool) -> list[float]:
    masks = Masks({"a": weight})
    masks.shrink({"a": torch.tensor([True, True, False, False])})
    found: list[float] = Han({"a": weight}, masks, **knobs).scores({"a": weight})["a"].tolist()
    return found


def test_the_deviation_is_that_of_all_weights_or_of_those_that_are_left() -> None:
    weight = torch.tensor([1.0, 3.0, 9.0, 9.0])
    assert scores(weight.clone(), remaining=True) == pytest.approx([1.0, 3.0, 0.0, 0.0])
    assert scores(weight.clone()) == pytest.approx([1 / 1.5**0.5, 3 / 1.5**0.5, 0.0, 0.0])  # of 1, 3, 0 and 0


def test_a_run_prunes_in_rounds_and_trains_in_between(tmp_path: Path) -> None:
    settings = pruners.pruner("han", trigger="threshold")
    settings.method["remaining"] = True
    run = tiny_run(tmp_path, pruner=settings, schedule=ScheduleSettings(every_evaluations=3, end=1.0))
    assert [point["pruned"] for point in run.curve("regularise")] == [True, False, False] * 2 + [True, False]
    assert [cut["step"] for cut in run.summary["frontier"]] == [2, 8, 14]
