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
        first_count: of lambda's counter, see `Penalty`.
        as_listed: count and choose a tied tensor once for each of its names, as torch's global_unstructured does; a
            weight goes with the first of them.
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
        first_count: int = 0,
        as_listed: bool = False,
    ) -> None:
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._parameters, self._fraction, self._score = parameters, fraction, score
        names = {p: name for name, p in parameters.items()}
        listed = model.named_parameters(remove_duplicate=not as_listed)
        self._listed = {listing: names[p] for listing, p in listed if p in names}
        self.masks = Masks(parameters)
        self.probe = IrrelevanceProbe(list(parameters), settings.penalty, self.masks.multipliers)
        self.penalty: Penalty | None = None
        if settings.penalty.kind != "none":
            multipliers = list(self.masks.multipliers.values())
            self.penalty = Penalty(
                settings.penalty, steps_per_epoch, steps_per_evaluation, multipliers, pull, first_count
            )

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
        count = self._scheduled() if count is None else count
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

    def _scheduled(self) -> int:
        """How many of the weights listed one prune removes."""
        kept = self.masks.count_kept()
        return num_to_prune(sum(kept[name] for name in self._listed.values()), self._fraction)

    def _selected(self, count: int) -> dict[str, Tensor]:
        """New masks without the `count` smallest of the kept weights listed."""
        scores, kept = {name: self._score(p.detach()) for name, p in self._parameters.items()}, self.masks.kept
        scores, now = ({listing: of[name] for listing, name in self._listed.items()} for of in (scores, kept))
        new = select_smallest(scores, now, count)
        for listing, name in self._listed.items():
            kept[name] = kept[name] & new[listing]
        return kept
