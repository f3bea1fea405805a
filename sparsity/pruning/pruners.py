"""What is a pruner? A penalty, masks and a selection rule, put together from the settings.

`pruners` knows tensors, not phases: the loop receives its parts through the loop's own protocols, and the pipeline says
when to prune.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsity.pruning.masks import Masks
from sparsity.pruning.regularizers import Penalty, Pull
from sparsity.pruning.scores import Score, magnitude
from sparsity.pruning.selection import num_to_prune, select_smallest
from sparsity.pruning.summary import IrrelevanceProbe, sparsity
from sparsity.settings import PrunerSettings


class Pruner:
    """The state of one pruning method on one network.

    Args:
        model: its trainable parameters are penalised and pruned, tied tensors once.
        settings: which penalty, and whether weights are removed.
        fraction: of the remaining weights that one prune removes.
        steps_per_epoch: unit of the linear decay of lambda.
        steps_per_evaluation: unit of the exponential decay of lambda.
        pull: of a penalty whose kind is `custom`.
        score: of the weights; the smallest go first.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: PrunerSettings,
        fraction: float,
        steps_per_epoch: int,
        steps_per_evaluation: int,
        pull: Pull | None = None,
        score: Score = magnitude,
    ) -> None:
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._parameters, self._fraction, self._score = parameters, fraction, score
        self.masks = Masks(parameters)
        self.probe = IrrelevanceProbe(list(parameters), settings.penalty, self.masks.multipliers)
        self.penalty: Penalty | None = None
        if settings.penalty.kind != "none":
            multipliers = list(self.masks.multipliers.values())
            self.penalty = Penalty(settings.penalty, steps_per_epoch, steps_per_evaluation, multipliers, pull)

    @property
    def num_total(self) -> dict[str, int]:
        """Name -> number of weights, kept or not."""
        return {name: p.numel() for name, p in self._parameters.items()}

    @property
    def sparsity(self) -> float:
        """Pruned weights over all weights, in [0, 1]."""
        return sparsity(self.num_kept, sum(self.num_total.values()))

    @property
    def num_kept(self) -> int:
        """Weights that are left."""
        return sum(self.masks.count_kept().values())

    @torch.no_grad()
    def prune(self, count: int | None = None) -> None:
        """Remove `count` weights, smallest scores first, and restart lambda; None is the scheduled fraction."""
        count = num_to_prune(self.num_kept, self._fraction) if count is None else count
        self.masks.shrink(self._selected(count))
        if self.penalty is not None:
            self.penalty.restart()

    @contextmanager
    def without(self, count: int) -> Iterator[None]:
        """The network as it would be if `count` weights were removed now; afterwards it is as it was."""
        weights = {name: p.detach().clone() for name, p in self._parameters.items()}
        with torch.no_grad():
            for name, keep in self._selected(count).items():
                self._parameters[name].mul_(keep)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(weights[name])

    def _selected(self, count: int) -> dict[str, Tensor]:
        """New masks without the `count` smallest of the kept weights."""
        scores = {name: self._score(p.detach()) for name, p in self._parameters.items()}
        return select_smallest(scores, self.masks.kept, count)
