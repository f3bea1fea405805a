"""Penalties as in-place edits of the gradient: one backward pass, no host round trip.

The gradient of a penalty at lambda = 1 is its *pull*. Handed to the ordinary optimiser, lambda times the pull goes
through momentum and Adam's moments (coupled, as the authors do); decoupled it moves the weights directly.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from sparsity.pruning.masks import unrolled
from sparsity.pruning.method import Method, Steps
from sparsity.pruning.schedules import penalty_decay
from sparsity.settings import PenaltySettings


class Strength:
    """Lambda: full after each prune, then falling as the settings say; a tensor on the device, changed in place.

    Args:
        settings: lambda's full value, its decay, and whether what it weighs goes through the optimiser.
        steps: units of the decay.
        device: where the weights lie.
        first_count: of its counter after a prune: 0, or 1 where it moves before its use.
    """

    def __init__(self, settings: PenaltySettings, steps: Steps, device: torch.device, first_count: int = 0) -> None:
        self.settings, self._steps, self._first_count = settings, steps, first_count
        self.value = torch.zeros((), device=device)
        self._count = torch.full((), float(first_count), device=device)

    def advance(self) -> Tensor:
        """Lambda of the step that is being made; its counter moves on by one step."""
        self.value.copy_(self.ahead())
        self._count.add_(1)
        return self.value

    def ahead(self) -> Tensor:
        """Lambda of the step that is made next."""
        factor = penalty_decay(self.settings, self._count, self._steps.per_epoch, self._steps.per_evaluation)
        return factor * self.settings.strength

    def restart(self) -> None:
        """Set lambda back to its full strength, as after each prune."""
        self._count.fill_(self._first_count)

    def state_dict(self) -> dict[str, Any]:
        """Steps since the last prune."""
        return {"count": self._count.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the steps since the last prune."""
        self._count.copy_(state["count"])


class Penalty(Method):
    """A gradient edit and, decoupled, an after-step; a subclass says the pull.

    Every weight that takes part is pulled: biases and norms too, as in the authors' code.

    Attributes:
        degree: the pull is this times `direction`: 2 for a penalty of the second degree in w, else 1.
        rate_free: whether, decoupled, the learning rate does not weigh the pull.

    Args:
        strength: lambda.
    """

    degree = 1
    rate_free = False

    def __init__(self, strength: Strength) -> None:
        self._strength = strength
        self._value = torch.zeros_like(strength.value)
        self._is_coupled = not (strength.settings.decoupled or self.rate_free)
        self._pull: list[Tensor] = []
        self.recorded = {"penalty/lambda": strength.value}

    @property
    def moves_weights(self) -> bool:
        """Whether `after_step` does anything: where the pull does not go through the optimiser."""
        return not self._is_coupled

    @abstractmethod
    def direction(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """The pull over `degree`, one new tensor a parameter, from the weights and their gradients of the loss."""

    def observe(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Take down lambda sum w * direction: the penalty itself where it is homogeneous in w (Euler).

        Summed up at each step it would cost half as much as the edit.
        """
        pull = self.direction(parameters, gradients)
        dots = [torch.dot(unrolled(of), unrolled(weight)) for of, weight in zip(pull, parameters, strict=True)]
        self._value.copy_(torch.stack(dots).sum() * self._strength.ahead())

    def observed(self) -> dict[str, float]:
        """`penalty/value` of the last step observed."""
        return {"penalty/value": float(self._value)}

    def edit(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Add lambda times the pull to `gradients` in place, or keep it for `after_step`."""
        strength = self._strength.advance()
        pull = self.direction(parameters, gradients)
        torch._foreach_mul_(pull, self.degree * strength)
        if self._is_coupled:
            torch._foreach_add_(gradients, pull)  # Deviation 13
        else:
            self._pull = pull

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Not coupled only: w -= learning_rate * lambda * pull, taken at the weights before the step."""
        if self._is_coupled:
            return
        rate = torch.ones_like(learning_rate) if self.rate_free else learning_rate
        for parameter, pull in zip(parameters, self._pull, strict=True):
            # a rate of 0 is the stop after a non-finite loss, where the pull may be NaN
            parameter.sub_(torch.where(learning_rate > 0, rate * pull, 0.0))

    def after_prune(self) -> None:
        """Lambda back at its full strength."""
        self._strength.restart()

    def state_dict(self) -> dict[str, Any]:
        """Lambda's counter."""
        return self._strength.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore lambda's counter."""
        self._strength.load_state_dict(state)
