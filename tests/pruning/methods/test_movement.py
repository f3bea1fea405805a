"""Movement pruning: scores gather -dL/dw' w, the largest keep their weights, and the others get no gradient."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Ramp
from sparsity.pruning.methods.movement import Movement
from sparsity.settings import OptimizerSettings
from sparsity.training.extensions import Extensions
from sparsity.training.loop import Trainer
from tests.training.fakes import FakeBatches, network, phase, trainer, weights

SGD = OptimizerSettings("sgd", lr=0.25)
RAMP = Ramp(begin=1, end=5, final_sparsity=0.75)
NUM_STEPS = 9


def method(model: nn.Module, ramp: Ramp = RAMP, **knobs: Any) -> Movement:
    parameters = dict(model.named_parameters())
    return Movement(model, parameters, Masks(parameters), ramp, **knobs)


def loop(model: nn.Module, subject: Movement) -> Trainer:
    batches = FakeBatches(dtype=next(model.parameters()).dtype)
    added = Extensions.of([subject, subject._masks])
    return trainer(model, phase(1, None, optimizer=SGD), added, batches)


def scheduled(step: int) -> float:
    """The sparsity after a number of steps, in plain numbers."""
    if step <= 1:
        return 0.0
    return 0.75 * (1 - (1 - min(1.0, (step - 1) / 4)) ** 3)


def largest(score: Tensor, count: int) -> Tensor:
    """The mask of the `count` largest, the first of equal ones, by a sort in Python."""
    values = score.flatten().tolist()
    order = sorted(range(len(values)), key=lambda place: (-values[place], place))
    mask = torch.zeros(len(values), dtype=score.dtype)
    mask[order[:count]] = 1
    return mask.view(score.shape)


def reference(score_rate: float) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and scores after NUM_STEPS steps of plain SGD, by the paper's formulas."""
    model = network(dtype=torch.float64)
    parameters = list(model.parameters())
    scores, masks = [torch.zeros_like(p) for p in parameters], [torch.ones_like(p) for p in parameters]
    for step in range(NUM_STEPS):
        inputs, labels = FakeBatches(dtype=torch.float64).batch(0, step)
        names = [name for name, _ in model.named_parameters()]
        seen = [(p * m).detach().requires_grad_() for p, m in zip(parameters, masks, strict=True)]
        outputs = torch.func.functional_call(model, dict(zip(names, seen, strict=True)), (inputs,))
        found = torch.autograd.grad(F.cross_entropy(outputs, labels), seen)
        for i, (p, g) in enumerate(zip(parameters, found, strict=True)):
            scores[i] = scores[i] - score_rate * g * p.detach()
            p.data -= SGD.lr * g * masks[i]
            if p.dim() > 1:
                masks[i] = largest(scores[i], p.numel() - round(scheduled(step + 1) * p.numel()))
    return [p.detach() * m for p, m in zip(parameters, masks, strict=True)], scores


def test_training_follows_the_papers_formulas() -> None:
    model = network(dtype=torch.float64)
    subject = method(model, score_rate=0.5)
    training = loop(model, subject)
    for _ in range(NUM_STEPS):
        training.train_step()
    expected, scores = reference(0.5)
    with training.baked():
        torch.testing.assert_close(weights(model), expected)
    matrices = [score for score in scores if score.dim() > 1]
    torch.testing.assert_close([score.detach() for score in subject._scores.values()], matrices)


def test_a_weight_that_is_not_there_does_not_move_while_its_score_does() -> None:
    model = network()
    subject = method(model)
    training = loop(model, subject)
    for _ in range(5):
        training.train_step()
    weight, score = model.get_parameter("4.weight").detach().clone(), subject._scores["4.weight"].detach().clone()
    gone = subject._masks.multipliers["4.weight"] == 0
    training.train_step()
    has_moved, score_has_moved = model.get_parameter("4.weight") != weight, subject._scores["4.weight"] != score
    assert int(gone.sum()) == 384 and bool((score_has_moved & gone).any())
    assert not (has_moved & gone).any() and bool(has_moved.any())


@pytest.mark.parametrize("scope", ["tensor", "network"])
def test_exactly_as_many_weights_are_kept_as_the_schedule_says(scope: str) -> None:
    model = network()
    subject = method(model, scope=scope)
    training = loop(model, subject)
    for step in range(1, NUM_STEPS):
        training.train_step()
        kept = {name: int(mask.sum()) for name, mask in subject.kept().items()}
        assert subject._masks.count_kept() == {name: p.numel() for name, p in model.named_parameters()} | kept
        total = {name: score.numel() for name, score in subject._scores.items()}
        if scope == "tensor":
            assert kept == {name: n - round(scheduled(step) * n) for name, n in total.items()}
        assert sum(kept.values()) == pytest.approx(sum(total.values()) * (1 - scheduled(step)), abs=1.5)
        assert float(subject.recorded["movement/kept"]) == pytest.approx(sum(kept.values()) / sum(total.values()))


def test_the_soft_form_keeps_scores_above_a_threshold_that_rises_with_the_schedule() -> None:
    subject = method(network(), is_soft=True, threshold=0.4, least_kept=0.05)
    score = subject._scores["6.weight"]
    score.data.copy_(torch.linspace(-2, 2, score.numel()).view(score.shape))
    assert bool(subject.kept()["6.weight"].all())
    subject._count.fill_(3)  # half of the way: the schedule stands at 7/8
    assert torch.equal(subject.kept()["6.weight"], 1 / (1 + torch.exp(-score)) > 0.35)
    score.data.fill_(-9.0)
    assert subject.kept()["6.weight"].flatten().tolist() == 2 * [True] + 22 * [False], "a share of 1.2 is two"


def test_the_soft_term_is_lambda_times_the_mean_over_the_tensors_of_their_mean_sigmoid() -> None:
    subject = method(network(dtype=torch.float64), is_soft=True, score_penalty=6.0)
    subject._count.fill_(3)
    for number, score in enumerate(subject._scores.values()):
        score.data.fill_(number)
    mean = sum(torch.sigmoid(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))) / 3
    term = subject.term(torch.zeros(1), ())
    torch.testing.assert_close(term, 6.0 * 7 / 8 * mean)
    (gradient,) = torch.autograd.grad(term, [subject._scores["6.weight"]])
    slope = torch.sigmoid(torch.tensor(2.0)) * torch.sigmoid(torch.tensor(-2.0))
    torch.testing.assert_close(gradient.flatten()[0], (6.0 * 7 / 8 / 3 / 24 * slope).double())


class Tied(nn.Module):
    """An embedding that is the head as well, and a linear layer between."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.between, self.head = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5)
        self.head.weight = self.embedding.weight


@pytest.mark.parametrize(("embeddings", "names"), [(False, {"between.weight"}), (True, None)])
def test_embeddings_have_scores_only_if_asked_for_also_as_a_tied_head(embeddings: bool, names: set[str] | None) -> None:
    assert set(method(Tied(), embeddings=embeddings)._scores) == (names or {"embedding.weight", "between.weight"})


@pytest.mark.parametrize(
    ("model", "ramp", "scope", "sentence"),
    [
        (nn.Embedding(3, 2), RAMP, "tensor", "of the network's none may be pruned"),
        (nn.Linear(3, 2), RAMP, "layer", "pruner.method.scope=layer is unknown; choose one of tensor, network."),
        (nn.Linear(3, 2), Ramp(0, 1, None), "tensor", "set gate.target_sparsity"),
    ],
)
def test_what_cannot_begin_is_refused(model: nn.Module, ramp: Ramp, scope: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        method(model, ramp, scope=scope)
