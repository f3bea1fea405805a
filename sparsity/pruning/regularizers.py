"""How are weights pushed down? Penalties as in-place edits of the gradient, one backward pass and no host round trip.

With the irrelevance I held constant, the gradient of eq. 5 is dL/dw + 2 lambda I w. Handed to the ordinary optimiser it
goes through momentum and Adam's moments (coupled, as the authors do); decoupled it moves the weights directly.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sparsity.pruning.schedules import penalty_decay
from sparsity.pruning.scores import insensitivity, irrelevance
from sparsity.settings import PenaltySettings

Pull: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""d(penalty)/dw at lambda = 1 of one parameter, a new tensor, from the weight and its gradient of the loss alone."""


class Penalty:
    """A gradient edit (and, decoupled, an after-step) for `l1`, `l2`, `relevance`, `lobster` and `custom`.

    l1: lambda sum |w|. l2: lambda sum w^2. relevance: lambda sum I w^2, PAPER eq. 5. lobster: no penalty of the loss
    but w -= lambda w max(0, 1 - |g|) after the step, whatever its rate. custom: what `pull` says. Every trainable
    parameter takes part: biases and norms too, as in the authors' code.

    Args:
        settings: kind, lambda, alpha, decay.
        steps_per_epoch: steps after which the linear decay reaches zero.
        steps_per_evaluation: unit of the exponential decay's half-life.
        multipliers: 0/1 masks of the parameters, in their order; lambda and its counter live where they do.
        pull: of the kind `custom`.
        first_count: of lambda's counter after a prune: 0, or 1 where it moves before its use.
    """

    def __init__(
        self,
        settings: PenaltySettings,
        steps_per_epoch: int,
        steps_per_evaluation: int,
        multipliers: list[Tensor],
        pull: Pull | None = None,
        first_count: int = 0,
    ) -> None:
        self.settings, self._multipliers, self._custom = settings, multipliers, pull
        device = multipliers[0].device
        self._is_on_cpu = device.type == "cpu"  # elsewhere each operation is a launch: lists of tensors go in one
        self._steps = (steps_per_epoch, steps_per_evaluation)
        self._first_count = first_count
        self._count = torch.full((), float(first_count), device=device)
        self._strength = torch.zeros((), device=device)
        self._value = torch.zeros((), device=device)
        self._degree = 2 if settings.kind in ("l2", "relevance") else 1  # of the penalty in w, at constant I
        self._is_coupled = not settings.decoupled and settings.kind != "lobster"
        self._pull: list[Tensor] = []
        self.recorded = {"penalty/lambda": self._strength, "penalty/value": self._value}

    def edit(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Add the penalty's gradient to `gradients` in place; lambda's counter moves on by one step."""
        factor = penalty_decay(self.settings, self._count, *self._steps)
        torch.mul(factor, self.settings.strength, out=self._strength)
        self._count.add_(1)
        pull = self._direction(parameters, gradients)
        self._record_value(parameters, pull)
        torch._foreach_mul_(pull, self._degree * self._strength)
        if self._is_coupled:
            torch._foreach_add_(gradients, pull)  # Deviation 13
        else:
            self._pull = pull

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Not coupled only: w -= learning_rate * lambda * d(penalty)/dw, taken at the weights before the step."""
        if self._is_coupled:
            return
        rate = torch.ones_like(learning_rate) if self.settings.kind == "lobster" else learning_rate
        for parameter, pull in zip(parameters, self._pull, strict=True):
            # a rate of 0 is the stop after a non-finite loss, where the pull may be NaN
            parameter.sub_(torch.where(learning_rate > 0, rate * pull, 0.0))

    def restart(self) -> None:
        """Set lambda back to its full strength, as after each prune."""
        self._count.fill_(self._first_count)

    def state_dict(self) -> dict[str, Any]:
        """Steps since the last prune."""
        return {"count": self._count.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the steps since the last prune."""
        self._count.copy_(state["count"])

    def _direction(self, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """New tensors sign(w), w, I w or max(0, 1 - |g|) w: d(penalty)/dw at lambda = 1 but for the degree."""
        if self.settings.kind == "custom":
            assert self._custom is not None, "a custom penalty is built with its pull"
            return [self._custom(weight, gradient) for weight, gradient in zip(parameters, gradients, strict=True)]
        if self.settings.kind == "l1":
            return list(torch._foreach_sign(parameters))
        if self.settings.kind == "l2":
            return list(torch._foreach_mul(parameters, 1.0))
        if self.settings.kind == "lobster":
            pull = [insensitivity(gradient) for gradient in gradients]
        else:
            pull = self._irrelevance(gradients)
        torch._foreach_mul_(pull, parameters)
        return pull

    def _irrelevance(self, gradients: list[Tensor]) -> list[Tensor]:
        """I of each weight. The default form runs over all tensors at once: eq. 4 is on the hot path."""
        if self.settings.irrelevance == "exponential" and not self.settings.scale_free:
            values = list(torch._foreach_abs(gradients))
            if self._is_on_cpu:
                torch._foreach_mul_(values, -math.log2(math.e) / self.settings.alpha)
                for value in values:  # takes half the time of exp, and is not there for lists
                    value.exp2_()
            else:
                torch._foreach_mul_(values, -1 / self.settings.alpha)
                torch._foreach_exp_(values)
            return values
        kind, alpha, scale_free = self.settings.irrelevance, self.settings.alpha, self.settings.scale_free
        pairs = zip(gradients, self._multipliers, strict=True)
        return [irrelevance(gradient, alpha, kind, scale_free, multiplier) for gradient, multiplier in pairs]

    def _record_value(self, parameters: list[Tensor], direction: list[Tensor]) -> None:
        """Lambda sum w * direction, the penalty itself where it is homogeneous in w (Euler): all kinds but custom."""
        may_be_negative = self.settings.kind == "custom" or self.settings.irrelevance == "hyperbolic"
        if self._is_on_cpu or may_be_negative:
            dots = [torch.dot(_flat(p), _flat(w)) for p, w in zip(direction, parameters, strict=True)]
        else:  # a sum of absolute values, which lists have
            dots = list(torch._foreach_norm(torch._foreach_mul(direction, parameters), 1))
        self._value.copy_(torch.stack(dots).sum() * self._strength)


def _flat(tensor: Tensor) -> Tensor:
    """A 1-D view in memory order; a dense tensor has one in any memory format."""
    return tensor.as_strided((tensor.numel(),), (1,))
