"""Reproduce the paper: run, plan or ask after every experiment x pruner x seed, from one process that needs no torch.

python scripts/reproduce.py run --scale smoke --seeds 0,1 --pruners relevance,l2
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparsity import config, provenance
from sparsity.data.sizes import split_sizes
from sparsity.plan import make_plan, uncut
from sparsity.report.terminal import render_runs
from sparsity.settings import Settings, leaf_name

TRAIN = Path(__file__).with_name("train.py")
# the order of the paper; each is a file of conf/experiment
EXPERIMENTS = ("lenet5_mnist", "lenet5_fashion_mnist")
WHY_AUTO = {"paper": "there is a CUDA GPU", "smoke": "there is no CUDA GPU"}


@dataclass(frozen=True)
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
    options = parser().parse_args(arguments)
    try:
        scale = config.concrete_scale(options.scale)
        why = f" ({WHY_AUTO[scale]}; SCALE=paper, rehearsal or smoke overrides)" if options.scale == "auto" else ""
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
    parser.add_argument("--scale", default="auto", help="auto (paper with CUDA, else smoke), paper, rehearsal or smoke")
    parser.add_argument("--experiments", default=",".join(EXPERIMENTS), help="separated by commas")
    parser.add_argument("--pruners", default="relevance", help="separated by commas")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--tracking", default="auto", help="auto, offline, online or none")
    parser.add_argument("--machine", default="auto", help="auto, cpu or cuda")
    return parser


def list_jobs(options: argparse.Namespace, scale: str) -> Iterator[Job]:
    """Every experiment x pruner x seed that was asked for."""
    common = (f"scale={scale}", f"tracking={options.tracking}", f"machine={options.machine}")
    for experiment in options.experiments.split(","):
        for pruner in options.pruners.split(","):
            for seed in options.seeds.split(","):
                overrides = (f"experiment={experiment}", f"pruner={pruner}", f"seed={seed}", *common)
                yield Job(overrides, config.compose(list(overrides)))


def run(jobs: list[Job]) -> int:
    """Run what is not done, each in a process of its own; a failure stops no other run but shows in the exit status."""
    failed = []
    for number, job in enumerate(jobs, 1):
        print(f"[{number}/{len(jobs)}] {job}", flush=True)
        if provenance.is_done(job.directory):
            print(f"already done: {job.directory}", flush=True)
        elif subprocess.run([sys.executable, str(TRAIN), *job.overrides]).returncode != 0:
            failed.append(job)
    print()
    print(render_runs(job.directory for job in jobs if provenance.is_done(job.directory)), flush=True)
    for job in failed:
        print(f"failed: {job}: {provenance.state_of(job.directory)[1] or 'see its message above'}", file=sys.stderr)
    return 1 if failed else 0


def plan(jobs: list[Job]) -> int:
    """Print steps, evaluations and prunes of each run, with warnings; hours where a rehearsal has measured them."""
    for job in jobs:
        settings = job.settings
        source, baseline = str(settings.dataset["source"]), settings.baseline.source
        sizes = split_sizes(leaf_name(settings.dataset), source, settings.protocol.name, baseline)
        made = make_plan(settings, sizes.train)
        print(f"{job}: {made.describe()}; {_hours(settings, sizes.train)}")
        for warning in made.warnings:
            print(f"  warning: {warning}")
    return 0


def status(jobs: list[Job]) -> int:
    """Print how each run stands."""
    for job in jobs:
        state, reason = provenance.state_of(job.directory)
        print(f"{job}  {state}{': ' + reason if reason else ''}")
    return 0


def _hours(settings: Settings, num_train: int) -> str:
    """Hours projected from the pace of the newest run of this experiment on this machine, rehearsals included."""
    if settings.scale == "smoke":
        return "less than a minute"
    runs = Path(settings.results_dir) / "runs" / settings.experiment
    paths = sorted(runs.glob("*/seed*/summary.json"), key=lambda path: path.stat().st_mtime)
    costs = [(json.loads(path.read_text()), path) for path in paths]
    costs = [(summary["cost"], path) for summary, path in costs if summary["scale"] != "smoke"]
    if not costs:
        return "hours unknown"
    cost, path = costs[-1]
    seconds = make_plan(uncut(settings), num_train).seconds(cost["step_seconds"], cost["evaluation_seconds"])
    return f"about {seconds / 3600:.1f} h at the pace of {path.parent}"


if __name__ == "__main__":
    sys.exit(main())
