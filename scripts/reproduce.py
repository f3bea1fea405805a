"""Reproduce the paper: run, plan or ask after every experiment x pruner x seed; torch is asked for a GPU alone.

python scripts/reproduce.py run --scale smoke --seeds 0,1 --pruners relevance,l2
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from sparsity import config, provenance
from sparsity.data.sizes import KNOWN, split_sizes
from sparsity.files import run_script
from sparsity.hardware import cpu, driver
from sparsity.records import Summary
from sparsity.report.benchmarks import bf16_factor, load_benchmarks
from sparsity.report.paper import load_paper
from sparsity.report.reading import find_runs, load_summary
from sparsity.report.terminal import render_runs
from sparsity.run.jobs import EXPERIMENTS, TRAIN, add_options
from sparsity.run.plan import checkpoint_bytes, make_plan, most_written_bytes, record_bytes, uncut
from sparsity.run.stopping import Children
from sparsity.settings import Settings, leaf_name

PAPER = Path(__file__).parents[1] / "results" / "paper"


@dataclass(frozen=True, eq=False)
class Job:
    """One run: the overrides that name it and the settings they give."""

    overrides: tuple[str, ...]
    settings: Settings

    @property
    def directory(self) -> Path:
        """Where the run stands."""
        return provenance.run_directory(self.settings)

    def __str__(self) -> str:
        s = self.settings
        return f"{s.experiment:<24} {s.pruner.name:<10} seed {s.seed}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = parser().parse_intermixed_args(arguments)
    try:
        scale = config.concrete_scale(options.scale)
        reason = driver.obstacle() or "there is a CUDA GPU"
        why = f" ({reason}; SCALE=paper, rehearsal or smoke overrides)" if options.scale == "auto" else ""
        print(f"scale={scale}{why}", flush=True)
        jobs = list(list_jobs(options, scale))
        return {"run": run, "plan": plan, "status": status}[options.command](jobs)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "plan", "status"))
    experiments = ",".join(EXPERIMENTS)
    add_options(
        parser, experiments=experiments, pruners="auto", seeds="0", scale="auto", machine="auto", tracking="auto"
    )
    return parser


def list_jobs(options: argparse.Namespace, scale: str) -> Iterator[Job]:
    """Every experiment x pruner x seed that was asked for."""
    common = (f"scale={scale}", f"tracking={options.tracking}", f"machine={options.machine}", *options.overrides)
    for experiment in options.experiments.split(","):
        for pruner in pruners(options.pruners, experiment, scale):
            for seed in options.seeds.split(","):
                overrides = (f"experiment={experiment}", f"pruner={pruner}", f"seed={seed}", *common)
                yield Job(overrides, config.compose(list(overrides)))


def pruners(asked: str, experiment: str, scale: str) -> list[str]:
    """The pruners that were asked for; `auto` is relevance and its controls, of which smoke takes L2 alone."""
    if asked != "auto":
        return asked.split(",")
    controls = {"smoke": ["l2"], "rehearsal": []}
    if scale in controls:
        return ["relevance", *controls[scale]]
    return ["relevance", *config.compose([f"experiment={experiment}", f"scale={scale}"]).paper.controls]


def run(jobs: list[Job]) -> int:
    """Run what is not done, each in a process of its own, as many at a time as there are GPUs.

    What cannot run here is said first, with its remedy. Neither that nor a failure stops the others; both show in the
    exit status.
    """
    obstacles = {job: why for job in jobs if (why := obstacle(job))}
    for job, why in obstacles.items():
        print(f"cannot run: {job}: {why}", file=sys.stderr, flush=True)
    places: Queue[dict[str, str]] = Queue()
    for place in device_environments():
        places.put(place)
    children = Children()
    with children.guarded(), ThreadPoolExecutor(places.qsize()) as pool:
        numbered = [(f"[{number}/{len(jobs)}]", job) for number, job in enumerate(jobs, 1) if job not in obstacles]
        succeeded = list(pool.map(lambda pair: train(pair[0], pair[1], places, children), numbered))
    failed = [job for (_, job), is_good in zip(numbered, succeeded, strict=True) if not is_good]
    print()
    print(render_runs(job.directory for job in jobs if provenance.is_done(job.directory)), flush=True)
    for job in failed:
        print(f"failed: {job}: {provenance.state_of(job.directory)[1] or 'see its message above'}", file=sys.stderr)
    for job, why in obstacles.items():
        print(f"not run: {job}: {why}", file=sys.stderr)
    return 1 if failed or obstacles else 0


def obstacle(job: Job) -> str | None:
    """Why a run cannot be made on this machine and what to do about it, or None."""
    settings = job.settings
    if provenance.is_done(job.directory):
        return None
    if settings.scale != "paper" or not settings.paper.needs_gpu or settings.machine.device != "auto":
        return None
    reason = driver.obstacle()
    if not reason:
        return None
    here = "" if reason == driver.ABSENT else f" ({reason})"
    return f"it takes days without a CUDA GPU{here}; use a machine with one, SCALE=smoke, or MACHINE=cpu all the same."


def train(number: str, job: Job, places: "Queue[dict[str, str]]", children: Children) -> bool:
    """Run one job on the next free device; whether it is done. After a signal none begins."""
    place = places.get()
    try:
        if children.request.number is not None:
            return False
        print(f"{number} {job}", flush=True)
        if provenance.is_done(job.directory):
            print(f"already done: {job.directory}", flush=True)
            return True
        command = [sys.executable, str(TRAIN), *job.overrides]
        return children.run(command, os.environ | place) == 0
    finally:
        places.put(place)


def device_environments() -> list[dict[str, str]]:
    """What to add to the environment of each of the runs that may go on side by side: a GPU of its own."""
    num_gpus = 0 if driver.obstacle() else driver.count_gpus()
    if num_gpus < 2:
        return [{}]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(num_gpus)))
    return [{"CUDA_VISIBLE_DEVICES": name} for name in visible.split(",")[:num_gpus]]


def plan(jobs: list[Job]) -> int:
    """Print steps, evaluations, prunes and disk of each run, with warnings; hours where a run has measured them.

    Of data of one's own it is not known how many they are before they are loaded.
    """
    num_weights = {paper.experiment: paper.num_parameters for paper in load_paper(PAPER)}
    for job in jobs:
        settings, dataset = job.settings, leaf_name(job.settings.dataset)
        if dataset not in KNOWN:
            print(f"{job}: {dataset} says its size when it is loaded; a run prints its plan before it begins")
            continue
        keys, source, baseline = settings.protocol, str(settings.dataset["source"]), settings.baseline.source
        read = (keys.test_set_gates, keys.train_on_all, keys.speakers_by_position)
        sizes = split_sizes(dataset, source, baseline, settings.data_dir, *read)
        made = make_plan(settings, sizes.train)
        print(f"{job}: {made.describe()}; {_cost(settings, sizes.train, num_weights.get(settings.experiment))}")
        for warning in made.warnings:
            print(f"  warning: {warning}")
    return 0


def status(jobs: list[Job]) -> int:
    """Print how each run stands."""
    for job in jobs:
        state, reason = provenance.state_of(job.directory)
        print(f"{job}  {state}{': ' + reason if reason else ''}")
    return 0


def _cost(settings: Settings, num_train: int, num_weights: int | None) -> str:
    """Disk, and hours from the pace of the newest run of the model of so many weights here, rehearsals included."""
    if settings.scale == "smoke":
        return "less than a minute"
    if num_weights is None:
        return "disk and hours unknown, as the network is none of the paper's"
    made = make_plan(settings, num_train)
    held, written, rows = (
        f"{number / 1e9:.2g} GB"
        for number in (
            checkpoint_bytes(settings, num_weights),
            most_written_bytes(settings, num_weights, made),
            record_bytes(settings, made),
        )
    )
    disk = f"{held} of checkpoints (at most {written} written over time), {rows} of rows"
    finished = find_runs(Path(settings.results_dir) / "runs", settings.experiment)
    newest_first = sorted(finished, key=lambda run: (run / "summary.json").stat().st_mtime, reverse=True)
    for run in newest_first:
        summary = load_summary(run)
        if summary.cost and _is_like(summary, num_weights):
            pace = summary.cost.step_seconds, summary.cost.evaluation_seconds
            hours = make_plan(uncut(settings), num_train).seconds(*pace) / 3600
            return f"{disk}, about {hours:,.1f} h at the pace of {run}{_in_bf16(settings, summary, hours)}"
    return f"{disk}, hours unknown"


def _in_bf16(settings: Settings, measured: Summary, hours: float) -> str:
    """The hours of the same in bf16 on a CPU that multiplies it by itself, if both paces are on record."""
    is_told = settings.machine.precision != "auto" or not measured.provenance.device.startswith("cpu")
    if is_told or measured.provenance.device.endswith("bf16") or not cpu.has_bf16_units():
        return ""
    factor = bf16_factor(load_benchmarks(PAPER.parent), settings.experiment, cpu.name())
    return f", {factor * hours:,.1f} h with machine.precision=bf16, for which this CPU has units" if factor else ""


def _is_like(summary: Summary, num_weights: int) -> bool:
    """Whether a run took steps of full scale: not a smoke run with its small batches, and a network of this size."""
    return summary.scale != "smoke" and [row.total for row in summary.rows[:1]] == [num_weights]


if __name__ == "__main__":
    run_script(main)
