"""States that a phase keeps for later phases, each in step with the checkpoint that the phase resumes from."""

from pathlib import Path
from typing import Any

from sparsity.files import put_in_place
from sparsity.weights.checkpoints import ASIDE, save_checkpoint

State = dict[str, Any]


class KeptStates:
    """Files `<name>.pt` in the folder of a phase.

    While the phase trains, a state lies aside as `<name>.<step>.aside.pt` until the next checkpoint settles it. So a
    phase that goes back to its last checkpoint finds the states of that time, and none of a future that it has yet to
    have, also where that checkpoint had settled one of the same name.

    Args:
        folder: of the phase's checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, state: State, step: int | None) -> None:
        """Save a state of a step of training under `name` until the next checkpoint; without one it is settled."""
        before = self._lying_aside(name)
        save_checkpoint(self._settled(name) if step is None else self._aside(f"{name}.{step}"), state)
        for stem in before:
            if stem != f"{name}.{step}":
                self._aside(stem).unlink()

    def has(self, name: str) -> bool:
        """Whether a state was kept under `name`."""
        return self.newest(name).is_file()

    def newest(self, name: str) -> Path:
        """Where the state that was kept last under `name` lies."""
        aside = self._lying_aside(name)
        return self._aside(aside[-1]) if aside else self._settled(name)

    @property
    def aside(self) -> list[str]:
        """The states that the next checkpoint settles, as `<name>.<step>`; it holds them."""
        return sorted(path.name.removesuffix(ASIDE) for path in self._folder.glob(f"*{ASIDE}"))

    def settle(self, kept: list[str]) -> None:
        """Give those of `kept` that lie aside their place; others lie aside for a future that is gone, and go."""
        for stem in self.aside:
            if stem in kept:
                put_in_place(self._aside(stem), self._settled(_name_of(stem)))
            else:
                self._aside(stem).unlink()

    def clear(self) -> None:
        """Remove all states: of a phase that starts anew."""
        for path in self._folder.glob("*.pt"):
            path.unlink()

    def _lying_aside(self, name: str) -> list[str]:
        return [stem for stem in self.aside if _name_of(stem) == name]

    def _settled(self, name: str) -> Path:
        return self._folder / f"{name}.pt"

    def _aside(self, stem: str) -> Path:
        return self._folder / f"{stem}{ASIDE}"


def _name_of(stem: str) -> str:
    """The name of a state that lies aside; before it had a step the name was all."""
    return stem.partition(".")[0]
