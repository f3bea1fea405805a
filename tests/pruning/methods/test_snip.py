"""SNIP: connection sensitivity |w dL/dw| of the batches it is shown, in one shot."""

from pathlib import Path

import pytest
import torch
from torch import nn

from sparsity.pruning.methods.snip import Snip
from sparsity.training.extensions import Extensions
from tests import pruners
from tests.tiny_runs import tiny_run
from tests.training.fakes import NUM_CLASSES, STEPS_PER_EPOCH, FakeBatches, gradients, network, same, snapshot, trainer


@pytest.mark.parametrize("number", [3, STEPS_PER_EPOCH + 2], ids=["of an epoch", "more than an epoch has"])
def test_the_score_is_the_size_of_weight_times_gradient_averaged_over_the_batches(number: int) -> None:
    model = network()
    method = Snip(dict(model.named_parameters()), num_scoring_batches=number)
    trainer(model, added=Extensions.of([method])).score_gradients()
    batches = [gradients(network(), FakeBatches().batch(0, step % STEPS_PER_EPOCH)) for step in range(number)]
    found = method.scores({}).values()
    for weight, score, *of in zip(network().parameters(), found, *batches, strict=True):
        torch.testing.assert_close(score, (weight.detach() * torch.stack(of).mean(0)).abs())


def test_being_scored_changes_nothing_that_training_depends_on() -> None:
    model, scored = (nn.Sequential(network(dropout=0.5), nn.BatchNorm1d(NUM_CLASSES)) for _ in range(2))
    method = Snip(dict(scored.named_parameters()), num_scoring_batches=2)
    plain, asked = trainer(model), trainer(scored, added=Extensions(scorings=(method,)))
    before = torch.get_rng_state()
    asked.score_gradients()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(0)
    plain.train_step()
    torch.manual_seed(0)
    asked.train_step()
    assert same(list(snapshot(plain)["weights"].values()), list(snapshot(asked)["weights"].values()))


def test_its_scores_are_those_before_the_first_step_after_a_resume_too() -> None:
    model = network()
    method, resumed = Snip(dict(model.named_parameters())), Snip(dict(network().named_parameters()))
    trainer(model, added=Extensions.of([method])).score_gradients()
    resumed.load_state_dict(method.state_dict())
    assert same(list(method.scores({}).values()), list(resumed.scores({}).values()))


def test_the_mask_does_not_depend_on_the_scale_of_the_loss() -> None:
    model = network()
    weights = [p.detach() for p in model.parameters()]
    found = gradients(model, FakeBatches().batch(0, 0))
    once, ten_times = Snip(dict(model.named_parameters())), Snip(dict(model.named_parameters()))
    once.take_gradients(weights, found)
    ten_times.take_gradients(weights, [16 * gradient for gradient in found])
    for small, large in zip(once.scores({}).values(), ten_times.scores({}).values(), strict=True):
        assert torch.equal(16 * small, large)


def test_a_run_prunes_once_before_its_first_step_and_is_compared_at_that_sparsity(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, pruner=pruners.pruner("snip", trigger="one_shot"))
    (cut,) = run.summary["frontier"]
    assert (cut["prune"], cut["step"], cut["sparsity"]) == (1, 0, 0.0)
    assert [row["start"] for row in run.summary["rows"]] == ["paper_sparsity", "last"]
    assert {row["kept"] for row in run.summary["rows"]} == {50 - round(0.45 * 50)}
