"""One phase, run so that a crash loses nothing: resume, best and last state, and the rows of the log.

The same class carries all three phases; what a phase does at an evaluation (prune, stop) is a controller handed in.
"""

import logging
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from sparsity.files import write_text
from sparsity.hardware import ranks
from sparsity.pruning.pruner import Pruner
from sparsity.pruning.summary import layer_sparsities
from sparsity.run import stopping
from sparsity.run.controllers import Action, Controller
from sparsity.run.kept_states import KeptStates, State
from sparsity.tracking.record import JsonlWriter
from sparsity.tracking.writers import Mirrors
from sparsity.training.loop import Evaluation, Trainer
from sparsity.training.tasks import WritesText
from sparsity.weights.beside import Beside
from sparsity.weights.checkpoints import CheckpointError, load_kept, load_network, load_newest, plain_weights, way_out

LONGEST_WITHOUT_CHECKPOINT = 600.0  # seconds, also between two evaluations
MISFITS = (KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError)
"""With which what a checkpoint holds is refused by a network, an optimiser or a controller that it is not of."""
FORMAT = 1
"""Of checkpoints; those of the time before formats had a number are read as well."""

logger = logging.getLogger(__name__)


class Interrupted(Exception):
    """The phase was asked to stop after so many evaluations; everything is saved."""


@dataclass
class Progress:
    """Where a phase stands beside its tensors: its best evaluation, its length and time, and how it ended."""

    best_metric: float = float("-inf")
    best_epoch: int = 0
    last_metric: float | None = None
    num_evaluations: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    stopped: str | None = None


