"""Signals that ask for an end: the step in flight ends, a checkpoint is written; a second signal ends at once."""

import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

RESTART = 75
"""The exit status that says: start the same command again, it goes on (EX_TEMPFAIL of sysexits.h)."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Stopped(SystemExit):
    """A run was asked to stop; everything is saved. Its code is 130 after Ctrl-C, as in a shell, else RESTART."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number).name
        super().__init__(128 + signal.SIGINT if number == signal.SIGINT else RESTART)


class Request:
    """Whether a signal has asked for an end, and which: its number, or None.

    was_awaited: whether somebody else had a handler for it, such as a launcher that puts its job back into the queue.
    """

    number: int | None = None
    was_awaited = False

    def raise_if_made(self) -> None:
        """If a signal came, let those who awaited it have it, and raise Stopped."""
        if self.number is None:
            return
        if self.was_awaited:
            signal.raise_signal(self.number)
        raise Stopped(self.number)


@contextmanager
def watched() -> Iterator[Request]:
    """While it lasts, the first signal is a request and nothing more; the next one does what it would have done before.

    In a thread that is not the main one no signal arrives, and none is watched.
    """
    request = Request()
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        request.number = number
        request.was_awaited = callable(before[number]) and before[number] is not signal.default_int_handler
        _restore(before)

    try:
        for number in SIGNALS:
            before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread
        before = {}
    try:
        yield request
    finally:
        _restore(before)


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _Child:
    """A command that is about to start or runs, and the signals that it has yet to be given."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.numbers: deque[int] = deque()

    def hand_on(self) -> None:
        """Give it each signal once, whoever else is about to."""
        with suppress(IndexError):
            while self.process is not None:
                self.process.send_signal(self.numbers.popleft())


class Children:
    """Commands of this process, to which it hands each signal on; after one it starts no more of them."""

    def __init__(self) -> None:
        self._running: set[_Child] = set()
        self.request = Request()

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """The exit status of a command; RESTART, without starting it, once a signal came."""
        child = _Child()
        self._running.add(child)
        try:
            if self.request.number is not None:
                return RESTART
            # in a session of its own, so that Ctrl-C reaches it once: from here
            with subprocess.Popen(command, env=environment, start_new_session=True) as child.process:
                child.hand_on()
                return child.process.wait()
        finally:
            self._running.discard(child)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """While it lasts, signals are handed on and do not end this process; raises Stopped at its end if one came."""
        before: dict[int, Any] = {number: signal.signal(number, self._hand_on) for number in SIGNALS}
        try:
            yield
        finally:
            _restore(before)
        self.request.raise_if_made()

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self.request.number = number
        for child in list(self._running):
            child.numbers.append(number)
            child.hand_on()
