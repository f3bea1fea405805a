"""Output sensitivity: what the class scores do not depend on, averaged over the batch, shrinks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.hardware import ranks
from sparsity.pruning.method import Steps
from sparsity.pruning.methods.sensitivity import FORMS, Sensitivity
from sparsity.pruning.penalty import Strength
from sparsity.settings import OptimizerSettings, PenaltySettings, ScheduleSettings
from sparsity.training.extensions import Extensions
from sparsity.weights.checkpoints import load_checkpoint
from tests import pruners
from tests.tiny_runs import tiny_run
from tests.training.fakes import FakeBatches, network, phase, trainer

LAMBDA = 0.125
LINEAR = nn.Linear(3, 4, bias=False).double()
INPUTS = torch.tensor([[1.0, -2.0, 0.5], [3.0, 1.0, -0.5]], dtype=torch.float64)
LABELS = torch.tensor([2, 0])


def method(model: nn.Module, form: str, decay: str = "none", **knobs: Any) -> Sensitivity:
    strength = Strength(PenaltySettings(strength=LAMBDA, decay=decay), Steps(100, 10, 4), torch.device("cpu"))
    return Sensitivity(dict(model.named_parameters()), strength, form, **knobs)


def measured(form: str, model: nn.Module = LINEAR) -> Tensor:
    """S of the first weight, read from what a shrink takes away of ones."""
    subject = method(model, form)
    subject.term(model(INPUTS), (INPUTS, LABELS))
    return subject._sensitivities[0]


def test_of_a_linear_layer_each_form_is_known_in_closed_form() -> None:
    mean = INPUTS.mean(0).abs()
    torch.testing.assert_close(measured("unspecified"), (mean / 4).expand(4, 3))
    torch.testing.assert_close(measured("lower_bound"), (mean / 4).expand(4, 3))
    of_target = torch.zeros(4, 3, dtype=torch.float64)
    of_target[2], of_target[0] = INPUTS[0].abs() / 2, INPUTS[1].abs() / 2
    torch.testing.assert_close(measured("specified"), of_target)


def test_the_lower_bound_is_one_and_is_reached_by_a_single_class() -> None:
    torch.manual_seed(0)
    deep = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    low, full = measured("lower_bound", deep), measured("unspecified", deep)
    assert bool((low <= full + 1e-15).all()) and bool((low < 0.9 * full).any())
    single = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    torch.testing.assert_close(measured("lower_bound", single), measured("unspecified", single))


def by_definition(model: nn.Module, batch: tuple[Tensor, Tensor], form: str) -> list[Tensor]:
    """S of the matrices, example by example and class by class."""
    weights, total = [p for p in model.parameters() if p.dim() > 1], None
    inputs, labels = batch
    for k in range(3):
        means = [torch.zeros_like(weight) for weight in weights]
        for image, label in zip(inputs, labels.tolist(), strict=True):
            if form != "specified" or label == k:
                score = model(image.unsqueeze(0))[0, k]
                found = torch.autograd.grad(score, weights)
                means = [mean + each / len(inputs) for mean, each in zip(means, found, strict=True)]
        parts = [mean if form != "unspecified" else mean.abs() for mean in means]
        total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
    assert total is not None
    return [each.abs() / (1 if form == "specified" else 3) for each in total]


@pytest.mark.parametrize("form", FORMS)
def test_a_step_is_the_optimisers_and_then_the_shrink_of_a_plain_reference(form: str) -> None:
    model, reference = network(dtype=torch.float64), network(dtype=torch.float64)
    subject, batches = method(model, form), FakeBatches(dtype=torch.float64)
    loop = trainer(model, phase(optimizer=OptimizerSettings("sgd", 0.1)), Extensions.of([subject]), batches)
    for step in range(3):
        loop.train_step()
        batch = batches.batch(0, step)
        sensitivities = by_definition(reference, batch, form)
        found = torch.autograd.grad(F.cross_entropy(reference(batch[0]), batch[1]), list(reference.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(reference.parameters(), found, strict=True):
                weight.sub_(0.1 * gradient)
                if weight.dim() > 1:
                    weight.sub_(LAMBDA * weight * (1 - sensitivities.pop(0)).clamp_min(0))
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-10, atol=1e-13)


def test_it_adds_nothing_to_the_loss_and_stops_with_the_updates() -> None:
    model = nn.Linear(3, 4).double()
    subject, before = method(model, "lower_bound"), model.weight.detach().clone()
    assert float(subject.term(model(INPUTS), (INPUTS, LABELS))) == 0.0
    with torch.no_grad():
        subject.after_step([], torch.tensor(0.0))
    assert torch.equal(model.weight.detach(), before)


def test_a_prune_sets_lambda_back() -> None:
    subject = method(LINEAR, "lower_bound", decay="linear")
    lambdas = []
    with torch.no_grad():
        for _ in range(2):
            for _ in range(3):
                subject.after_step([], torch.tensor(0.0))
                lambdas.append(float(subject.recorded["penalty/lambda"]))
            subject.after_prune()
    assert lambdas == pytest.approx(2 * [LAMBDA, 0.9 * LAMBDA, 0.8 * LAMBDA])


def test_a_backward_pass_for_each_of_a_thousand_classes_is_refused() -> None:
    model = nn.Linear(3, 1000)
    subject = method(model, "unspecified")
    with pytest.raises(ValueError, match=r"for each of the 1000 classes at each step, .*: choose specified or lower_b"):
        subject.term(model(INPUTS.float()), (INPUTS, LABELS))


def test_outputs_that_are_no_scores_of_classes_are_refused() -> None:
    subject = method(LINEAR, "lower_bound")
    with pytest.raises(ValueError, match="asks for scores of classes, one label an example, which this task has not"):
        subject.term(LINEAR(INPUTS), (INPUTS, INPUTS, LABELS))


def test_a_form_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pruner\.method\.form=both is unknown; choose one of unspecified, specified"):
        method(LINEAR, "both")


def test_several_ranks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "here", lambda: SimpleNamespace(size=2))
    with pytest.raises(ValueError, match="of which each of 2 ranks sees a part: train in one process"):
        method(LINEAR, "lower_bound")


def test_at_each_evaluation_what_is_below_the_threshold_goes(tmp_path: Path) -> None:
    settings = pruners.pruner("sensitivity", 0.2, trigger="threshold", decay="none")
    settings.method["threshold"] = 0.05
    run = tiny_run(tmp_path, pruner=settings, schedule=ScheduleSettings(end=1.0))
    assert run.curve("regularise")[0]["pruned"]
    state = load_checkpoint(run.directory / "checkpoints/regularise/last_network.pt")["weights"]
    sizes = torch.cat([weight.abs().flatten() for weight in state.values()])
    assert 0 < int((sizes > 0).sum()) < 50
    assert float(sizes[sizes > 0].min()) >= 0.05


def test_the_record_has_the_mean_of_each_layer() -> None:
    subject = method(LINEAR, "lower_bound")
    subject.term(LINEAR(INPUTS), (INPUTS, LABELS))
    with torch.no_grad():
        subject.after_step([], torch.tensor(0.0))
    expected = float(INPUTS.mean(0).abs().mean() / 4)
    assert float(subject.recorded["sensitivity/layer/weight"]) == pytest.approx(expected)
