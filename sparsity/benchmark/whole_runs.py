"""A whole smoke run as a user starts it: seconds until it trains, and until it has ended."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from sparsity.benchmark.timing import spread
from sparsity.run.jobs import TRAIN

READY = "plan:"  # how the line begins that a run prints when all is loaded and checked


def run_measurements(overrides: Sequence[str], num_rounds: int) -> list[dict[str, Any]]:
    """Start and length of the run, over some rounds, each in a folder of its own.

    Raises:
        ValueError: if the run fails.
    """
    started, ended = zip(*(_timed(overrides) for _ in range(num_rounds)), strict=True)
    return [
        {"measured": "start", **spread(list(started), "seconds")},
        {"measured": "smoke run", **spread(list(ended), "seconds")},
    ]


def _timed(overrides: Sequence[str]) -> tuple[float, float]:
    """Seconds until the first line that says that it is ready, and in all."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*overrides, "scale=smoke", "tracking=none", f"results_dir={folder}"]
        begun, ready = time.perf_counter(), 0.0
        with subprocess.Popen([sys.executable, str(TRAIN), *words], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(READY):
                    ready = time.perf_counter() - begun
        if process.returncode != 0 or not ready:
            raise ValueError(f"The run that was to be timed failed: python scripts/train.py {' '.join(words)}")
        return ready, time.perf_counter() - begun
