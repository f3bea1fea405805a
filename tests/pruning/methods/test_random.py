"""Random pruning: reproducible by the seed, blind to the weights, exact in each tensor."""

import torch
from torch import Tensor

from sparsity import config
from sparsity.pruning.methods.random import Random
from sparsity.pruning.pruner import Pruner
from tests import pruners
from tests.training.fakes import STEPS, network, same

WEIGHTS = {"a": torch.zeros(40, 30), "b": torch.ones(7)}


def scores(seed: int, weights: dict[str, Tensor] = WEIGHTS) -> list[Tensor]:
    return list(Random(weights, seed).scores(weights).values())


def test_the_scores_are_of_the_seed_alone() -> None:
    others = {name: weight + 5 for name, weight in WEIGHTS.items()}
    assert same(scores(3), scores(3, others))
    assert not same(scores(3), scores(4))


def test_a_uniform_prune_takes_the_same_share_of_each_tensor_and_the_next_goes_on_from_it() -> None:
    settings = pruners.pruner("random", budget="uniform")
    method = Pruner(network(), settings, config.build_method(settings), 0.5, STEPS, seed=1)
    method.prune(method.count_to(0.5))
    half = method.masks.kept
    assert method.masks.count_kept() == {name: n - round(0.5 * n) for name, n in method.num_total.items()}
    method.prune(method.count_to(0.75))
    assert all(bool((half[name] | ~keep).all()) for name, keep in method.masks.kept.items())
    assert method.count_to(0.75) <= 2  # each tensor is rounded by itself
