"""A pruning method on one network: what the class of a file in `methods` may say, each part optional.

Its constructor asks by name for what it needs of OFFERED; its other arguments are knobs, set under `pruner.method`.
What it does to training it says by implementing protocols of `sparsity.training.extensions`: a term of the loss, an
edit of the gradients, a change after each step, effective weights, a layer's own forward pass, gradients before the
first step. Where it begins, which weights go, and what follows a prune, it says by the methods of `Method` below.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparsity.pruning.scores import magnitude

OFFERED = ("model", "weights", "counted", "masks", "strength", "irrelevance", "steps", "ramp", "seed")
"""What a constructor may ask for: the network; name -> parameter of those that take part; the same of those of which
weights may go; their `Masks`; lambda, a `Strength`; the `Irrelevance` of the settings; the phase's `Steps`; the `Ramp`
of the settings; the run's seed."""


@dataclass(frozen=True)
class Steps:
    """The lengths that a method counts in: steps of its phase, of an epoch, and from one evaluation to the next.

    num_examples: of the training data, N: what a term that stands once for all of them is divided by.
    """

    total: int
    per_epoch: int
    per_evaluation: int
    num_examples: int = 1


@dataclass(frozen=True)
class Ramp:
    """The way of a sparsity that a method raises by itself: from 0 after `begin` steps to its end after `end`."""

    begin: float
    end: float
    final_sparsity: float | None

    def passed(self, count: Tensor) -> Tensor:
        """The share of the way, in [0, 1], that lies behind `count` steps; computed on the device."""
        return ((count - self.begin) / max(self.end - self.begin, 1e-9)).clamp(0.0, 1.0)


class Method:
    """Magnitude pruning: what a method is that says nothing else.

    Attributes:
        only_finishes: whether weights go at the end of the phase only, so that nobody need wait for it before.
    """

    only_finishes = False

    def begin(self) -> None:
        """Called once, before the first step, when the weights are those that the phase starts from; not on a resume.

        Raises:
            ValueError: if the method cannot begin from them.
        """

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name -> score of each weight, at least 0, of its shape and type; the smallest of those kept go first."""
        return {name: magnitude(weight) for name, weight in weights.items()}

    def observed(self) -> dict[str, float]:
        """What the row of an evaluation tells of the step before it, as a method that is an `Observer` saw it."""
        return {}

    def after_prune(self) -> None:
        """Called after each prune, when masks and weights are as they will be."""

    def kept(self) -> dict[str, Tensor] | None:
        """Name -> boolean mask, where the method itself says which weights are there, asked at each evaluation.

        None, as here, leaves that to the prunes; who answers has `pruner.trigger=own`.
        """
        return None

    def finish(self) -> dict[str, Tensor] | None:
        """Called when the phase has ended: a last change of the weights in place, and name -> mask of what is left.

        The same state gives the same result: a run that goes on later calls it again. None, as here: nothing changes.
        """
        return None
