"""Dynamic Network Surgery: weights below a threshold are masked, go on training, and return when they outgrow it.

Forward: mask * w; the gradient of the product is the gradient of all of w, masked or not. Thresholds: of each layer,
weights and bias together, t = max(0, mean |w| + c std |w|) of the weights that the phase starts from, then fixed. A
mask goes off where |w| <= low t and on where |w| > high t; with probability (1 + gamma i)^-power a layer looks at
iteration i, until `schedule.end`. Source: Guo et al. 2016 (arXiv 1608.04493) and its Caffe code, where the deviation is
that of the magnitudes. Knobs: c, gamma, power, low, high. Sparsity is an outcome.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method, Ramp
from sparsity.pruning.patterns import by_name


class Dns(Method):
    """w_effective = mask * w, straight through to w.

    The masks are the network's own, changed in place on the device. Norms, which have no weights beside them, are never
    masked. What momentum gathers for a masked weight is wanted here.

    Args:
        counted: name -> parameter of those that may be masked.
        masks: of the network.
        ramp: masks are fixed where it ends.
        c: in deviations, how far above the mean magnitude of a layer the threshold lies.
        c_of: pattern of a parameter's name -> its c, where it is not `c`.
        gamma, power: of the probability that a layer looks at its masks.
        low, high: shares of the threshold between which a mask stays what it is.
    """

    def __init__(
        self,
        counted: Mapping[str, Tensor],
        masks: Masks,
        ramp: Ramp,
        c: float = 1.0,
        c_of: Mapping[str, float] | None = None,
        gamma: float = 1e-4,
        power: float = 1.0,
        low: float = 0.9,
        high: float = 1.1,
    ) -> None:
        masks.let_return()
        self._layers = _layers(counted)
        names = [name for layer in self._layers for name in layer]
        self._weights, self._masks = {name: counted[name] for name in names}, masks.multipliers
        self._c = by_name(names, c, c_of or {}, "pruner.method.c_of")
        self._gamma, self._power, self._end, self._low, self._high = gamma, power, ramp.end, low, high
        device = next(iter(counted.values())).device
        self._thresholds = {name: torch.zeros((), device=device, dtype=counted[name].dtype) for name in names}
        self._iteration = torch.zeros((), dtype=torch.int64, device=device)

    @torch.no_grad()
    def begin(self) -> None:
        """Fix the thresholds and take the first look."""
        for layer in self._layers:
            magnitudes = torch.cat([self._weights[name].flatten() for name in layer]).abs()
            magnitudes = magnitudes[magnitudes != 0]
            mean, deviation = magnitudes.mean(), magnitudes.std(correction=0)
            for name in layer:
                self._thresholds[name].copy_((mean + self._c[name] * deviation).clamp_min(0.0))
        self._look(torch.ones_like(self._iteration, dtype=torch.bool).expand(len(self._layers)))
        for name, mask in self._masks.items():
            if mask.dim() > 1 and not mask.any():
                raise ValueError(
                    f"No weight of {name} is above its threshold, so that nothing would pass: lower pruner.method.c, "
                    "or begin with a trained network, whose weights differ more in size (baseline=train)."
                )

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        """The masked weight, whose gradient in training is that of the whole weight."""
        if name not in self._weights:
            return weight
        if not is_training:
            return weight * self._masks[name]
        masked: Tensor = _StraightThrough.apply(weight, self._masks[name])
        return masked

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Look at the masks of the layers that are drawn, before the next iteration."""
        self._iteration.add_(1)
        drawn = torch.rand(len(self._layers), device=self._iteration.device) < self.probability(self._iteration)
        self._look(drawn & (self._iteration < self._end))

    def probability(self, iteration: Tensor) -> Tensor:
        """With which a layer looks at its masks at an iteration, counted from 0."""
        return (1 + self._gamma * iteration) ** -self._power

    def state_dict(self) -> dict[str, Any]:
        """Iteration and thresholds; the masks are the network's."""
        return {"iteration": self._iteration.clone(), "thresholds": {n: t.clone() for n, t in self._thresholds.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the iteration and the thresholds."""
        self._iteration.copy_(state["iteration"])
        for name, threshold in state["thresholds"].items():
            self._thresholds[name].copy_(threshold)

    def _look(self, drawn: Tensor) -> None:
        """New masks for the layers of which `drawn`, boolean [number of layers], is true."""
        for is_drawn, layer in zip(drawn, self._layers, strict=True):
            for name in layer:
                mask, threshold = self._masks[name], self._thresholds[name]
                # what is not drawn has limits that change nothing
                most = torch.finfo(threshold.dtype).max
                low = torch.where(is_drawn, self._low * threshold, -1.0)
                high = torch.where(is_drawn, self._high * threshold, most)
                torch.gt(self._weights[name].abs(), torch.where(mask != 0, low, high), out=mask)


class _StraightThrough(torch.autograd.Function):
    """weight * mask, whose gradient is the weight's as it is: one pass over the memory, and none backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, mask: Tensor) -> Tensor:
        return weight * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _layers(parameters: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of the parameters that stand in one module, where one of them is a matrix or a kernel."""
    modules: dict[str, list[str]] = {}
    for name in parameters:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    return [names for names in modules.values() if any(parameters[name].dim() > 1 for name in names)]
