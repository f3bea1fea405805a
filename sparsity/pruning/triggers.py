"""What a trigger is: asked before the first step and at each evaluation, it decides whether to prune, and how far."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decision:
    """Whether to prune now, and why or why not, in a few words.

    A prune removes the scheduled fraction of what is left, unless one of these says otherwise. to_sparsity: so many
    that the network's sparsity is this. within_bound: the most that the trigger's bound on the validation loss allows.
    below: all whose score is below it. is_best: the state is to be kept, as the best since the last prune. from_best:
    that state is put back first, and what goes is below the threshold that its loss allows.
    """

    prune: bool
    reason: str
    to_sparsity: float | None = None
    within_bound: bool = False
    below: float | None = None
    is_best: bool = False
    from_best: bool = False


class Trigger(ABC):
    """Says before the first step and at each evaluation whether to prune.

    Attributes:
        bound: of the metric or the loss that it goes by now, None where it goes by none.
        why: where that comes from.
        knows_its_end: whether the network at the end of the phase is as sparse as it was to become.
        remembered: names of the attributes that change, which a checkpoint holds.
    """

    bound: float | None = None
    why: str
    knows_its_end: bool = False
    remembered: tuple[str, ...] = ()

    def begin(self) -> Decision | None:
        """What is to be done before the first step; None: nothing."""
        return None

    @abstractmethod
    def decide(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """What is to be done at the evaluation after `step` steps of the phase."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.remembered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)
