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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from sparsity.settings import TrackingSettings
from sparsity.tracking.background import Background, Work

Row = dict[str, Any]
AXIS = "global_step"
RECORD = "metrics.jsonl"
FOLDER, ARRIVED = "wandb", "arrived"  # W&B's folder in a run's directory, and the file there that says: nothing is left
REFUSED = "filestream: fatal error"  # in the log of W&B's service; `finish` returns as if all were well
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


def recorded(path: Path) -> Iterator[tuple[Row, int]]:
    """The rows of a record, each with its length in bytes.

    Raises:
        ValueError: naming the first line that is damaged, and the way out.
    """
    phase: str | None = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                whole = line.endswith(b"\n") and isinstance(row, dict) and {"kind", "phase"} <= row.keys()
            except ValueError:
                whole = False
            if not whole:
                raise ValueError(f"{path} is damaged in line {number}: put the file back, or {_without(path, phase)}.")
            yield row, len(line)
            phase = row["phase"]


def _without(path: Path, phase: str | None) -> str:
    """How a run goes on without what a record has lost, whose last whole row is of a phase."""
    if phase is None:
        return f"remove {path.parent} to start again"
    return f"remove {path.parent / 'checkpoints' / phase} to train from that phase on again"


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
            ValueError: if the record is shorter than that, or damaged; it says the way out.
        """
        self.position()
        length, phase, rows = 0, None, recorded(self._path)
        while length < position and (found := next(rows, None)):  # what was written later may be cut short
            length, phase = length + found[1], found[0]["phase"]
        if length < position:
            raise ValueError(
                f"{self._path} is shorter than when the last checkpoint was written: "
                f"put it back, or {_without(self._path, phase)}."
            )
        self._file.truncate(position)

    def cut_phase(self, name: str) -> bool:
        """Forget a phase and all that came after it, as it starts anew; whether there was anything to forget."""
        self.position()
        begin = 0
        for row, size in recorded(self._path):
            if row["phase"] == name:
                self._file.truncate(begin)
                return True
            begin += size
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
    Its id comes from its directory, so it is the same whenever the run is resumed or sent again. A row has the same
    number at W&B (`_step`) whoever sends it, and only those are sent that are not there: online, the rows of the record
    that an earlier process could not send come first. A thread of its own speaks to W&B: training never waits for it,
    and the end of the run no longer than `limit_seconds`, after which W&B's service is ended.

    Args:
        settings: mode, project, entity, cadence, limit.
        directory: of the run, results/runs/<experiment>/<run>/seed<n>; W&B keeps its files there.
        config: the resolved settings as a tree.
    """

    def __init__(self, settings: TrackingSettings, directory: Path, config: Row) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's reports about itself, waited for at exit
        import wandb  # noqa: F401  # here: what is imported in two threads at once can block both

        self._settings, self._directory, self._config = settings, directory, config
        self._mode = wandb_mode(settings.mode)
        self._service: Any = None
        self._next_step = 0
        self._is_new = not (directory / FOLDER).exists()
        if self._mode != "disabled":
            (directory / FOLDER).mkdir(parents=True, exist_ok=True)
            (directory / FOLDER / ARRIVED).unlink(missing_ok=True)
        self._background = Background(settings.limit_seconds)
        self._background.do(self._open)

    def write_steps(self, rows: list[Row]) -> None:
        """Log the rows that `every_steps` keeps, on the run's own axis."""
        kept = [row for row in rows if row["step"] % self._settings.every_steps == 0]
        self._do(lambda: self._log(kept, is_evaluation=False))

    def write_evaluation(self, row: Row) -> None:
        """Log one evaluation."""
        self._do(lambda: self._log([row], is_evaluation=True))

    def write_summary(self, summary: Row) -> None:
        """Put the paper's row beside ours on the run's page, as values of the summary and as a table."""
        self._do(lambda: self._log_summary(summary))

    def write_figures(self, draw: Callable[[], dict[str, Path]]) -> None:
        """Show the run's figures: name -> PNG file."""
        with _told_of_sync():
            self._background.check()
        figures = draw()
        self._do(lambda: self._log_figures(figures))

    def finish(self, exit_code: int) -> None:
        """Close the run, mark how it ended, and end the service, whatever comes.

        Raises:
            ConnectionError: if W&B did not take all of it.
        """
        limit = self._settings.limit_seconds
        try:
            self._do(lambda: self._close(exit_code))
            with _told_of_sync():
                self._background.finish(lambda: logger.info("W&B: waiting up to %g s for what is on its way", limit))
        finally:
            self._end_service()

    def _do(self, work: Work) -> None:
        with _told_of_sync():
            self._background.do(work)

    def _open(self) -> None:
        import wandb

        silent = wandb.Settings(silent=True)
        self._service = wandb.setup(silent).ensure_service()._proc  # None if W&B's agent owns it
        identity, config = "-".join(self._directory.parts[-3:]), self._config
        self._run = wandb.init(
            mode=self._mode,
            project=self._settings.project,
            entity=self._settings.entity,
            dir=str(self._directory),
            name=identity,
            group=config["experiment"],
            job_type=config["pruner"]["name"],
            tags=_tags(config),
            id=identity,
            resume="allow" if self._mode == "online" and not self._is_new else None,  # None: what was there goes
            config=config,
            settings=wandb.Settings(
                console="off",
                x_disable_stats=True,
                x_disable_meta=True,  # the host's name, the program's place and the user's folders
                host="-",
            ),
        )
        self._run.define_metric(AXIS)
        self._run.define_metric("*", step_metric=AXIS)
        if self._mode == "online":
            self._next_step = self._run.starting_step
            self._catch_up()

    def _catch_up(self) -> None:
        for row in rows_of(self._directory / RECORD):
            self._log([row], is_evaluation=row.pop("kind") == "evaluation")

    def _log(self, rows: list[Row], is_evaluation: bool) -> None:
        for row in rows:
            step = 2 * row[AXIS] + is_evaluation  # a step stands before its evaluation, and each number once
            if step >= self._next_step:
                self._log_at(step, row)

    def _log_at(self, step: int, values: Row) -> None:
        self._run.log(values, step=step)
        self._next_step = step + 1
        self._background.answered()

    def _log_summary(self, summary: Row) -> None:
        import wandb

        self._run.summary.update(headline(summary))
        rows = [[row["start"], row["sparsity"], row["val"], row["test"]] for row in summary["rows"]]
        paper = ["paper", summary["paper"]["sparsity"], None, summary["paper"]["metric"]]
        table = wandb.Table(columns=["result", "sparsity", "val", "test"], data=[paper, *rows])
        self._log_at(self._next_step, {"against_the_paper": table})

    def _log_figures(self, figures: dict[str, Path]) -> None:
        import wandb

        images = {f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()}
        self._log_at(self._next_step, images)

    def _close(self, exit_code: int) -> None:
        """Wait until W&B has what was sent and its service has ended; W&B's log alone says that it was refused."""
        import wandb

        self._run.finish(exit_code=exit_code)
        try:
            wandb.teardown()
        except SystemExit as error:
            raise ConnectionError(f"its service ended with status {error.code}") from error
        if self._mode != "online":
            return
        log = Path(self._run.dir).parent / "logs" / "debug-internal.log"
        if REFUSED in log.read_text(errors="replace"):
            raise ConnectionError(f"it refused rows, see {log}")
        (self._directory / FOLDER / ARRIVED).touch()

    def _end_service(self) -> None:
        """Kill W&B's process if it is still there, and take back what W&B would do with it at exit."""
        import wandb

        if self._service is None or self._service._process.poll() is not None:
            return
        self._service._process.kill()
        self._service._process.wait()
        with suppress(Exception, SystemExit):  # it complains of the connection that we have just cut
            wandb.teardown()


@contextmanager
def _told_of_sync() -> Iterator[None]:
    """What goes wrong with W&B, as one line that says how the rest gets there."""
    try:
        yield
    except Exception as error:
        raise ConnectionError(f"{' '.join(str(error).split())}; `make sync` sends the rest later") from error


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


def rows_of(record: Path) -> Iterator[Row]:
    """The rows of a record; a last line that is not whole is left out."""
    if not record.exists():
        return
    with record.open() as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


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
