"""Those who are told what happens beside the record: the terminal, and mirrors that may never make a run fail.

Each writer receives rows of plain values under the names of the log: `train/loss`, `val/accuracy`, `penalty/lambda`,
`sparsity/total`, `sparsity/layer/<parameter>`, `irrelevance/layer/<parameter>/...`. Rows carry `phase`, `step` (in the
phase) and `global_step` (over all phases), the axis of every plot.
"""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from sparsity.tracking.record import AXIS, Row

BAR_WIDTH = 10  # of the progress bar, so that what it says fits a terminal of 100 columns

logger = logging.getLogger(__name__)


class MetricWriter(Protocol):
    """Takes what a run reports; must never make the run fail."""

    def write_steps(self, rows: list[Row]) -> None:
        """Values of each step, oldest first."""
        ...

    def write_evaluation(self, row: Row) -> None:
        """One evaluation: metrics, sparsities, and what the gate said."""
        ...

    def write_summary(self, summary: Row) -> None:
        """The run's summary, once, at its end."""
        ...

    def write_figures(self, draw: Callable[[], dict[str, Path]]) -> None:
        """The run's figures, once, at its end; drawn only if called."""
        ...

    def finish(self, exit_code: int) -> None:
        """Close; 0 means that the run ended well."""
        ...


class ConsoleWriter:
    """The terminal: a progress bar where there is one, else one plain line per evaluation."""

    def __init__(self, num_steps: int, metric: str, prunes_needed: int | None) -> None:
        self._num_steps, self._metric, self._needed = num_steps, metric, prunes_needed
        self._before: tuple[float, int] = (time.monotonic(), -1)
        self._bar: Any = None
        if sys.stdout.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            percent, description = TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}")
            self._bar = Progress(BarColumn(bar_width=BAR_WIDTH), percent, TimeRemainingColumn(), description)
            self._task = self._bar.add_task("starting", total=num_steps)
            self._bar.start()

    def write_steps(self, rows: list[Row]) -> None:
        """Nothing: a line per step helps nobody."""

    def write_evaluation(self, row: Row) -> None:
        """Say where the run stands."""
        speed = self._speed(row)
        metric = f"val {self._metric} {row[f'val/{self._metric}']:.2f}"
        if self._bar is not None:
            line = f"{row['phase'].partition('/')[0]} {metric} {self._pruning(row)} {speed}"
            self._bar.update(self._task, completed=row[AXIS], description=line)
            return
        place = f"{row['phase']:<24} step {row[AXIS]}/{self._num_steps}  {speed:>12}"
        print(f"{place}  {metric}  {self._pruning(row)}  {row['prune/reason']}".rstrip(), flush=True)

    def write_summary(self, summary: Row) -> None:
        """Nothing: the train script prints the table."""

    def write_figures(self, draw: Callable[[], dict[str, Path]]) -> None:
        """Nothing: a terminal shows none."""

    def finish(self, exit_code: int) -> None:
        """Give the terminal back."""
        if self._bar is not None:
            self._bar.stop()

    def _speed(self, row: Row) -> str:
        """Steps per second since the last evaluation, if that was in this process."""
        (then, step), self._before = self._before, (time.monotonic(), row[AXIS])
        rate = (row[AXIS] - step) / max(self._before[0] - then, 1e-9)
        return f"{rate:.1f} step/s" if 0 <= step < row[AXIS] else ""

    def _pruning(self, row: Row) -> str:
        sparsity, count = f"sparsity {100 * row['sparsity/total']:.2f} %", row["prune/count"]
        if count is None:
            return sparsity
        return f"{sparsity}  prunes {count}" + ("" if self._needed is None else f"/{self._needed}")


class Mirrors:
    """Several writers as one; a mirror that fails is named once, dropped, and the run goes on."""

    def __init__(self) -> None:
        self._writers: dict[str, MetricWriter] = {}

    def open(self, name: str, build: Callable[[], MetricWriter]) -> None:
        """Add the writer that `build` makes, under the name by which the user knows it."""
        try:
            self._writers[name] = build()
        except Exception as error:
            logger.warning("warning: %s could not be opened, the run goes on without it: %s", name, error)

    def write_steps(self, rows: list[Row]) -> None:
        """Hand on values of each step."""
        self._each("write_steps", rows)

    def write_evaluation(self, row: Row) -> None:
        """Hand on one evaluation."""
        self._each("write_evaluation", row)

    def write_summary(self, summary: Row) -> None:
        """Hand on the summary."""
        self._each("write_summary", summary)

    def write_figures(self, draw: Callable[[], dict[str, Path]]) -> None:
        """Hand on the figures."""
        self._each("write_figures", draw)

    def finish(self, exit_code: int) -> None:
        """Close all."""
        self._each("finish", exit_code)

    def _each(self, method: str, argument: Any) -> None:
        for name, writer in list(self._writers.items()):
            try:
                getattr(writer, method)(argument)
            except Exception as error:
                del self._writers[name]
                logger.warning("warning: %s failed, the run goes on without it: %s", name, error)
                with suppress(Exception):  # it has failed already; what it holds is let go
                    writer.finish(1)
