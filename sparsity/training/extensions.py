"""Where may a method touch training? Four small, optional protocols that the loop owns and `pruning` implements.

The order of a step is fixed: forward, objectives, backward, observers, gradient edits, optimiser, after-steps.
Every extension keeps its state in tensors changed in place, so that a step can be captured as a CUDA graph.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


class Objective(Protocol):
    """A term added to the loss; it sees the outputs and may own trainable parameters."""

    def term(self, outputs: Tensor) -> Tensor:
        """A scalar to be added to the loss of the batch that gave `outputs`."""
        ...

    def parameters(self) -> Iterable[nn.Parameter]:
        """Parameters of its own, which the optimiser trains beside the network's."""
        ...


class Observer(Protocol):
    """Looks at the gradients of the last step before each evaluation and changes nothing."""

    def observe(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Read weights and their unedited gradients, both in the order of `named_parameters()`."""
        ...


class GradientEdit(Protocol):
    """Changes the gradients in place between the backward pass and the optimiser."""

    def edit(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Edit `gradients`; both sequences are in the order of `named_parameters()`."""
        ...


class AfterStep(Protocol):
    """Changes the weights in place after the optimiser has moved them."""

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Edit `parameters`, given the rate of the step just made (0-dim, on the device; 0 after a stop)."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """An extension with per-step figures: 0-dim tensors on the device, under their names in the log."""

    recorded: dict[str, Tensor]


@runtime_checkable
class Stateful(Protocol):
    """An extension that a checkpoint must hold."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore in place what `state_dict` gave."""
        ...


@dataclass(frozen=True)
class Extensions:
    """All that a method adds to plain training; empty tuples are plain training, bit for bit."""

    objectives: tuple[Objective, ...] = ()
    observers: tuple[Observer, ...] = ()
    gradient_edits: tuple[GradientEdit, ...] = ()
    after_steps: tuple[AfterStep, ...] = ()

    def distinct(self) -> list[object]:
        """Each extension once, although one object may stand in several places."""
        members = (*self.objectives, *self.observers, *self.gradient_edits, *self.after_steps)
        return list(dict.fromkeys(members))
