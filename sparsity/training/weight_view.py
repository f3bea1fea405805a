"""The network as extensions show it: effective weights in the place of its own, layers with a forward of their own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsity.training.extensions import EffectiveWeights, Forward, LayerForward
from sparsity.training.tasks import Batch, Task


class WeightView:
    """A network called with effective weights, which autograd follows back to its own.

    Args:
        model: whose parameters are viewed, a tied one once.
        task: calls the model.
        views: each sees what the one before it has made; with none the network is called as it is.
    """

    def __init__(self, model: nn.Module, task: Task, views: Sequence[EffectiveWeights]) -> None:
        self._model, self._task, self._views = model, task, views
        self._called = _Called(model, task)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The task's loss and outputs in training."""
        if not self._views:
            return self._task.forward(self._model, batch)
        effective = {f"model.{name}": value for name, value in self._effective(is_training=True).items()}
        called: tuple[Tensor, Tensor] = torch.func.functional_call(self._called, effective, (batch,))
        return called

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


class _Called(nn.Module):
    """A model and its task as one module, so that torch can call it with other weights, whatever the task calls."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model, self._task = model, task

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._task.forward(self.model, batch)


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