class Phase:
    """One phase of one run, resumable.

    Of several ranks that train it the first one writes, and all read what it has written.

    Args:
        name: of the phase, as it appears in the log and as the folder of its checkpoints.
        directory: run directory that holds checkpoints/<name>/.
        trainer: the loop, at its start.
        pruner: masks (and penalty) of the network.
        metric: name of the validation metric that decides what is best.
        log: the record of that run directory.
        mirrors: who else is told.
        offset: steps of the phases before this one.
        checkpoint_every_seconds: between two checkpoints, so that small networks are not slowed down by the disk.
        data_digests: split -> digest of its examples: a checkpoint goes on with the same data only.
        began: told the step of the run from which this process trains.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        trainer: Trainer,
        pruner: Pruner,
        metric: str,
        log: JsonlWriter,
        mirrors: Mirrors,
        offset: int,
        checkpoint_every_seconds: float,
        data_digests: Mapping[str, str] = MappingProxyType({}),
        began: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.name, self.trainer, self.pruner = name, trainer, pruner
        self._ranks = ranks.here()
        self.progress = Progress()
        self._directory, self._folder = directory, directory / "checkpoints" / name
        self._metric, self._log = metric, log
        self._writers: tuple[JsonlWriter | Mirrors, ...] = (log, mirrors) if self._ranks.is_first else ()
        self._offset, self._every_seconds = offset, checkpoint_every_seconds
        self._kept, self._data_digests, self._began = KeptStates(self._folder), dict(data_digests), began
        self._beside = Beside()
        self._longest_without = max(checkpoint_every_seconds, LONGEST_WITHOUT_CHECKPOINT)
        self._is_training, self._request = False, stopping.Request()
        self._asked_by: int | None = None  # the signal that all ranks know of, as it may come to one a moment earlier
        self._saved_at = self._started = time.monotonic()

    @property
    def model(self) -> nn.Module:
        """The network in training."""
        return self.trainer.model

    def run(self, controller: Controller, interrupt_after: int | None = None) -> Progress:
        """Train from where the last checkpoint stands to the end of the phase; a finished phase returns at once.

        Raises:
            Interrupted: after `interrupt_after` evaluations, if that is given.
            Stopped: after a signal, at the end of the step or evaluation in flight; everything is saved.
            NonFiniteLossError: if the loss is not finite.
            CheckpointError: if all checkpoints of the phase are damaged, or were made with other data.
            OSError: if a checkpoint cannot be written; it names the file.
        """
        try:
            self._resume(controller)
            if self.progress.stopped is None:
                self._began(self._offset + self.trainer.step)
                self._is_training = True
                self._started = time.monotonic() - self.progress.seconds
                with stopping.watched() as self._request:
                    self._train(controller, interrupt_after)
                self._is_training = False
        finally:
            self._beside.wait()  # the folder is this process's for no longer than the phase
        return self.progress

    def _train(self, controller: Controller, interrupt_after: int | None) -> None:
        for evaluation in self.trainer.run(self._is_pause_due, lambda rows: self._pause(controller, rows)):
            self.pruner.refresh()
            self._keep_best(evaluation)
            action = controller.act(evaluation)
            self._agree()
            self._report(evaluation, action)
            self.keep_text(str(evaluation.step))
            self.progress.seconds = time.monotonic() - self._started
            self.progress.stopped = action.stop
            if action.stop is not None:
                break
            is_interrupted = self.progress.num_evaluations == interrupt_after
            self._save(controller, only_if_due=not (is_interrupted or self._asked_by))
            self._end_if_asked()
            if is_interrupted:
                raise Interrupted(f"{self.name} was interrupted after {interrupt_after} evaluations")
        self.progress.stopped = self.progress.stopped or "epochs ended"
        self._save(controller)
        self._agree()
        self._end_if_asked()

    def _is_pause_due(self) -> bool:
        """Whether a signal came, or the last checkpoint is too old for a phase between two evaluations."""
        self._beside.check()
        is_late = time.monotonic() - self._saved_at > self._longest_without
        return self._agree(is_late) or self._asked_by is not None

    def _agree(self, is_late: bool = False) -> bool:
        """Let a signal that came to one rank have come to all; whether it is late for any."""
        self._asked_by = self._request.number
        if self._ranks.size > 1:
            number, is_late_for = self._ranks.highest([self._asked_by or 0, is_late])
            self._asked_by, is_late = number or None, bool(is_late_for)
        return is_late

    def _pause(self, controller: Controller, rows: list[dict[str, float]]) -> None:
        """A checkpoint between two evaluations."""
        for writer in self._writers:
            writer.write_steps(self._placed(rows))
        self.progress.seconds = time.monotonic() - self._started
        self._save(controller)
        self._end_if_asked()

    def _end_if_asked(self) -> None:
        if self._asked_by is None:
            return
        self._beside.wait()
        name = signal.Signals(self._asked_by).name
        logger.warning(
            "%s: %s stopped at step %s and saved it; the same command goes on.", name, self.name, self.trainer.step
        )
        self._request.number = self._asked_by
        self._request.raise_if_made()

    def keep(self, name: str, **record: Any) -> None:
        """Save weights and masks as they stand under `name`, with plain values beside, for a later phase."""
        if self._ranks.is_first:
            self._keep(name, self._network() | record)

    def keep_again(self, name: str, kept: str) -> None:
        """Save the state that was kept under `kept` under `name` too."""
        state = self.load(kept)
        if self._ranks.is_first:
            self._keep(name, state)

    def _keep(self, name: str, state: State) -> None:
        self._beside.wait()  # a checkpoint that is being written is about to settle what was kept before it
        self._kept.keep(name, state, self.trainer.step if self._is_training else None)

    def has(self, name: str) -> bool:
        """Whether a state was kept under `name`."""
        self._beside.wait()  # it may be about to settle the state, under another path
        return self._ranks.first(lambda: self._kept.has(name))

    def load(self, name: str) -> State:
        """A kept state: weights and masks of this network.

        Raises:
            CheckpointError: if it cannot be used, with the way out.
        """
        self._beside.wait()
        return self._ranks.in_turn(lambda: load_kept(self._kept.newest(name), self.model))

    def intact(self, name: str) -> State | None:
        """A kept state, or None if there is none; of one that cannot be used it is said that it is made again.

        Raises:
            CheckpointError: if it says that it was made with other data.
        """
        state = self._ranks.in_turn(lambda: self._intact(name))
        if state is not None:
            self._check_data(self._kept.newest(name), state.get("data", {}))
        return state

    def _intact(self, name: str) -> State | None:
        try:
            return load_network(self._kept.newest(name), self.model) if self._kept.has(name) else None
        except CheckpointError as error:
            logger.warning("warning: %s It is made again.", error)
            return None

    def restore(self, state: State) -> None:
        """Put kept weights and masks into the network."""
        put_into(self.model, self.pruner, state)

    def _keep_best(self, evaluation: Evaluation) -> None:
        value = evaluation.metrics[self._metric]
        self.progress.last_metric = value
        self.progress.num_evaluations += 1
        self.progress.evaluation_seconds += evaluation.seconds
        if value > self.progress.best_metric:
            self.progress.best_metric = value
            self.progress.best_epoch = evaluation.epoch
            self.keep("best")

    def _report(self, evaluation: Evaluation, action: Action) -> None:
        rows = self._placed(evaluation.rows)
        row = {
            "phase": self.name,
            "step": evaluation.step,
            "global_step": self._offset + evaluation.step,
            "epoch": evaluation.epoch,
            **{f"val/{name}": value for name, value in evaluation.metrics.items()},
            **layer_sparsities(self.pruner.masks),
            **self.pruner.observed(),
            **action.values,
            "prune/done": action.pruned,
            "prune/reason": action.reason,
            "prune/count": action.num_prunes,
        }
        for writer in self._writers:
            writer.write_steps(rows)
            writer.write_evaluation(row)

    def _placed(self, rows: list[dict[str, float]]) -> list[dict[str, Any]]:
        """Rows of steps with the phase and the step of the run."""
        return [{"phase": self.name, **row, "global_step": self._offset + int(row["step"])} for row in rows]

    def keep_text(self, name: str) -> None:
        """What the last evaluation wrote, in hypotheses/<phase>-<name>.txt as sacrebleu reads it, if it did."""
        if self._ranks.is_first and isinstance(self.trainer.task, WritesText):
            lines = [f"{line}\n" for line in self.trainer.task.hypotheses]
            write_text(self._directory / "hypotheses" / f"{self.name.replace('/', '-')}-{name}.txt", "".join(lines))

    def _save(self, controller: Controller, only_if_due: bool = False) -> None:
        if only_if_due and time.monotonic() - self._saved_at < self._every_seconds:
            return
        if self._ranks.is_first:
            self._write(controller)
        self._saved_at = time.monotonic()

    def _write(self, controller: Controller) -> None:
        self._beside.wait()
        settled, kept = self._kept, self._kept.aside
        state = {
            "format": FORMAT,
            "data": self._data_digests,
            "kept": kept,
            "weights": self.model.state_dict(),
            "masks": self.pruner.masks.state_dict(),
            "trainer": self.trainer.state_dict(),
            "judge": controller.state_dict(),
            "progress": vars(self.progress),
            "log_position": self._log.position(),
        }
        self._beside.save(self._folder / "last.pt", state, then=lambda: settled.settle(kept))

    def _resume(self, controller: Controller) -> None:
        state, problem = self._ranks.in_turn(lambda: load_newest(self._folder / "last.pt"))
        if problem is not None:
            logger.warning("warning: %s", problem)
        if state is None:
            self._ranks.first(self._clear)
            controller.begin()
            self._save(controller)  # so that a crash before the next checkpoint cuts the record back to here
            return
        try:
            self._take(state, controller)
        except CheckpointError:
            raise
        except MISFITS as error:
            path = self._folder / "last.pt"
            raise CheckpointError(
                f"The checkpoint {path} is of another structure than this run ({type(error).__name__}). {way_out(path)}"
            ) from error
        if self._ranks.is_first:
            self._kept.settle(state.get("kept", self._kept.aside))
        if self.progress.stopped is None and self._ranks.is_first:
            self._log.cut(state["log_position"])
            if problem is not None:  # the one before may be of a time before phases that have ended since
                self._forget_later()

    def _take(self, state: State, controller: Controller) -> None:
        """Stand where a checkpoint was written."""
        self._check(state)
        self.restore(state)
        self.trainer.load_state_dict(state["trainer"])
        controller.load_state_dict(state["judge"])
        known = {field.name for field in fields(Progress)}
        self.progress = Progress(**{name: value for name, value in state["progress"].items() if name in known})

    def _clear(self) -> None:
        """Remove what a phase that starts anew has left."""
        self._kept.clear()
        if self._log.cut_phase(self.name):
            self._forget_later()

    def _forget_later(self) -> None:
        """Remove the checkpoints of phases that followed, as this one goes back: the record has lost them too."""
        length = self._log.position()
        for path in list((self._directory / "checkpoints").rglob("last.pt")):
            state: State | None = None
            with suppress(CheckpointError):  # of which is told when its phase comes
                state, _ = load_newest(path)
            if path.parent != self._folder and state is not None and state["log_position"] > length:
                logger.warning("warning: %s goes back, so what followed it starts anew: %s.", self.name, path.parent)
                shutil.rmtree(path.parent)

    def _check(self, state: State) -> None:
        """Hold a checkpoint to be of a form that is known here, and of the data that are here."""
        path = self._folder / "last.pt"
        if state.get("format", 0) > FORMAT:
            raise CheckpointError(f"{path} is of format {state['format']}, which a later version writes: take that.")
        before = state.get("data")
        if before is None and self._data_digests:
            logger.warning("warning: %s does not say of which data it is; those of now are recorded in it.", path)
        self._check_data(path, before or {})

    def _check_data(self, path: Path, before: Mapping[str, str]) -> None:
        changed = [split for split, digest in self._data_digests.items() if before.get(split, digest) != digest]
        if changed:
            raise CheckpointError(
                f"The data changed since {path} was written: {' and '.join(changed)} are other examples now; put back "
                f"what was there, or remove {self._directory} to start again."
            )

    def plain_weights(self) -> dict[str, Tensor]:
        """The network's state as it would be handed on; a mask leaves -0.0 where it zeroes a negative weight."""
        with self.trainer.baked():
            return plain_weights(self.model.state_dict())

    def _network(self) -> State:
        """Weights and masks for keeping."""
        return {"weights": self.plain_weights(), "masks": self.pruner.masks.state_dict()}


def put_into(model: nn.Module, pruner: Pruner, state: State) -> None:
    """Put the weights and masks of a checkpoint into a network, in place."""
    model.load_state_dict(state["weights"])
    pruner.masks.load_state_dict(state["masks"])
