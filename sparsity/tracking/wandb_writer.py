"""Weights & Biases, the mirror of the record: offline unless a login is there, never a prompt, and never waited for."""

import logging
import netrc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from sparsity.settings import TrackingSettings
from sparsity.tracking.background import Background, Work
from sparsity.tracking.record import AXIS, RECORD, Row, rows_of

FOLDER, ARRIVED = "wandb", "arrived"  # W&B's folder in a run's directory, and the file there that says: nothing is left
REFUSED = "filestream: fatal error"  # in the log of W&B's service; `finish` returns as if all were well
MOST_IN_A_TAG = 64  # characters; W&B refuses a run with a longer one

logger = logging.getLogger(__name__)


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
