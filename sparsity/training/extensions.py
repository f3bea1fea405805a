"""Where a method may touch training: small, optional protocols that the loop owns and `pruning` implements.

The order of a step is fixed: effective weights, forward, objectives, backward, observers, gradient edits, masks,
optimiser, after-steps. Every extension keeps its state in tensors changed in place and draws noise from torch's own
generators, so that a step can be captured as a CUDA graph and a checkpoint holds all that the next step depends on. All
lists of tensors are in the order of `named_parameters()`, a tied tensor once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from sparsity.training.tasks import Batch

Forward: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""A layer's forward pass: the layer and its input to its output."""


@dataclass(frozen=True)
class OwnParameters:
    """Parameters that an objective trains beside the network's.

    learning_rate: their constant rate, None for the network's own. weight_decay: the optimiser's for them.
    """

    parameters: list[nn.Parameter]
    learning_rate: float | None = None
    weight_decay: float = 0.0


@runtime_checkable
class Objective(Protocol):
    """A term added to the loss; it sees the outputs and the batch and may own trainable parameters."""

    def term(self, outputs: Tensor, batch: Batch) -> Tensor:
        """A scalar to be added to the loss of the `batch` that gave `outputs`; their graph is still there."""
        ...

    def own_parameters(self) -> list[OwnParameters]:
        """Parameters of its own; a checkpoint holds them if its `state_dict` does."""
        ...


@runtime_checkable
class EffectiveWeights(Protocol):
    """What the forward pass uses in the place of the weights, in training and in evaluation.

    The weights themselves are trained through it, straight through where it says so (`w + (effective - w).detach()`).
    A network that is kept or handed on has plain weights: the effective ones of evaluation.
    """

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        """The effective weight of the parameter called `name`; `weight` itself where there is nothing to change."""
        ...


@runtime_checkable
class LayerForward(Protocol):
    """Forward passes of its own for some linear layers or convolutions in training; an evaluation uses the plain."""

    def forwards(self) -> Mapping[str, Forward]:
        """Module name -> what takes the place of its forward pass while it is in training mode."""
        ...


@runtime_checkable
class Scoring(Protocol):
    """Sees the gradients of some batches before the first step, as methods do that prune at initialisation."""

    num_scoring_batches: int

    def take_gradients(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Weights, and the mean gradient of the loss over `num_scoring_batches` batches."""
        ...


@runtime_checkable
class Observer(Protocol):
    """Looks at the gradients of the last step before each evaluation and changes nothing."""

    def observe(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Read weights and their unedited gradients."""
        ...


@runtime_checkable
class GradientEdit(Protocol):
    """Changes the gradients in place between the backward pass and the optimiser."""

    def edit(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Edit `gradients`."""
        ...


@runtime_checkable
class AfterStep(Protocol):
    """Changes the weights in place after the optimiser has moved them.

    One that moves none, in this run at least, may say so: `moves_weights = False`.
    """

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Edit `parameters`, given the rate of the step just made (0-dim, on the device; 0 after a stop)."""
        ...


@runtime_checkable
class Masking(Protocol):
    """Weights that are zero and that the loop keeps so, whatever the optimiser and other extensions do.

    It masks their gradients and, whenever `version` is another one, the optimiser's state, without which momentum and
    Adam would revive them; and the weights themselves where an after-step moves weights. Masking these after each step
    anyway would cost another pass over the memory and change none.
    """

    version: int

    @property
    def held(self) -> Mapping[str, Tensor]:
        """Parameter name -> 0/1 multiplier of its shape, changed in place; all of them, or none."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """An extension with values of its own at each step: 0-dim tensors on the device, under their names in the log."""

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
    effective_weights: tuple[EffectiveWeights, ...] = ()
    layer_forwards: tuple[LayerForward, ...] = ()
    scorings: tuple[Scoring, ...] = ()
    observers: tuple[Observer, ...] = ()
    gradient_edits: tuple[GradientEdit, ...] = ()
    after_steps: tuple[AfterStep, ...] = ()
    maskings: tuple[Masking, ...] = ()
    stateful: tuple[Stateful, ...] = ()

    @classmethod
    def of(cls, parts: Iterable[object]) -> "Extensions":
        """Each part wherever it implements a protocol, in the order given."""
        members = tuple(parts)
        return cls(
            objectives=tuple(part for part in members if isinstance(part, Objective)),
            effective_weights=tuple(part for part in members if isinstance(part, EffectiveWeights)),
            layer_forwards=tuple(part for part in members if isinstance(part, LayerForward)),
            scorings=tuple(part for part in members if isinstance(part, Scoring)),
            observers=tuple(part for part in members if isinstance(part, Observer)),
            gradient_edits=tuple(part for part in members if isinstance(part, GradientEdit)),
            after_steps=tuple(part for part in members if isinstance(part, AfterStep)),
            maskings=tuple(part for part in members if isinstance(part, Masking)),
            stateful=tuple(part for part in members if isinstance(part, Stateful)),
        )

    def distinct(self) -> list[object]:
        """Each extension once, although one object may stand in several places."""
        effects = (*self.objectives, *self.effective_weights, *self.layer_forwards, *self.scorings)
        members = (*effects, *self.observers, *self.gradient_edits, *self.after_steps, *self.maskings, *self.stateful)
        return list(dict.fromkeys(members))
