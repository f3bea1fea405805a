"""manifest.json of a run: the process that works on it, those that did before, and how the last one ended."""

import logging
from pathlib import Path
from typing import Any

from sparsity import provenance
from sparsity.files import write_json
from sparsity.hardware import ranks
from sparsity.records import Process

logger = logging.getLogger(__name__)


class Manifest:
    """What is known of the processes of a run, written at each change.

    Args:
        directory: of the run.
        device: what this process computes on, described.
        precision: of its products.
    """

    def __init__(self, directory: Path, device: str, precision: str) -> None:
        self._path = directory / "manifest.json"
        earlier = provenance.read_manifest(directory)
        if not earlier and self._path.exists():
            logger.warning("warning: %s is damaged: who trained this run until now is not known any more.", self._path)
        history = [*earlier.get("history", []), *([_as_process(earlier)] if "first_step" in earlier else [])]
        self._ranks = ranks.here()
        together = f"{self._ranks.size} x " if self._ranks.size > 1 else ""
        self.origin = provenance.origin() | {"device": together + device, "precision": precision}
        self._content = {**self.origin, "ranks": self._ranks.size, "status": "running", "history": history}
        _warn_of_mixture(history, self.origin["commit"])
        self.update()

    def update(self, **entries: Any) -> None:
        """Add entries and write, which of several ranks the first one does."""
        self._content |= entries
        if self._ranks.is_first:
            write_json(self._path, self._content)

    def began(self, step: int) -> None:
        """This process trains from `step` of the run on; those that had come further have lost it to a resume."""
        if "first_step" not in self._content:
            self.update(first_step=step, history=[of for of in self._content["history"] if of["first_step"] < step])

    @property
    def processes(self) -> tuple[Process, ...]:
        """All that trained what the run has become, in their order, this one last."""
        own = [_as_process(self._content)] if "first_step" in self._content else []
        return tuple(Process(**entries) for entries in (*self._content["history"], *own))


def _warn_of_mixture(history: list[dict[str, Any]], commit: str | None) -> None:
    """Say before anything is trained that a run is about to become one of several commits."""
    began = next((of["commit"] for of in history if of["commit"] != commit), None)
    if began is not None:
        logger.warning(
            "warning: this run was trained at commit %.10s and would go on at %.10s: one of several commits is marked "
            "and gets no verdict; stop it now and go on in a checkout of that commit, or start anew with force=true.",
            began,
            commit,
        )


def _as_process(manifest: dict[str, Any]) -> dict[str, Any]:
    """What history keeps of a manifest."""
    kept = ("first_step", "commit", "dirty", "device", "precision", "versions", "started")
    return {name: manifest[name] for name in kept} | {"ranks": manifest.get("ranks", 1)}
