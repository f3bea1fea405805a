"""What a phase does at its evaluations: a controller looks at one, acts on the weights, and says what was done."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sparsity.run.kept_states import State
from sparsity.training.loop import Evaluation


class Controller(Protocol):
    """What a phase does at its evaluations; stateful, so that it stands in the checkpoint."""

    def begin(self) -> None:
        """Act on the weights before the first step, if need be; never called again after a resume."""
        ...

    def act(self, evaluation: Evaluation) -> "Action":
        """Look at one evaluation, act on the weights if need be, and say what was done."""
        ...

    def state_dict(self) -> State:
        """Plain values and tensors."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave."""
        ...


@dataclass(frozen=True)
class Action:
    """What was done at one evaluation.

    Pruned or not, why, prunes so far (None in a phase that never prunes), and why the phase is to stop, if it is.
    """

    pruned: bool = False
    reason: str = ""
    num_prunes: int | None = None
    stop: str | None = None
    values: dict[str, float] = field(default_factory=dict)


class Watch:
    """The controller of a phase without a gate: it only looks. `prepare` is called before the first step."""

    def __init__(self, prepare: Callable[[], None] = lambda: None) -> None:
        self._prepare = prepare

    def begin(self) -> None:
        """What is to be done before the first step."""
        self._prepare()

    def act(self, evaluation: Evaluation) -> Action:
        """Nothing is done."""
        return Action()

    def state_dict(self) -> State:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to restore."""
