"""What is a pruner? A penalty, masks and a selection rule, put together from the settings.

`pruners` knows tensors, not phases: the loop receives its parts through the loop's own protocols, and the pipeline says
when to prune.
"""

import torch
from torch import Tensor, nn

from sparsity.pruning.masks import Masks
from sparsity.pruning.regularizers import Penalty
from sparsity.pruning.scores import magnitude
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
    """

    def __init__(
        self,
        model: nn.Module,
        settings: PrunerSettings,
        fraction: float,
        steps_per_epoch: int,
        steps_per_evaluation: int,
    ) -> None:
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._parameters, self._fraction = parameters, fraction
        self.masks = Masks(parameters)
        self.probe = IrrelevanceProbe(list(parameters), settings.penalty, self.masks.multipliers)
        self.penalty: Penalty | None = None
        if settings.penalty.kind != "none":
            multipliers = list(self.masks.multipliers.values())
            self.penalty = Penalty(settings.penalty, steps_per_epoch, steps_per_evaluation, multipliers)

    @property
    def num_total(self) -> dict[str, int]:
        """Name -> number of weights, kept or not."""
        return {name: p.numel() for name, p in self._parameters.items()}

    @property
    def sparsity(self) -> float:
        """Pruned weights over all weights, in [0, 1]."""
        return sparsity(sum(self.masks.count_kept().values()), sum(self.num_total.values()))

    @torch.no_grad()
    def prune(self) -> None:
        """Remove one fraction of the remaining weights, smallest magnitudes first, and restart lambda."""
        count = num_to_prune(sum(self.masks.count_kept().values()), self._fraction)
        self.masks.shrink(select_smallest(self._scores(), self.masks.kept, count))
        if self.penalty is not None:
            self.penalty.restart()

    def _scores(self) -> dict[str, Tensor]:
        return {name: magnitude(parameter) for name, parameter in self._parameters.items()}
