"""What may go wrong with a pruning without any error: each is said once, in a sentence, in the log and the summary.

A layer that has lost all its weights, a network without a path from its input to its output, a method that removes
next to nothing, a gate that no longer opens.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from sparsity.pruning.masks import Masks
from sparsity.pruning.paths import has_any, traced
from sparsity.run.compatibility import Images

logger = logging.getLogger(__name__)

PATIENCE = 0.25  # of a phase's evaluations without a prune, behind which a gate counts as stalled
HALFWAY = 0.5  # of them, by which a method that prunes should have removed more than a little
LITTLE = 0.05  # of the weights
LEAST = 8  # evaluations: fewer in a row without a prune are no sign of anything


class Alarms:
    """Looks at the masks after each scheduled evaluation of the regularised phase.

    Args:
        pruner: its name, as it is called in the settings.
        masks: of the network.
        num_evaluations: those that the phase has scheduled.
        has_path: whether the network still leads from its input to its output; None where that is not known.
    """

    def __init__(
        self, pruner: str, masks: Masks, num_evaluations: int, has_path: Callable[[], bool] | None = None
    ) -> None:
        self._pruner, self._masks, self._has_path = pruner, masks, has_path
        self._num_evaluations, self._num_seen = num_evaluations, 0
        self._num_total = self._traced_at = sum(mask.numel() for mask in masks.multipliers.values())
        self._said: dict[str, str] = {}

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was said, oldest first."""
        return tuple(self._said.values())

    def look(self, step: int, num_since_prune: int) -> None:
        """Say what has gone wrong by a scheduled evaluation of the phase; at its closing one nothing was due.

        Args:
            step: of the phase.
            num_since_prune: evaluations since the last prune; 0 where prunes wait for no metric, so that none is
                overdue.
        """
        self._num_seen += 1
        share, num_kept = f"{self._num_seen} of {self._num_evaluations} evaluations", self._count_kept(step)
        removed = 1 - num_kept / self._num_total
        if removed <= LITTLE and self._num_seen >= HALFWAY * self._num_evaluations:
            what = f"only {100 * removed:.2f} % of the weights" if removed else "nothing"
            self._say("idle", f"pruner={self._pruner} has removed {what} in {share}.")
        elif removed and num_since_prune >= max(LEAST, PATIENCE * self._num_evaluations):
            left = f"{100 * num_kept / self._num_total:.2f} % of the weights left"
            self._say("stalled", f"There was no prune at {num_since_prune} evaluations in a row, with {left}.")
        if 2 * num_kept <= self._traced_at:  # as many have gone as are left: some twenty times at most
            self._trace(step, num_kept)

    def conclude(self, step: int) -> None:
        """Look once more for lost layers and for a path, at the end of the phase."""
        self._trace(step, self._count_kept(step))

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"said": self._said, "num_seen": self._num_seen, "traced_at": self._traced_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; checkpoints of the time before alarms have nothing."""
        self._said = dict(state.get("said", {}))
        self._num_seen = state.get("num_seen", self._num_seen)
        self._traced_at = state.get("traced_at", self._traced_at)

    def _count_kept(self, step: int) -> int:
        """The weights that are left; each layer that has none is named."""
        kept = self._masks.count_kept()
        for name, mask in self._masks.multipliers.items():
            if mask.dim() > 1 and kept[name] == 0:
                self._say(f"collapse {name}", f"{name} has lost all of its {mask.numel():,} weights by step {step:,}.")
        return sum(kept.values())

    def _trace(self, step: int, num_kept: int) -> None:
        self._traced_at = num_kept
        if self._has_path is not None and not self._has_path():
            left = f"the {num_kept:,} weights that are left say the same of every input"
            self._say("path", f"No path leads from the input to the output by step {step:,}: {left}.")

    def _say(self, kind: str, sentence: str) -> None:
        if kind not in self._said:
            self._said[kind] = sentence
            logger.warning("warning: %s", sentence)


def path_finder(
    build_model: Callable[[], nn.Module], network: Callable[[], Mapping[str, Tensor]], data: Any
) -> Callable[[], bool] | None:
    """Whether a network of images has a path, asked again and again; of one that none can be counted in, always yes.

    Args:
        build_model: makes another of its kind.
        network: its state, as it would be handed on.
        data: what it is trained on.
    """
    if not isinstance(data, Images):
        return None
    shape = data.image_shape

    def has_path() -> bool:
        found = traced(build_model, network(), shape)
        return found is None or has_any(found)

    return has_path
