"""A run in processes that are killed at random moments and started again until it is done; and what it left, compared.

The processes are forked from one that has imported torch, so that a start costs half a second and not five; all else is
`scripts/train.py`. Each tells in shared memory how many steps it has taken and what it is doing.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from sparsity.run.stopping import RESTART
from sparsity.weights.checkpoints import load_checkpoint

STARTING, TRAINING, EVALUATING = range(3)
"""What a process is doing: between two evaluations is TRAINING, the checkpoints there included."""
LONGEST_START = 300.0  # seconds; whoever has taken no step by then hangs
TIMED = ("seconds", "evaluation_seconds", "kept")  # of checkpoints and summaries: differ from run to run
TIMELESS = (
    "baseline",
    "gate",
    "plan",
    "regularise",
    "rows",
    "missing_starts",
    "frontier",
    "fingerprint",
    "irrelevance",
)
OF_ITS_OWN = ("lock", "manifest.json", "config.yaml", "summary.json", "last.previous.pt")

_context = multiprocessing.get_context("forkserver")


def preload(*modules: str) -> None:
    """Let the process from which all others are forked import these."""
    _context.set_forkserver_preload(["scripts.train", "sparsity.run.pipeline", *modules])


@dataclass
class Chain:
    """A run that is killed again and again.

    Args:
        words: of the command line.
        results: folder of the results; the output of all processes goes to `output.txt` there.
        chance: draws the moments and the signals.
        most_steps: that a process may take before it is killed.
    """

    words: Sequence[str]
    results: Path
    chance: random.Random
    most_steps: int = 10
    kills: Counter[str] = field(default_factory=Counter)
    start_seconds: float = 2.0

    def kill(self) -> bool:
        """Start the run and kill it; False if it was done before."""
        process, place = start(self.words, self.results, self.chance.choice([0.0, 0.05, 0.5]))
        self._await_the_moment(process, place)
        if process.is_alive():
            doing = ("at the start", "between two evaluations", "at an evaluation")[place[1]]
            name = self.chance.choice(["SIGKILL", "SIGTERM", "SIGTERM and SIGKILL"])
            self._send(process, name)
            process.join()
            self.kills[doing] += process.exitcode != 0
            self.kills[name] += process.exitcode != 0
        assert process.exitcode in (0, RESTART, -signal.SIGKILL, -signal.SIGTERM), self.said()
        return process.exitcode != 0

    def finish(self) -> None:
        """Let the run end."""
        process, _ = start(self.words, self.results, 600.0)
        process.join()
        assert process.exitcode == 0, self.said()
        assert "Traceback" not in self.said()

    def said(self) -> str:
        """The output of all processes."""
        return (self.results / "output.txt").read_text()

    def _await_the_moment(self, process: ForkServerProcess, place: Any) -> None:
        kind, began = self.chance.random(), time.monotonic()
        if kind < 0.15:
            time.sleep(self.chance.uniform(0.0, self.start_seconds))
            return
        steps, doing = (0, EVALUATING) if kind < 0.35 else (self.chance.randint(1, self.most_steps), TRAINING)
        while process.is_alive() and not (place[0] >= steps and place[1] == doing):
            time.sleep(0.001)
            if place[0] == 0:
                self.start_seconds = time.monotonic() - began
                assert self.start_seconds < LONGEST_START, self.said()
        time.sleep(self.chance.uniform(0.0, 0.05))

    def _send(self, process: ForkServerProcess, name: str) -> None:
        assert process.pid is not None
        if name != "SIGKILL":
            os.kill(process.pid, signal.SIGTERM)
        if name != "SIGTERM":
            time.sleep(self.chance.uniform(0.0, 0.1) if name != "SIGKILL" else 0.0)
            process.kill()


def start(words: Sequence[str], results: Path, checkpoint_seconds: float) -> tuple[ForkServerProcess, Any]:
    """A process of the run, and its place: the steps that it has taken, and what it is doing."""
    results.mkdir(parents=True, exist_ok=True)
    place = _context.RawArray("l", 2)
    process = _context.Process(
        target=_train, args=([*words, f"results_dir={results}"], results, checkpoint_seconds, place)
    )
    process.start()
    return process, place


def _train(words: list[str], results: Path, checkpoint_seconds: float, place: Any) -> None:
    from scripts import train
    from sparsity import config
    from sparsity.run import phase

    with (results / "output.txt").open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    phase.LONGEST_WITHOUT_CHECKPOINT = checkpoint_seconds
    _tell(place)
    sys.argv = ["scripts/train.py", *words]
    config.command(train.main)


def _tell(place: Any) -> None:
    """Let the loop tell what it is doing."""
    from sparsity.training.loop import Trainer

    train_step, evaluate = Trainer.train_step, Trainer.evaluate

    def told_step(self: Trainer, observe: bool = False) -> None:
        place[1] = TRAINING
        train_step(self, observe)
        place[0] += 1

    def told_evaluation(self: Trainer) -> Any:
        place[1] = EVALUATING
        return evaluate(self)

    Trainer.train_step, Trainer.evaluate = told_step, told_evaluation  # type: ignore[method-assign]


def differences(ours: Path, theirs: Path, ignored: Collection[Path] = ()) -> list[str]:
    """The files below two results folders that differ in more than the time that they tell of."""
    names = {path.relative_to(of) for of in (ours, theirs) for path in (of / "runs").rglob("*") if path.is_file()}
    compared = sorted(name for name in names if name.name not in OF_ITS_OWN or name.name == "summary.json")
    return [str(name) for name in compared if name not in ignored and not _is_same(ours / name, theirs / name)]


def _is_same(ours: Path, theirs: Path) -> bool:
    if not (ours.is_file() and theirs.is_file()):
        return False
    if ours.name == "summary.json":
        one, other = (json.loads(path.read_text()) for path in (ours, theirs))
        return all(_is_equal(one[key], other[key]) for key in TIMELESS)
    if ours.suffix == ".pt":
        return _is_equal(load_checkpoint(ours), load_checkpoint(theirs))
    return ours.read_bytes() == theirs.read_bytes()


def _is_equal(one: Any, other: Any) -> bool:
    """Bit for bit, but for time."""
    if isinstance(one, dict):
        keys = [key for key in one if key not in TIMED]
        return keys == [key for key in other if key not in TIMED] and all(
            _is_equal(one[key], other[key]) for key in keys
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def chains(words: Sequence[str], folder: Path, number: int, chance: random.Random, **more: Any) -> Iterator[Chain]:
    """So many kills, in as many runs to their ends as that takes; each chain when it is done."""
    left = number
    while left > 0:
        chain = Chain(words, folder / f"killed-{left}", chance, **more)
        while left > 0 and chain.kill():
            left -= 1
        chain.finish()
        yield chain
