"""Are loss and accuracy what their definitions say, whatever the batches?"""

import pytest
import torch
from torch import Tensor, nn

from sparsity.training.tasks import Classification

SCORES = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 4.0], [5.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 2, 1])  # three of five are right


class Batched(nn.Module):
    """Gives its inputs back, noisy in training mode."""

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.dropout(inputs, 0.9, self.training)


def losses() -> Tensor:
    """Cross-entropy of each example by its definition."""
    probabilities = SCORES.exp() / SCORES.exp().sum(1, keepdim=True)
    return -probabilities[range(5), LABELS].log()


def evaluate(model: nn.Module, batch_size: int) -> dict[str, float]:
    batches = zip(SCORES.split(batch_size), LABELS.split(batch_size), strict=True)
    return {name: float(value) for name, value in Classification().evaluate(model, batches).items()}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_evaluation_weights_each_example_once(batch_size: int) -> None:
    expected = {"accuracy": 60.0, "loss": losses().mean().item()}
    assert evaluate(Batched(), batch_size) == pytest.approx(expected)


@pytest.mark.parametrize("was_training", [True, False])
def test_the_evaluation_leaves_the_model_in_the_mode_it_was_in(was_training: bool) -> None:
    model = Batched().train(was_training)
    evaluate(model, 2)
    assert model.training == was_training


def test_the_evaluation_keeps_no_graph() -> None:
    scores = SCORES.clone().requires_grad_()
    metrics = Classification().evaluate(nn.Identity(), [(scores, LABELS)])
    assert not any(value.requires_grad for value in metrics.values())


def test_the_training_loss_is_the_mean_over_the_batch_beside_the_outputs() -> None:
    loss, outputs = Classification().forward(nn.Identity(), (SCORES, LABELS))
    torch.testing.assert_close(loss, losses().mean())
    assert outputs is SCORES
