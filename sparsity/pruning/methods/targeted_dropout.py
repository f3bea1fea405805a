"""Targeted dropout: what would be pruned anyway is dropped in training, so that the network learns to do without it.

Rule: of each output column, a filter or a neuron, the floor(gamma n) smallest |w| are candidates, anew at each step;
each is dropped with probability alpha, and what stays is not rescaled. An evaluation drops all candidates. `unit`: the
candidates are whole columns, by their L2 norm. Ramping, alpha rises in a straight line, and gamma to 95 % of its end in
half of that time. Source: Gomez et al. 2019 (arXiv 1905.13678). Takes part: every tensor with columns; biases and
norms stay.

A step looks for the smallest of each column and draws a number for each weight, by the rule itself: on a CPU LeNet-5
takes half as long again.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method, Ramp
from sparsity.pruning.selection import largest, select_by_column

UNITS = ("weight", "unit")


class TargetedDropout(Method):
    """Effective weights without those candidates that were drawn, and in evaluation without any.

    Args:
        counted: name -> parameter; those of two or more dimensions take part.
        masks: follow the candidates, which may change.
        ramp: from where to where gamma and alpha rise, if they do.
        gamma: share of a column's weights, or of a tensor's columns, that are candidates, in [0, 1].
        alpha: probability that a candidate is dropped, in [0, 1].
        unit: weight or unit.
        ramps: whether gamma and alpha rise from 0.
        cut: share that evaluations drop and that is gone at the end, in the place of gamma, in [0, 1].

    Raises:
        ValueError: if `unit` is neither, or a share is none.
    """

    def __init__(
        self,
        counted: Mapping[str, Tensor],
        masks: Masks,
        ramp: Ramp,
        gamma: float,
        alpha: float,
        unit: str = "weight",
        ramps: bool = False,
        cut: float | None = None,
    ) -> None:
        if unit not in UNITS:
            raise ValueError(f"pruner.method.unit={unit} is unknown; choose one of {', '.join(UNITS)}.")
        for knob, share in {"gamma": gamma, "alpha": alpha, "cut": cut or 0.0}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"pruner.method.{knob}={share:g} is out of range; it must be between 0 and 1.")
        masks.let_return()
        self._weights = {name: weight for name, weight in counted.items() if weight.dim() > 1}
        self._ramp, self._ramps, self._unit, self._cut = ramp, ramps, unit, cut
        self._most = gamma, alpha
        # float64: a column's floor(gamma n) is then the same as in Python
        zero = torch.zeros((), dtype=torch.float64, device=next(iter(counted.values())).device)
        self._count, self._gamma, self._alpha = zero, zero.clone(), zero.clone()
        self._set_shares()
        shares = {"targeted_dropout/gamma": self._gamma, "targeted_dropout/alpha": self._alpha}
        self.recorded = shares if ramps else {}

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        """The weight without what is dropped."""
        if name not in self._weights:
            return weight
        if not is_training:
            return weight * self._left(weight)
        sizes = self._sizes(weight)
        stays = (sizes >= self._smallest_safe(sizes)) | (torch.rand_like(sizes) >= self._alpha)
        return weight * self._spread(stays, weight).to(weight.dtype)  # on a CPU a quarter of masked_fill's time

    def kept(self) -> dict[str, Tensor]:
        """All but the candidates."""
        return {name: self._left(weight).expand_as(weight) for name, weight in self._weights.items()}

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Move gamma and alpha on by one step."""
        self._count.add_(1)
        self._set_shares()

    def state_dict(self) -> dict[str, Any]:
        """Steps made."""
        return {"count": self._count.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the steps made, and with them gamma and alpha."""
        self._count.copy_(state["count"])
        self._set_shares()

    def _set_shares(self) -> None:
        gamma, alpha = self._most
        passed = self._ramp.passed(self._count) if self._ramps else torch.ones_like(self._count)
        self._alpha.copy_(alpha * passed)
        self._gamma.copy_(gamma * torch.minimum(1.9 * passed, 0.9 + 0.1 * passed))

    def _sizes(self, weight: Tensor) -> Tensor:
        """|w| as [columns, weights of one], or the columns' norms as [1, columns]."""
        columns = weight.detach().flatten(1)
        return columns.abs() if self._unit == "weight" else columns.norm(dim=1).unsqueeze(0)

    def _smallest_safe(self, sizes: Tensor) -> Tensor:
        """Of each row the smallest that is no candidate, [rows, 1]. Of equal ones at this place all are safe."""
        num_safe = sizes.shape[1] - (self._gamma * sizes.shape[1] + 1e-9).long()
        return largest(sizes, num_safe.clamp_min(1)).masked_fill(num_safe == 0, torch.inf)

    def _left(self, weight: Tensor) -> Tensor:
        """Where an evaluation has a weight; it may ask the device for gamma."""
        sizes = self._sizes(weight)
        share = float(self._gamma) if self._cut is None else self._cut
        return self._spread(select_by_column({"": sizes}, {"": sizes >= 0}, share)[""], weight)

    def _spread(self, of_sizes: Tensor, weight: Tensor) -> Tensor:
        """A mask of what was measured as one that fits the weight."""
        if self._unit == "weight":
            return of_sizes.view_as(weight)
        return of_sizes.view(-1, *[1] * (weight.dim() - 1))
