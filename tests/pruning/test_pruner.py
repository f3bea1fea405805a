"""Is a pruner the sum of its parts: a global fraction, tied tensors once, lambda back at full strength?"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured, global_unstructured

from sparsity import config
from sparsity.pruning.penalty import Penalty
from sparsity.pruning.plateaus import Sizes
from sparsity.pruning.pruner import Pruner
from sparsity.settings import ProtocolSettings
from tests import pruners
from tests.training.fakes import STEPS, network, pruner, same, weights


class Tied(nn.Module):
    """An embedding that is also the head, as in the Transformer experiments."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores [N, 5] of tokens [N]."""
        scores: Tensor = self.head(self.embedding(tokens))
        return scores


def test_a_tied_weight_is_counted_and_pruned_once() -> None:
    model = Tied()
    method = pruner(model, fraction=0.2)
    assert method.num_total == {"embedding.weight": 20, "head.bias": 5}
    method.prune()
    assert sum(method.masks.count_kept().values()) == 20
    assert method.sparsity == pytest.approx(0.2)
    assert int((model.head.weight == 0).sum() + (model.head.bias == 0).sum()) == 5


def test_a_tied_tensor_may_be_counted_as_often_as_torch_lists_it() -> None:
    model, twin = Tied(), Tied()
    with torch.no_grad():  # so that no cut falls between the two listings of one weight: 9 go, then 5 and a bias
        model.embedding.weight.copy_(torch.arange(1.0, 21.0).view(5, 4))
        model.head.bias.copy_(torch.tensor([12.5, 30.0, 40.0, 50.0, 60.0]))
    twin.load_state_dict(model.state_dict())
    settings, protocol = pruners.pruner("dense"), ProtocolSettings(count_tied_as_listed=True)
    method = Pruner(model, settings, config.build_method(settings), 0.4, STEPS, protocol=protocol)
    listed = [(twin.embedding, "weight"), (twin.head, "weight"), (twin.head, "bias")]
    for num_pruned in (9, 15):  # counted once, 10 of the 25 would go first
        method.prune()
        global_unstructured(listed, L1Unstructured, amount=0.4)  # of the weights that torch lists and that remain
        assert method.num_kept == 25 - num_pruned
    assert torch.equal(model.head.weight, twin.embedding.weight * twin.head.get_buffer("weight_mask"))
    assert torch.equal(model.head.bias, twin.head.bias)
    assert method.num_total == {"embedding.weight": 20, "head.bias": 5}
    method.prune(1)
    assert method.num_kept == 9, "the first listing of a weight takes it, whatever the other says"


def test_each_prune_removes_a_fraction_of_what_remains() -> None:
    method = pruner(network(), fraction=0.5)
    total = sum(method.num_total.values())
    method.prune()
    method.prune()
    assert sum(method.masks.count_kept().values()) == pytest.approx(total / 4, abs=1)


def test_the_smallest_magnitudes_go_wherever_they_stand() -> None:
    model = network()
    sizes = torch.cat([weight.abs().flatten() for weight in weights(model)])
    pruner(model, fraction=0.5).prune()
    left = torch.cat([weight.abs().flatten() for weight in weights(model)])
    assert left[left > 0].min() == sizes.sort().values[round(0.5 * len(sizes))]


def test_frozen_parameters_take_no_part() -> None:
    model = network()
    next(model.parameters()).requires_grad_(False)
    assert "0.weight" not in pruner(model).num_total and "0.bias" in pruner(model).num_total


def test_a_prune_sets_lambda_back() -> None:
    model = network()
    method = pruner(model, "l2")
    assert isinstance(method.method, Penalty)
    penalty = method.method
    parameters: list[Tensor] = list(model.parameters())
    zeros = [torch.zeros_like(p) for p in parameters]
    for _ in range(5):
        penalty.edit(parameters, zeros)
    assert float(penalty.recorded["penalty/lambda"]) == pytest.approx(0.6 * 0.125)
    method.prune()
    penalty.edit(parameters, zeros)
    assert float(penalty.recorded["penalty/lambda"]) == 0.125


def test_without_so_many_weights_the_network_is_tried_and_put_back() -> None:
    model = network()
    method = pruner(model)
    before = weights(model)
    with method.without(100):
        assert sum(int((weight == 0).sum()) for weight in weights(model)) == 100
    assert same(before, weights(model)) and method.sparsity == 0.0


def test_what_was_tried_is_what_a_prune_of_that_count_removes() -> None:
    model = network()
    method = pruner(model)
    with method.without(100):
        tried = weights(model)
    method.prune(100)
    assert same(tried, weights(model)) and method.num_kept == sum(method.num_total.values()) - 100


def test_a_score_of_its_own_says_which_weights_go() -> None:
    model = network()
    biggest = torch.cat([weight.abs().flatten() for weight in weights(model)]).max()
    settings = pruners.pruner("dense")
    Pruner(model, settings, config.build_method(settings), 0.5, STEPS, score=lambda weight: 10 - weight.abs()).prune()
    left = torch.cat([weight.abs().flatten() for weight in weights(model)])
    assert left.max() < biggest and int((left == 0).sum()) == round(len(left) / 2)


def test_a_network_without_a_trainable_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Linear has no trainable parameter: choose a network that can learn\.$"):
        pruner(nn.Linear(2, 2).requires_grad_(False))


@pytest.mark.parametrize(("value", "said"), [(-1.0, "-1"), (float("nan"), "nan")])
def test_scores_that_cannot_be_ordered_by_size_are_refused_where_a_weight_is_left(value: float, said: str) -> None:
    model, settings = nn.Linear(2, 2), pruners.pruner("magnitude")

    def score(weight: Tensor) -> Tensor:
        return weight.abs().add(1).index_fill_(0, torch.tensor(0), value)

    method = Pruner(model, settings, config.build_method(settings), 0.5, STEPS, score=score)
    with pytest.raises(ValueError, match=f"^The scores of weight are to be at least 0, and their minimum is {said}:"):
        method.prune()
    second = torch.tensor([False, True])
    method.masks.shrink({"weight": second.view(2, 1).expand(2, 2), "bias": second})
    method.prune(1)
    assert method.num_kept == 2


def test_sizes_are_those_of_matrices_left_without_what_is_zero_anyway() -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 2))
    with torch.no_grad():
        for parameter, values in zip(
            model.parameters(), ([-4.0, 0.0, 2.0], [9.0], [0.5, 1.5], [0.1, 9.0]), strict=True
        ):
            parameter.copy_(torch.tensor(values).view_as(parameter))
    method = pruner(model)
    assert method.sizes() == Sizes(0.5, (3.0 + 1.0) / 2, 4.0)
    method.prune(3)  # the zero, 0.1 of a bias and 0.5
    assert method.sizes() == Sizes(1.5, (3.0 + 1.5) / 2, 4.0)
