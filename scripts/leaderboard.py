"""Every method in one loop at one budget: python scripts/leaderboard.py [METHOD ...] [--seeds 0,1,2] [--processes 2].

The methods, what is tried of each and the budget stand in results/leaderboard.yaml. Each try is run with the first
seed; the one that validation data choose is run with the others. The same command again goes on where it was stopped,
and passes over what is committed with its networks; --status says where each run stands and begins none. A method of
one's own, a file of conf/pruner, takes part by its name. KEY=VALUE holds for all runs, such as results_dir=elsewhere.
With --own the methods run once each as in their own papers, at most three hours, where the list knows how.
Then `make report` writes the page.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparsity import config, provenance
from sparsity.files import run_script
from sparsity.report.configurations import Configuration
from sparsity.report.paper import PaperExperiment, load_paper
from sparsity.report.publish import committed, state_of
from sparsity.report.reading import load_run
from sparsity.report.standings import FILE, Entry, Leaderboard, choose, load_leaderboard
from sparsity.run.jobs import Job, add_processes, work_off

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Try:
    """One setting of a method in one experiment, run with any seed; the `number`-th of the method."""

    paper: PaperExperiment
    pruner: str
    number: int
    overrides: Job

    def job(self, seed: str) -> Job:
        """The overrides of its run with a seed."""
        return (f"experiment={self.paper.experiment}", f"pruner={self.pruner}", f"seed={seed}", *self.overrides)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status; a failed run stops no other."""
    options = parser().parse_intermixed_args(arguments)
    try:
        listed = load_leaderboard(RESULTS / FILE)
        tries = sorted(list_tries(options, listed), key=lambda each: each.number)  # cut off, it has some of each
        first, *others = options.seeds.split(",")
        places = {each.job(first): directory_of(each.job(first)) for each in tries}
        status = 0 if options.status else run(places, options.processes)
        chosen = [] if options.own else [best for group in grouped(tries) if (best := chosen_of(group, first, listed))]
        rest = {job: directory_of(job) for each in chosen for job in map(each.job, others)}
        if options.status:
            return show(places | rest)
        return max(status, run(rest, options.processes))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="methods (default: all of the list), and settings for all runs")
    parser.add_argument("--experiments", default="lenet5_mnist", help="separated by commas (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", help="the first is for the tries (default: %(default)s)")
    add_processes(parser)
    parser.add_argument("--own", action="store_true", help="each method at its own paper's budget, with the first seed")
    parser.add_argument("--status", action="store_true", help="say where each run stands and begin none")
    return parser


def list_tries(options: argparse.Namespace, listed: Leaderboard) -> Iterator[Try]:
    """Every try of every method that was asked for; a method that the list does not name has one, as it stands.

    Raises:
        ValueError: if an experiment is none of the paper's.
    """
    papers = {each.experiment: each for each in load_paper(RESULTS / "paper")}
    names = [word for word in options.words if "=" not in word]
    settings = (word for word in options.words if "=" in word)
    common = (*listed.common, *settings)
    known = {entry.pruner: entry for entry in listed.methods}
    for experiment in options.experiments.split(","):
        if experiment not in papers:
            raise ValueError(f"There is no experiment {experiment}; choose among {', '.join(papers)}.")
        asked = [known.get(name, Entry(name)) for name in names]
        for entry in asked or listed.entries_in(experiment):
            own = [entry.own[experiment]] if experiment in entry.own else []
            for number, tried in enumerate(own if options.own else listed.tries_in(experiment, entry)):
                yield Try(papers[experiment], entry.pruner, number, (*common, *tried))


def grouped(tries: Sequence[Try]) -> list[list[Try]]:
    """The tries of each method in each experiment."""
    groups: dict[tuple[str, str], list[Try]] = {}
    for each in tries:
        groups.setdefault((each.paper.experiment, each.pruner), []).append(each)
    return list(groups.values())


def chosen_of(group: Sequence[Try], seed: str, listed: Leaderboard) -> Try | None:
    """The try that validation data choose; None until each is done."""
    records = [record_of(directory_of(each.job(seed))) for each in group]
    if any(record is None for record in records):
        return None
    found = [Configuration((load_run(record),), ()) for record in records if record is not None]
    return group[found.index(choose(found, listed.bound_in(group[0].paper)))]


def run(places: dict[Job, Path], processes: int) -> int:
    """Make those runs that have no record yet."""
    jobs = [job for job, directory in places.items() if record_of(directory) is None]
    return work_off(jobs, processes, lambda job: print(f"leaderboard: {' '.join(job)}", flush=True)) if jobs else 0


def show(places: dict[Job, Path]) -> int:
    """Say where each run stands."""
    for job, directory in places.items():
        print(f"{state_of(directory, RESULTS):12} {' '.join(job)}")
    return 0


def directory_of(job: Job) -> Path:
    """Where a run stands."""
    return provenance.run_directory(config.compose(list(job)))


def record_of(directory: Path) -> Path | None:
    """The folder with the record of a finished run, committed or not; None where there is none."""
    return committed(directory, RESULTS) or (directory if provenance.is_done(directory) else None)


if __name__ == "__main__":
    run_script(main)
