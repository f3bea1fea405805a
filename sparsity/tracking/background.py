"""Work that may take long or never end, done in order by a thread of its own, so that a run need not wait for it."""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], object]


class Background:
    """A thread that does what it is given, one piece after the other, and stops at the first that fails.

    Args:
        limit_seconds: how long one piece may take without an answer, and how long `finish` waits for all that is left.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds, self._queue = limit_seconds, SimpleQueue[Work | None]()
        self._began: float | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Nothing, if all goes well.

        Raises:
            TimeoutError: if a piece of work is without an answer for longer than the limit.
            Exception: that with which a piece of work has failed.
        """
        if self._error is not None:
            raise self._error
        began = self._began
        if began is not None and time.monotonic() - began > self._limit_seconds:
            raise self._too_late()

    def answered(self) -> None:
        """The piece of work at hand goes well: the limit counts anew."""
        self._began = time.monotonic()

    def do(self, work: Work) -> None:
        """Queue a piece of work; raises as `check` does."""
        self.check()
        self._queue.put(work)

    def finish(self, hint: Callable[[], object], after_seconds: float = 5.0) -> None:
        """Wait for the rest, call `hint` if that takes longer than `after_seconds`; raises as `check` does."""
        self._queue.put(None)
        first = min(after_seconds, self._limit_seconds)
        self._thread.join(first)
        if self._thread.is_alive():
            hint()
            self._thread.join(self._limit_seconds - first)
        if self._thread.is_alive():
            raise self._too_late()
        self.check()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            self._began = time.monotonic()
            try:
                work()
            except Exception as error:
                self._error = error
                return
            self._began = None

    def _too_late(self) -> TimeoutError:
        return TimeoutError(f"it did not answer within {self._limit_seconds:g} s (tracking.limit_seconds)")
