"""Checkpoints written beside training: of a copy in memory, by a thread, one at a time."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsity.weights.checkpoints import save_checkpoint

WORTH_SAYING = 1.0  # seconds; small networks are written in a few milliseconds, every half minute

logger = logging.getLogger(__name__)


class Beside:
    """Writes checkpoints while training goes on.

    Whoever leaves the folder of the checkpoints to another process, or counts on one of them, waits first.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: Future[None] | None = None

    def save(self, path: Path, state: dict[str, Any], then: Callable[[], None]) -> None:
        """Copy `state` now, and write it as `save_checkpoint(keep_previous=True)` does, then call `then`, beside.

        Raises:
            OSError: if the write before this one failed, for which it waits.
        """
        self.wait()
        copy = copied(state, {})
        self._pending = self._thread.submit(_write, path, copy, then)

    def check(self) -> None:
        """Nothing, unless a write has failed; raises as `wait` does."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written.

        Raises:
            OSError: if the disk is full or not writable; the file that stood there before is untouched.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def copied(state: Any, known: dict[tuple[Any, ...], Tensor]) -> Any:
    """A copy of tensors and plain values, on the CPU, that training does not touch; tied tensors stay one tensor.

    Args:
        known: the copies made so far, by what the tensors show of which memory.
    """
    if isinstance(state, Tensor):
        shows = (state.data_ptr(), state.dtype, state.shape, state.stride())
        if shows not in known:
            known[shows] = state.detach().to("cpu", copy=True)
        return known[shows]
    if isinstance(state, dict):
        return {key: copied(value, known) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(copied(value, known) for value in state)
    return state


def _write(path: Path, state: dict[str, Any], then: Callable[[], None]) -> None:
    began = time.monotonic()
    save_checkpoint(path, state, keep_previous=True)
    then()
    seconds = time.monotonic() - began
    level = logging.INFO if seconds >= WORTH_SAYING else logging.DEBUG
    logger.log(level, "%s: %.2f GB written in %.1f s, beside training.", path, path.stat().st_size / 1e9, seconds)
