"""The state of one pruning method on one network: its masks, what it adds to training, and which weights go next.

It knows tensors, not phases: the loop receives its parts through the loop's own protocols, and the pipeline says when
to prune and how much.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sparsity.pruning import budgets
from sparsity.pruning.budgets import Budget
from sparsity.pruning.masks import Masks
from sparsity.pruning.method import Method, Ramp, Steps
from sparsity.pruning.penalty import Strength
from sparsity.pruning.plateaus import Sizes
from sparsity.pruning.scores import Irrelevance, Score
from sparsity.pruning.selection import num_to_prune, select_by_column, select_smallest, select_within
from sparsity.pruning.summary import IrrelevanceProbe, sparsity
from sparsity.settings import PenaltySettings, ProtocolSettings, PrunerSettings

Tensors: TypeAlias = Mapping[str, Tensor]


class Pruner:
    """One method at work on one network.

    Args:
        model: its trainable parameters take part, tied tensors once.
        settings: penalty, budget, what is counted.
        build_method: the method, from what it asks for of `method.OFFERED`.
        fraction: of the remaining weights that one scheduled prune removes.
        steps: lengths of the phase.
        seed: the run's.
        score: of a weight, in the place of the method's own.
        protocol: whether lambda's counter moves before its use, whether that of controls is constant, and whether a
            tied tensor is counted and chosen once for each of its names, as torch's global_unstructured does: a weight
            goes with the first of them.
        ramp: of a sparsity that the method raises by itself.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: PrunerSettings,
        build_method: Callable[..., Method],
        fraction: float,
        steps: Steps,
        seed: int = 0,
        score: Score | None = None,
        protocol: ProtocolSettings | None = None,
        ramp: Ramp | None = None,
    ) -> None:
        protocol = protocol or ProtocolSettings()
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not parameters:
            raise ValueError(f"{type(model).__name__} has no trainable parameter: choose a network that can learn.")
        self._parameters, self._fraction, self._score, self._settings = parameters, fraction, score, settings
        self._counted = {name: p for name, p in parameters.items() if settings.counted == "all" or p.dim() > 1}
        names = {p: name for name, p in self._counted.items()}
        listed = model.named_parameters(remove_duplicate=not protocol.count_tied_as_listed)
        self._listed = {listing: names[p] for listing, p in listed if p in names}
        self.masks = Masks(parameters)
        irrelevance = Irrelevance.of(settings.penalty)
        self.probe = IrrelevanceProbe(irrelevance, self.masks.multipliers)
        device = next(iter(parameters.values())).device
        self.method = build_method(
            model=model,
            weights=parameters,
            counted=self._counted,
            masks=self.masks,
            strength=Strength(_penalty(settings.penalty, protocol), steps, device, int(protocol.count_before_use)),
            irrelevance=irrelevance,
            steps=steps,
            ramp=ramp or Ramp(0.0, steps.total, None),
            seed=seed,
        )

    @property
    def parts(self) -> tuple[object, ...]:
        """What takes part in training."""
        return self.method, self.probe, self.masks

    def observed(self) -> dict[str, float]:
        """By their names in the log, what probe and method saw of the last step observed."""
        return self.probe.values() | self.method.observed()

    @property
    def num_total(self) -> dict[str, int]:
        """Name -> number of weights, kept or not, of the parameters that are counted: only these are pruned."""
        return {name: p.numel() for name, p in self._counted.items()}

    @property
    def sparsity(self) -> float:
        """Pruned weights over all that are counted, in [0, 1]."""
        return sparsity(self.num_kept, sum(self.num_total.values()))

    @property
    def num_kept(self) -> int:
        """Weights that are left."""
        kept = self.masks.count_kept()
        return sum(kept[name] for name in self._counted)

    def refresh(self) -> None:
        """Let a method that decides by itself which weights are there say so."""
        kept = self.method.kept()
        if kept is not None:
            self.masks.replace(kept)

    @torch.no_grad()
    def finish(self) -> None:
        """Let the method make of the network what the phase hands on."""
        kept = self.method.finish()
        if kept is not None:
            self.masks.shrink(kept)

    def count_to(self, target: float) -> int:
        """How many weights a prune to the sparsity `target` removes; none if that is reached."""
        total = sum(self.num_total.values())
        return max(0, self.num_kept - (total - round(target * total)))

    def count_below(self, threshold: float) -> int:
        """How many of the weights that are left have a score below the threshold."""
        scores, kept = self._scores(), self.masks.kept
        return sum(int(((scores[name] < threshold) & kept[name]).sum()) for name in self._listed.values())

    def sizes(self) -> Sizes:
        """The scores of the weights that are left and not zero, of the tensors that are no vectors."""
        scores, kept = self._scores(), self.masks.kept
        left = [scores[name][kept[name] & (scores[name] > 0)] for name, p in self._counted.items() if p.dim() > 1]
        some = [each for each in left if len(each)]
        if not some:
            return Sizes(0.0, 0.0, 0.0)
        means = torch.stack([each.mean() for each in some])
        return Sizes(min(float(each.min()) for each in some), float(means.mean()), max(float(e.max()) for e in some))

    @torch.no_grad()
    def prune(self, count: int | None = None) -> None:
        """Remove `count` weights, smallest scores first, within the budget; None is the scheduled fraction."""
        count = num_to_prune(self._num_listed(), self._fraction) if count is None else count
        self.masks.shrink(self._selected(count))
        self.method.after_prune()

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

    def _num_listed(self) -> int:
        """Weights that are left, a tied one as often as it is listed."""
        kept = self.masks.count_kept()
        return sum(kept[name] for name in self._listed.values())

    def _selected(self, count: int) -> dict[str, Tensor]:
        """New masks without `count` of the kept weights: those of smallest score within the budget."""
        scores, masks = self._scores(), self.masks.kept
        kept = {name: masks[name] for name in self._counted}
        if self._settings.budget == "global":
            return self._selected_globally(scores, kept, count)
        target = sparsity(self.num_kept - count, sum(self.num_total.values()))
        if self._settings.budget == "column":
            return select_by_column(scores, kept, target)
        shapes = {name: keep.shape for name, keep in kept.items()}
        return select_within(scores, kept, self._budget(shapes, target))

    def _selected_globally(self, scores: Tensors, kept: Tensors, count: int) -> dict[str, Tensor]:
        """The tensors compete, each under every name that is listed of it."""
        listed, now = ({listing: of[name] for listing, name in self._listed.items()} for of in (scores, kept))
        new = select_smallest(listed, now, count)
        masks = dict(kept)
        for listing, name in self._listed.items():
            masks[name] = masks[name] & new[listing]
        return masks

    def _scores(self) -> dict[str, Tensor]:
        """Name -> scores of what is counted, by the score of the settings or else the method's.

        Raises:
            ValueError: if there is not one for each weight, or one of a weight that is left is below 0 or NaN.
        """
        weights, score = {name: p.detach() for name, p in self._counted.items()}, self._score
        scores = self.method.scores(weights) if score is None else {name: score(w) for name, w in weights.items()}
        for name, weight in weights.items():
            if scores[name].shape != weight.shape or scores[name].dtype != weight.dtype:
                raise ValueError(
                    f"The scores of {name} are {_described(scores[name])}, but its weights are {_described(weight)}: a "
                    "score is of its weight's shape and type."
                )
            self._check_ordered(name, scores[name])
        return {name: scores[name] for name in weights}

    def _check_ordered(self, name: str, scores: Tensor) -> None:
        if not scores.min() >= 0:  # NaN is the minimum wherever it is
            left = scores[self.masks.multipliers[name] != 0]  # what is pruned may have any score
            if not (left >= 0).all():
                raise ValueError(
                    f"The scores of {name} are to be at least 0, and their minimum is {float(left.min()):g}: give "
                    "sizes, of which the smallest go first."
                )

    @property
    def _budget(self) -> Budget:
        named: dict[str, Any] = {"uniform": budgets.uniform, "erk": budgets.erdos_renyi}
        budget: Budget = named.get(self._settings.budget) or budgets.given(self._settings.layer_sparsities)
        return budget


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"


def _penalty(settings: PenaltySettings, protocol: ProtocolSettings) -> PenaltySettings:
    """The penalty as the protocol has it."""
    is_constant = protocol.constant_lambda_of_controls and settings.is_control
    return replace(settings, decay="none") if is_constant else settings
