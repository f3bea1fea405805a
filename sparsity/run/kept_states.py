"""States that a phase keeps for later phases, each in step with the checkpoint that the phase resumes from."""

from pathlib import Path
from typing import Any

from sparsity.files import put_in_place
from sparsity.weights.checkpoints import load_checkpoint, save_checkpoint

State = dict[str, Any]

_ASIDE = ".aside.pt"


class KeptStates:
    """Files `<name>.pt` in the folder of a phase.

    While the phase trains, a state lies aside as `<name>.aside.pt` until the next checkpoint settles it. So a phase
    that goes back to its last checkpoint finds the states of that time, and none of a future that it has yet to have.

    Args:
        folder: of the phase's checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, state: State, is_settled: bool) -> None:
        """Save a state under `name`, settled at once or with the next checkpoint."""
        save_checkpoint(self._settled(name) if is_settled else self._aside(name), state)

    def has(self, name: str) -> bool:
        """Whether a state was kept under `name`."""
        return self._newest(name).is_file()

    def load(self, name: str) -> State:
        """The state that was kept last under `name`."""
        return load_checkpoint(self._newest(name))

    @property
    def aside(self) -> list[str]:
        """Names of the states that the next checkpoint settles; it holds them."""
        return sorted(path.name.removesuffix(_ASIDE) for path in self._folder.glob(f"*{_ASIDE}"))

    def settle(self, names: list[str]) -> None:
        """Give those of `names` that lie aside their place; others lie aside for a future that is gone, and go."""
        for name in self.aside:
            if name in names:
                put_in_place(self._aside(name), self._settled(name))
            else:
                self._aside(name).unlink()

    def clear(self) -> None:
        """Remove all states: of a phase that starts anew."""
        for path in self._folder.glob("*.pt"):
            path.unlink()

    def _newest(self, name: str) -> Path:
        aside = self._aside(name)
        return aside if aside.is_file() else self._settled(name)

    def _settled(self, name: str) -> Path:
        return self._folder / f"{name}.pt"

    def _aside(self, name: str) -> Path:
        return self._folder / f"{name}{_ASIDE}"
