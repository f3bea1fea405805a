"""The step beside busy programs, in pairs, quiet and busy, for each way in which threads may wait.

GNU's OpenMP reads how its threads are to wait when it is loaded: each way has a process of its own, that steps when it
is told to. All have the same number of threads, so that all must come to the same weights, bit by bit.
"""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from sparsity.benchmark.equality import regularised
from sparsity.benchmark.timing import spread
from sparsity.hardware.environment import SPINS, WAITING
from sparsity.run.workspace import Workspace

UNBOUNDED = "unbounded"
# name -> what the user would have set; the project's own choice is what comes of nothing
POLICIES: dict[str, dict[str, str]] = {
    "project": {},
    UNBOUNDED: {SPINS: "300000"},  # what GNU's OpenMP does by itself
    "100": {SPINS: "100"},
    "500": {SPINS: "500"},
    "1000": {SPINS: "1000"},
    "1500": {SPINS: "1500"},
    "2000": {SPINS: "2000"},
    "3000": {SPINS: "3000"},
    "10000": {SPINS: "10000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
MOST_BUSY, MOST_QUIET = 4.0, 1.05  # times the quiet step, and the unbounded one's quiet step
NUM_FIRST_STEPS = 10  # untimed; the weights after them are compared
BUSY = "while True: pass"
REST_SECONDS = 0.3


def busy_measurements(
    command: Sequence[str], policies: Sequence[str], num_pairs: int, seconds: float, num_busy: int
) -> Iterator[dict[str, Any]]:
    """The quiet step, the busy one and their ratios for each policy, and whether all came to the same weights.

    Args:
        command: makes a process that calls `serve`.
        policies: names of POLICIES, the unbounded one among them.
        num_pairs: of a quiet and a busy block.
        seconds: the least that a block takes.
        num_busy: other programs, each of which would fill a core.
    """
    with ExitStack() as stack:
        steppers = {name: stack.enter_context(stepper(command, POLICIES[name])) for name in policies}
        digests = {_answer(process) for process in steppers.values()}
        quiet, busy = measure(steppers, num_pairs, seconds, num_busy)
    yield {"measured": "same weights", "policies": len(policies), "met": len(digests) == 1}
    for name in policies:
        yield {"measured": "quiet step", "policy": name, **spread(quiet[name], "seconds")}
        yield {"measured": "busy step", "policy": name, **spread(busy[name], "seconds")}
        yield _ratio("busy / quiet", name, busy[name], quiet[name], MOST_BUSY)
        yield _ratio("quiet / unbounded quiet", name, quiet[name], quiet[UNBOUNDED], MOST_QUIET)


def measure(
    steppers: "Mapping[str, subprocess.Popen[str]]", num_pairs: int, seconds: float, num_busy: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds a step of each, quiet and busy; they take turns, every other pair backwards."""
    quiet: dict[str, list[float]] = {name: [] for name in steppers}
    busy: dict[str, list[float]] = {name: [] for name in steppers}
    for pair in range(num_pairs):
        names = list(steppers)[:: 1 if pair % 2 == 0 else -1]
        for name in names:
            quiet[name].append(_ask(steppers[name], seconds))
        with busy_programs(num_busy):
            for name in names:
                busy[name].append(_ask(steppers[name], seconds))
    return quiet, busy


@contextmanager
def stepper(command: Sequence[str], policy: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A process that serves steps and waits as the policy says; it ends with the block."""
    inherited = {name: value for name, value in os.environ.items() if name not in WAITING}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=inherited | dict(policy), text=True, **pipes) as process:  # type: ignore[call-overload]
        yield process  # at the block's end its input is closed, and it ends


@contextmanager
def busy_programs(number: int) -> Iterator[None]:
    """Programs that fill a core each, in sessions of their own: Linux shares cores out among sessions first."""
    command = [sys.executable, "-c", BUSY]
    programs = [subprocess.Popen(command, start_new_session=True) for _ in range(number)]
    try:
        time.sleep(REST_SECONDS)
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def serve(work: Workspace, requests: IO[str], answers: IO[str]) -> None:
    """Make some steps and answer with a digest of the weights; then, for each line with seconds, seconds a step."""
    trainer = regularised(work).trainer
    for _ in range(NUM_FIRST_STEPS):
        trainer.train_step()
    digest = hashlib.sha256()
    for weight in trainer.model.parameters():
        digest.update(weight.detach().cpu().numpy().tobytes())
    print(digest.hexdigest(), file=answers, flush=True)
    for line in requests:
        started, num_steps = time.perf_counter(), 0
        while (taken := time.perf_counter() - started) < float(line):
            trainer.train_step()
            num_steps += 1
        trainer.drain()
        print(taken / num_steps, file=answers, flush=True)


def _ask(process: "subprocess.Popen[str]", seconds: float) -> float:
    assert process.stdin is not None
    print(seconds, file=process.stdin, flush=True)
    return float(_answer(process))


def _answer(process: "subprocess.Popen[str]") -> str:
    """The next line that the process writes.

    Raises:
        ValueError: if it has ended.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ValueError("A process that was to be timed has ended: mend what it says above, and try again.")
    return line.strip()


def _ratio(measured: str, policy: str, above: list[float], below: list[float], at_most: float) -> dict[str, Any]:
    ratios = spread([a / b for a, b in zip(above, below, strict=True)], "ratio")
    return {"measured": measured, "policy": policy, **ratios, "at_most": at_most, "met": ratios["ratio"] <= at_most}
