"""Something small to train: a network with every kind of layer that matters, batches, and the real loop around them."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsity import config
from sparsity.pruning.method import Steps
from sparsity.pruning.pruner import Pruner
from sparsity.settings import LrScheduleSettings, OptimizerSettings, PhaseSettings
from sparsity.training.execution import Execution
from sparsity.training.extensions import Extensions
from sparsity.training.loop import Trainer
from sparsity.training.tasks import Batch, Classification
from tests import pruners

SHAPE = (2, 6, 6)
NUM_CLASSES = 3
STEPS_PER_EPOCH = 10

ADAM = OptimizerSettings(name="adam", lr=1e-2)
MOMENTUM = OptimizerSettings(name="sgd", lr=1e-1, momentum=0.9)
OPTIMIZERS = [pytest.param(ADAM, id="adam"), pytest.param(MOMENTUM, id="momentum")]
COSINE = LrScheduleSettings(name="cosine", final_factor=0.1)

Evaluate = Callable[[], dict[str, Tensor]]


def network(dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A convolution in channels_last layout, dropout and two linear layers, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(64, 8), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(8, NUM_CLASSES))
    return model.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass
class FakeBatches:
    """Learnable batches as a function of (epoch, step); from `first_bad` on, (epoch, step), the inputs are infinite."""

    steps_per_epoch: int = STEPS_PER_EPOCH
    dtype: torch.dtype = torch.float32
    first_bad: tuple[int, int] | None = None
    is_resident = False
    epoch = 0

    def start_epoch(self, epoch: int) -> None:
        """Batches are of `epoch` from now on."""
        self.epoch = epoch

    def at(self, position: Tensor, step: int) -> Batch:
        """The batch at `step` of the epoch."""
        assert position.item() == step
        return self.batch(self.epoch, step)

    def batch(self, epoch: int, step: int) -> Batch:
        """Eight images whose label is the position of their largest first pixel."""
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        inputs = torch.randn(8, *SHAPE, generator=generator, dtype=self.dtype)
        labels = inputs[:, 0, 0, :NUM_CLASSES].argmax(1)
        if self.first_bad is not None and (epoch, step) >= self.first_bad:
            inputs = inputs * torch.inf
        return inputs, labels


def no_metrics() -> dict[str, Tensor]:
    """An evaluation that measures nothing."""
    return {}


def phase(num_epochs: int = 3, every: int | None = 4, **changes: Any) -> PhaseSettings:
    """A phase of `num_epochs`, evaluated every 4 steps, with Adam unless `changes` say otherwise."""
    return replace(PhaseSettings(num_epochs=num_epochs, evaluate_every_steps=every, optimizer=ADAM), **changes)


STEPS = Steps(total=100, per_epoch=STEPS_PER_EPOCH, per_evaluation=4)


def pruner(model: nn.Module, kind: str = "dense", fraction: float = 0.5, **changes: Any) -> Pruner:
    """A pruner with a strong penalty of one kind; `changes` go to its settings."""
    settings = pruners.pruner(kind, **({"strength": 0.0 if kind == "dense" else 0.125} | changes))
    return Pruner(model, settings, config.build_method(settings), fraction, STEPS)


def trainer(
    model: nn.Module,
    settings: PhaseSettings | None = None,
    added: Extensions | Pruner | None = None,
    batches: FakeBatches | None = None,
    evaluate: Evaluate = no_metrics,
    execution: Execution | None = None,
) -> Trainer:
    """The real loop around a network; a pruner is added as a run adds it."""
    if isinstance(added, Pruner):
        added = Extensions.of(added.parts)
    return Trainer(model, Classification(), batches or FakeBatches(), evaluate, settings or phase(), added, execution)


def finish(loop: Trainer) -> nn.Module:
    """The trained network."""
    for _ in loop.run():
        pass
    return loop.model


def prune_at(loop: Trainer, method: Pruner, prune_step: int) -> Iterator[int]:
    """Train to the end, yielding each evaluated step; at `prune_step` prune, as a run does."""
    for evaluation in loop.run():
        if evaluation.step == prune_step:
            method.prune()
        yield evaluation.step


def weights(model: nn.Module) -> list[Tensor]:
    """Copies of all trainable weights, in the order of `named_parameters()`."""
    return [p.detach().clone() for p in model.parameters()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    """Whether two lists of tensors agree bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def gradients(model: nn.Module, batch: Batch) -> list[Tensor]:
    """dL/dw of one batch, from autograd alone."""
    inputs, labels = batch
    loss = F.cross_entropy(model(inputs), labels)
    return list(torch.autograd.grad(loss, list(model.parameters())))


def snapshot(loop: Trainer) -> dict[str, Any]:
    """What a checkpoint of the loop would hold, as it stands now."""
    return copy.deepcopy({"weights": loop.model.state_dict(), "trainer": loop.state_dict()})
