"""The network as extensions show it: effective weights in the place of its own, layers with a forward of their own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from sparsity.training.extensions import EffectiveWeights, Forward, LayerForward
from sparsity.training.tasks import Batch, Task

T = TypeVar("T")


class Parts(Protocol):
    """Says with which part of its weights a network computes the same."""

    def part(self, name: str, weight: Tensor) -> Tensor:
        """That part of what stands for the parameter called `name`; `weight` itself where it is all of it."""
        ...


class WeightView:
    """A network called with effective weights, or with parts of its own, which autograd follows back to its own.

    Args:
        model: whose parameters are viewed, a tied one once.
        task: calls the model.
        views: each sees what the one before it has made; with none the network is called as it is.
        parts: of what they make, in training and in evaluation.
    """

    def __init__(
        self, model: nn.Module, task: Task, views: Sequence[EffectiveWeights], parts: Parts | None = None
    ) -> None:
        self._model, self._task, self._views, self._parts = model, task, views, parts
        self._holder = _Holder(model)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The task's loss and outputs in training."""
        effective = self._effective(is_training=True) if self._views else {}
        return self._called(effective, lambda: self._task.forward(self._model, batch))

    def evaluated(self, evaluate: Callable[[], T]) -> T:
        """What an evaluation of the network gives, with the effective weights of evaluation."""
        with self.baked():
            return self._called({}, evaluate)

    def _called(self, shown: dict[str, Tensor], act: Callable[[], T]) -> T:
        """What `act`, which calls the network, gives while that has the parts of these weights, else of its own."""
        if self._parts is not None:
            for name, parameter in self._model.named_parameters():
                value = shown.get(name, parameter)
                if (part := self._parts.part(name, value)) is not value:
                    shown[name] = part
        if not shown:
            return act()
        weights = {f"model.{name}": value for name, value in shown.items()}
        result: T = torch.func.functional_call(self._holder, weights, (act,))
        return result

    @contextmanager
    def baked(self) -> Iterator[None]:
        """While it lasts, the plain weights are the effective ones of evaluation; afterwards they are as they were."""
        with torch.no_grad():
            parameters = dict(self._model.named_parameters())
            changed = self._effective(is_training=False) if self._views else {}
            plain = {name: parameters[name].clone() for name in changed}
            for name, value in changed.items():
                parameters[name].copy_(value)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in plain.items():
                    parameters[name].copy_(value)

    def _effective(self, is_training: bool) -> dict[str, Tensor]:
        """Name -> effective weight of the parameters that some view changes."""
        changed = {}
        for name, parameter in self._model.named_parameters():
            value: Tensor = parameter
            for view in self._views:
                value = view.effective(name, value, is_training)
            if value is not parameter:
                changed[name] = _laid_out(value, parameter)
        return changed


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """A value with the strides of its parameter.

    In a dimension of one element any stride will do, and operations choose one: but a convolution takes the layout of
    all that follows from its weight's, and LeNet-5's step took 1.36 of a plain one where that of the first, of one
    channel, no longer said channels_last.
    """
    if value.stride() == parameter.stride():
        return value
    pairs = zip(parameter.shape, value.stride(), parameter.stride(), strict=True)
    if all(theirs == ours for size, theirs, ours in pairs if size > 1):
        return value.as_strided(parameter.shape, parameter.stride())
    return torch.empty_like(parameter).copy_(value)


class _Holder(nn.Module):
    """A module around a model, so that torch can give it other weights for as long as something calls the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, act: Callable[[], T]) -> T:
        return act()


def replace_forwards(model: nn.Module, extensions: Sequence[LayerForward]) -> None:
    """Let the layers that the extensions name compute as these say while they are in training mode."""
    for extension in extensions:
        for name, forward in extension.forwards().items():
            layer = model.get_submodule(name)
            layer.forward = _in_training(layer, forward)


def _in_training(layer: nn.Module, forward: Forward) -> Callable[[Tensor], Tensor]:
    plain = layer.forward

    def chosen(inputs: Tensor) -> Tensor:
        result: Tensor = forward(layer, inputs) if layer.training else plain(inputs)
        return result

    return chosen
