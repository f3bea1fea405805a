"""Who has work done in the background waits no longer than the limit, and hears of what went wrong."""

import threading
import time
from functools import partial

import pytest

from sparsity.tracking.background import Background


def nothing() -> None:
    """No hint to give."""


def test_work_is_done_in_order_and_finish_waits_for_it() -> None:
    background, done = Background(limit_seconds=60), list[int]()
    for number in range(100):
        background.do(partial(done.append, number))
    background.finish(nothing)
    assert done == list(range(100))


def test_work_that_hangs_holds_nobody_up_and_is_told_of_after_the_limit() -> None:
    background, never = Background(limit_seconds=0.2), threading.Event()
    background.do(never.wait)
    begin = time.monotonic()
    while time.monotonic() < begin + 0.3:
        time.sleep(0.01)
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s \(tracking\.limit_seconds\)"):
        background.do(nothing)
    never.set()


def test_work_that_takes_long_but_is_answered_is_not_given_up() -> None:
    background, end = Background(limit_seconds=0.3), threading.Event()

    def answered() -> None:
        while not end.wait(0.02):
            background.answered()

    background.do(answered)
    time.sleep(0.6)
    background.check()
    end.set()


def test_finish_gives_up_after_the_limit_and_says_in_time_that_it_waits() -> None:
    background, never, hints = Background(limit_seconds=0.2), threading.Event(), list[str]()
    background.do(never.wait)
    with pytest.raises(TimeoutError):
        background.finish(lambda: hints.append("waiting"), after_seconds=0.1)
    assert hints == ["waiting"]
    never.set()


def test_after_a_failure_nothing_more_is_done_and_every_call_tells_of_it() -> None:
    background, done = Background(limit_seconds=60), list[int]()

    def fail() -> None:
        raise ConnectionError("no route to host")

    background.do(fail)
    with pytest.raises(ConnectionError, match="no route to host"):
        background.finish(nothing)
    with pytest.raises(ConnectionError, match="no route to host"):
        background.do(lambda: done.append(1))
    assert done == []
