"""Movement pruning: a weight is kept for where training moves it, away from zero, and not for where it stands.

Each weight w has a score S, at first 0; the network computes with w' = w m, and m is 1 where S is among the largest
(hard: so many of each tensor, fewer by a cubic schedule) or where sigmoid(S) > tau (soft: tau and the weight of the
term lambda mean sigmoid(S) rise by that schedule). The gradient goes straight through to the scores, dL/dS = dL/dw' w,
so that S gathers -dL/dw' w also of weights that are not there now and may return; dL/dw = dL/dw' m. Source: Sanh et al.
2020 (arXiv 2005.07683), for BERT. Knobs: below; the schedule is that of `schedule`, to the sparsity of `gate`.

A step looks for the largest of all scores and trains as many of them as weights, by the rule itself: on a CPU LeNet-5
takes half as long again.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method, Ramp
from sparsity.pruning.schedules import cubic
from sparsity.pruning.selection import keep_largest
from sparsity.training.extensions import OwnParameters

SCOPES = ("tensor", "network")


class Movement(Method):
    """Learns which weights are there; those that have no score, biases and norms among them, always are.

    Args:
        model: whose embeddings are known by their class, a tied head with them.
        counted: the parameters that may go, of which matrices and convolutions have scores.
        masks: may return.
        ramp: of the sparsity of the weights with scores, and, soft, of the threshold and lambda.
        score_rate: the scores' own learning rate.
        scope: whether so many of each tensor are kept, or of the whole network.
        embeddings: whether they have scores as well.
        is_soft: whether a threshold decides, and how many are left is not given.
        threshold: tau, where the schedule ends.
        score_penalty: lambda of the soft form, likewise.
        least_kept: of each tensor, the soft form keeps this share whatever the scores.

    Raises:
        ValueError: if no weight would have a score, the scope is unknown, or the hard form has no sparsity to go to.
    """

    def __init__(
        self,
        model: nn.Module,
        counted: Mapping[str, Tensor],
        masks: Masks,
        ramp: Ramp,
        score_rate: float = 1e-2,
        scope: str = "tensor",
        embeddings: bool = False,
        is_soft: bool = False,
        threshold: float = 0.1,
        score_penalty: float = 1.0,
        least_kept: float = 0.005,
    ) -> None:
        embedded = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
        scored = {name: w for name, w in counted.items() if w.dim() > 1 and (embeddings or w not in embedded)}
        _check(scored, scope, ramp, is_soft)
        masks.let_return()
        self._masks, self._ramp, self._rate, self._is_soft = masks, ramp, score_rate, is_soft
        self._threshold, self._score_penalty, self._least_kept = threshold, score_penalty, least_kept
        self._scores = {name: nn.Parameter(torch.zeros_like(weight)) for name, weight in scored.items()}
        names = list(scored)
        self._groups = [names] if scope == "network" and not is_soft else [[name] for name in names]
        device = next(iter(scored.values())).device
        self._count = torch.zeros((), dtype=torch.float64, device=device)
        self._kept_share = torch.ones((), device=device)
        self.recorded = {"movement/kept": self._kept_share}

    def effective(self, name: str, weight: Tensor, is_training: bool) -> Tensor:
        """The weight where it is kept, else 0; autograd follows it to the kept weights and to all scores."""
        score = self._scores.get(name)
        if score is None:
            return weight
        return weight * (self._masks.multipliers[name] + (score - score.detach()))

    def term(self, outputs: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        """Soft: lambda times the mean over the tensors of each one's mean sigmoid(S); hard: 0."""
        if not self._is_soft:
            return torch.zeros_like(self._kept_share)
        means = torch.stack([torch.sigmoid(score).mean() for score in self._scores.values()])
        return (self._score_penalty * self._risen()).to(means.dtype) * means.mean()

    def own_parameters(self) -> list[OwnParameters]:
        """The scores, without weight decay."""
        return [OwnParameters(list(self._scores.values()), self._rate)]

    def after_step(self, parameters: list[Tensor], learning_rate: Tensor) -> None:
        """Choose anew what is there in the next step."""
        self._count.add_(1)
        self._masks.replace(self.kept())

    @torch.no_grad()
    def kept(self) -> dict[str, Tensor]:
        """The masks as scores and schedule have them now."""
        masks: dict[str, Tensor] = {}
        counts = []
        for names in self._groups:
            scores: list[Tensor] = [self._scores[name] for name in names]
            count = self._num_above(scores[0]) if self._is_soft else self._num_kept(scores)
            masks |= zip(names, keep_largest(scores, count), strict=True)
            counts.append(count)
        total = sum(score.numel() for score in self._scores.values())
        self._kept_share.copy_(torch.stack(counts).sum() / total)
        return masks

    def state_dict(self) -> dict[str, Any]:
        """The scores, and the steps that were made."""
        return {"scores": {name: s.detach().clone() for name, s in self._scores.items()}, "count": self._count.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them; the masks stand in the checkpoint beside them."""
        for name, score in state["scores"].items():
            self._scores[name].data.copy_(score)
        self._count.copy_(state["count"])

    def _risen(self) -> Tensor:
        """How far the schedule has risen, in [0, 1]."""
        return cubic(self._ramp.passed(self._count))

    def _num_kept(self, scores: list[Tensor]) -> Tensor:
        """Hard: how many of these weights the schedule leaves."""
        total, final = sum(score.numel() for score in scores), self._ramp.final_sparsity or 0.0
        return (total - torch.round(final * self._risen() * total)).long()

    def _num_above(self, score: Tensor) -> Tensor:
        """Soft: how many scores of a tensor are above the threshold, the least share of it at least."""
        least = max(1, math.ceil(self._least_kept * score.numel()))
        return (torch.sigmoid(score) > self._threshold * self._risen()).sum().clamp_min(least)


def _check(scored: Mapping[str, Tensor], scope: str, ramp: Ramp, is_soft: bool) -> None:
    if not scored:
        raise ValueError("pruner=movement scores matrices and convolutions, and of the network's none may be pruned.")
    if scope not in SCOPES:
        raise ValueError(f"pruner.method.scope={scope} is unknown; choose one of {', '.join(SCOPES)}.")
    if not is_soft and ramp.final_sparsity is None:
        raise ValueError(
            "pruner=movement prunes to a sparsity that is not given: set gate.target_sparsity, e.g. "
            "gate.target_sparsity=0.9, or pruner.method.is_soft=true."
        )
