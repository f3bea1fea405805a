"""Magnitude pruning with a threshold per layer: the small weights of each go, the others are trained again.

Rule: w goes where |w| < q std(w), the deviation of its own tensor; what is left keeps its value and is trained again,
at a lower rate, and so on in rounds (`schedule.every_evaluations`). Source: Han et al. 2015 (arXiv 1506.02626); its q
are not published. Knobs: q, remaining.
"""

from collections.abc import Mapping

from torch import Tensor

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method
from sparsity.pruning.patterns import by_name
from sparsity.pruning.scores import magnitude


class Han(Method):
    """Scores by |w| / (q std(w)): what is below 1 is below its threshold.

    Args:
        counted: name -> parameter of those that may be pruned.
        masks: of the network.
        q: in deviations, the threshold of each tensor.
        q_of: pattern of a parameter's name -> its q, where it is not `q`.
        remaining: whether the deviation is that of the weights that are left, so that each round goes further; else of
            all, those that went as zeros: a later round then takes what has shrunk since.
    """

    def __init__(
        self,
        counted: Mapping[str, Tensor],
        masks: Masks,
        q: float = 1.0,
        q_of: Mapping[str, float] | None = None,
        remaining: bool = False,
    ) -> None:
        self._q, self._masks, self._remaining = by_name(counted, q, q_of or {}, "pruner.method.q_of"), masks, remaining

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """|w| over the threshold of its tensor."""
        kept = self._masks.kept
        return {
            name: magnitude(weight) / (self._q[name] * self._of_deviation(weight, kept[name]).std(correction=0))
            for name, weight in weights.items()
        }

    def _of_deviation(self, weight: Tensor, kept: Tensor) -> Tensor:
        return weight[kept] if self._remaining else weight
