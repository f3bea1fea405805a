"""Those who are told what happens: a JSONL file, which is the record; W&B, a mirror of it; and the terminal.

Each writer receives rows of plain values under the names of the log: `train/loss`, `val/accuracy`, `penalty/lambda`,
`sparsity/total`, `sparsity/layer/<parameter>`, `irrelevance/layer/<parameter>/...`. Rows carry `phase`, `step` (in the
phase) and `global_step` (over all phases), the axis of every plot.
"""

import json
import logging
import netrc
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from sparsity.settings import TrackingSettings

Row = dict[str, Any]
AXIS = "global_step"
MOST_IN_A_TAG = 64  # characters; W&B refuses a run with a longer one
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


class JsonlWriter:
    """The record: one JSON object a line, cut back to a checkpoint when a run resumes.

    Args:
        path: of the file, created with its folder.
        every_steps: of the rows of single steps one in this number is kept.
    """

    def __init__(self, path: Path, every_steps: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._every_steps = path, every_steps
        self._file = path.open("ab")

    def __enter__(self) -> "JsonlWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.finish(exit_code=0)

    def position(self) -> int:
        """The length of the record in bytes, all of it on the disk: a checkpoint counts on it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def cut(self, position: int) -> None:
        """Forget everything written after `position`.

        Raises:
            ValueError: if the record is shorter than that.
        """
        if position > self.position():
            raise ValueError(
                f"{self._path} is shorter than when the last checkpoint was written: "
                f"put it back, or remove {self._path.parent} to start again."
            )
        self._file.truncate(position)

    def cut_phase(self, name: str) -> bool:
        """Forget a phase and all that came after it, as it starts anew; whether there was anything to forget."""
        self.position()
        begin = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if json.loads(line)["phase"] == name:
                    self._file.truncate(begin)
                    return True
                begin += len(line)
        return False

    def write_steps(self, rows: list[Row]) -> None:
        """Append the rows that `every_steps` keeps."""
        self._append({"kind": "step", **row} for row in rows if row["step"] % self._every_steps == 0)

    def write_evaluation(self, row: Row) -> None:
        """Append one evaluation."""
        self._append([{"kind": "evaluation", **row}])

    def finish(self, exit_code: int) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, rows: Iterable[Row]) -> None:
        self._file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
        self._file.flush()


class WandbWriter:
    """The mirror on Weights & Biases, offline unless a login is there.

    A run stands in the group of its experiment; its pruner is the job type; scale, seed and sweep are tags.
    Its id comes from its directory, so it is the same whenever the run is resumed or sent again.

    Args:
        settings: mode, project, entity, cadence.
        directory: of the run, results/runs/<experiment>/<run>/seed<n>; W&B keeps its files there.
        config: the resolved settings as a tree.
    """

    def __init__(self, settings: TrackingSettings, directory: Path, config: Row) -> None:
        import wandb

        identity = "-".join(directory.parts[-3:])
        self._every_steps = settings.every_steps
        mode = wandb_mode(settings.mode)
        self._run = wandb.init(
            mode=mode,
            project=settings.project,
            entity=settings.entity,
            dir=str(directory),
            name=identity,
            group=config["experiment"],
            job_type=config["pruner"]["name"],
            tags=_tags(config),
            id=identity,
            resume="allow" if mode == "online" else None,
            config=config,
            # metadata are the host's name, the program's place and the user's folders
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True, host="-"),
        )
        self._run.define_metric(AXIS)
        self._run.define_metric("*", step_metric=AXIS)

    def write_steps(self, rows: list[Row]) -> None:
        """Log the rows that `every_steps` keeps, on the run's own axis."""
        for row in rows:
            if row["step"] % self._every_steps == 0:
                self._run.log(row)

    def write_evaluation(self, row: Row) -> None:
        """Log one evaluation."""
        self._run.log(row)

    def write_summary(self, summary: Row) -> None:
        """Put the paper's row beside ours on the run's page, as values of the summary and as a table."""
        import wandb

        flat = headline(summary)
        self._run.summary.update(flat)
        rows = [[row["start"], row["sparsity"], row["val"], row["test"]] for row in summary["rows"]]
        paper = ["paper", summary["paper"]["sparsity"], None, summary["paper"]["metric"]]
        table = wandb.Table(columns=["result", "sparsity", "val", "test"], data=[paper, *rows])
        self._run.log({"against_the_paper": table})

    def write_figures(self, draw: Callable[[], dict[str, Path]]) -> None:
        """Show the run's figures: name -> PNG file."""
        import wandb

        self._run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in draw().items()})

    def finish(self, exit_code: int) -> None:
        """Close the run and mark how it ended."""
        self._run.finish(exit_code=exit_code)


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
        self._writers: list[MetricWriter] = []

    def open(self, name: str, build: Callable[[], MetricWriter]) -> None:
        """Add the writer that `build` makes, under the name by which the user knows it."""
        try:
            self._writers.append(build())
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
        for writer in list(self._writers):
            try:
                getattr(writer, method)(argument)
            except Exception as error:
                self._writers.remove(writer)
                logger.warning("warning: %s failed and is dropped for this run: %s", type(writer).__name__, error)


def headline(summary: Row) -> Row:
    """The paper's row beside ours, flat: `ours/<start>/<value>` and `paper/<value>`, and whose protocol it is."""
    ours = {
        f"ours/{row['start']}/{name}": row[name]
        for row in summary["rows"]
        for name in ("val", "test", "sparsity", "kept")
    }
    paper = {f"paper/{name}": value for name, value in summary["paper"].items()}
    return {"protocol": summary["protocol"]} | ours | paper


def _tags(config: Row) -> list[str]:
    names = [config["pruner"]["name"], config["scale"], f"seed{config['seed']}"]
    return [tag[:MOST_IN_A_TAG] for tag in (config["experiment"], *names, f"sweep-{config['sweep_name']}")]


def wandb_mode(mode: str) -> Literal["online", "offline", "disabled"]:
    """How W&B is to work here: online only with a login present, so that it never prompts; else offline.

    The environment variable WANDB_MODE speaks where `mode` is `auto`.
    """
    asked = os.environ.get("WANDB_MODE", "") if mode == "auto" else mode
    if asked == "disabled":
        return "disabled"
    if asked != "offline" and _has_login():
        return "online"
    if asked == "online":
        logger.warning("warning: no W&B login is there, so it works offline; run `wandb login` once to be online.")
    return "offline"


def _has_login() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname or "api.wandb.ai"
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False
