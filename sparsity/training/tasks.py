"""Tasks, which turn batches into a loss and an evaluation set into metrics."""

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity.hardware import ranks

Batch = tuple[Tensor, ...]  # inputs and what is to come out, in whatever parts a task and its data agree on


Network = TypeVar("Network", bound=nn.Module, contravariant=True)
Part = TypeVar("Part", contravariant=True)
Whole = TypeVar("Whole", contravariant=True)


class Task(Protocol[Network, Part, Whole]):
    """One kind of learning problem: for which networks, in what batches, and as what it is handed a whole split.

    metrics: those of its `evaluate` that may gate and choose; more is better of each.
    """

    metrics: tuple[str, ...]

    def called(self, model: Network) -> nn.Module:
        """The part of the model that `forward` calls, and that torch.compile is therefore to fuse."""
        ...

    def forward(self, model: Network, batch: Part) -> tuple[Tensor, Tensor]:
        """(mean loss of the batch, the model's outputs)."""
        ...

    def evaluate(self, model: Network, split: Whole) -> dict[str, Tensor]:
        """Metrics of the split as 0-dim tensors; leaves the model in the mode it was in.

        Several ranks call it together: each may look at its share (`ranks.here().share`) and have the sums of all.
        """
        ...


AnyTask: TypeAlias = Task[Any, Any, Any]


@runtime_checkable
class WritesText(Protocol):
    """A task whose evaluation writes text: the last one, one line a sentence, and how its metrics are computed."""

    hypotheses: list[str]
    signatures: dict[str, str]


class Classification:
    """Single-label classification: cross-entropy, and accuracy in percent."""

    metrics: tuple[str, ...] = ("accuracy",)

    def called(self, model: nn.Module) -> nn.Module:
        """All of it."""
        return model

    def forward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and the class scores of one batch of (inputs, labels)."""
        inputs, labels = batch
        outputs = model(inputs)
        return F.cross_entropy(outputs, labels), outputs

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """`accuracy` in percent and `loss`, each weighted by the number of samples."""
        was_training = model.training
        model.eval()
        here = ranks.here()
        sums = [self._sums(model, batch) for batch in here.share(batches)] or [_nothing(model)]
        model.train(was_training)
        correct, loss, count = here.sum_(torch.stack(sums).sum(0))
        return {"accuracy": 100 * correct / count, "loss": loss / count}

    def _sums(self, model: nn.Module, batch: Batch) -> Tensor:
        inputs, labels = batch
        outputs = model(inputs)
        loss = F.cross_entropy(outputs, labels, reduction="sum")
        correct = (outputs.argmax(1) == labels).sum()
        # float64: 10,000 counts stay exact and the sum of losses does not depend on the batch size's rounding
        return torch.stack([correct.double(), loss.double(), torch.full_like(loss, len(labels)).double()])


def _nothing(model: nn.Module) -> Tensor:
    """The sums of a rank that has no share of a small split."""
    return torch.zeros(3, dtype=torch.float64, device=next(model.parameters()).device)
