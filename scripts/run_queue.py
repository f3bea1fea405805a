"""Work off a list of runs: python scripts/run_queue.py [FILE] [--processes 2] [--status] [KEY=VALUE ...].

The list of the project's own evidence is results/queue.yaml. What is committed with its networks is passed over; the
same command again resumes what was stopped. --status says where each run stands and begins none. Settings at the end
hold for all runs, such as results_dir=elsewhere.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparsity import config, provenance
from sparsity.files import run_script
from sparsity.report.parsing import decode, load_yaml
from sparsity.report.publish import state_of
from sparsity.run.jobs import Job, add_processes, work_off

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Entry:
    """One configuration, and the seeds that it is run with."""

    settings: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Queue:
    """What all runs have in common, and the configurations in the order in which they are run."""

    common: tuple[str, ...]
    runs: tuple[Entry, ...]

    def jobs(self, overrides: Sequence[str]) -> list[Job]:
        """The overrides of each run; `common` comes first, so that an entry may say otherwise."""
        return [
            (*self.common, *entry.settings, f"seed={seed}", *overrides) for entry in self.runs for seed in entry.seeds
        ]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="a list as results/queue.yaml, and settings for all runs")
    add_processes(parser)
    parser.add_argument("--status", action="store_true", help="say where each run stands and begin none")
    given = parser.parse_intermixed_args(arguments)
    overrides: list[str] = given.overrides
    path = Path(overrides.pop(0)) if overrides and "=" not in overrides[0] else RESULTS / "queue.yaml"
    try:
        if not path.is_file():
            raise ValueError(f"There is no list {path}; name one as results/queue.yaml.")
        queue: Queue = load_yaml(path, lambda document: decode(Queue, document, ""))
        places = {job: provenance.run_directory(config.compose(list(job))) for job in queue.jobs(overrides)}
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if given.status:
        for job, directory in places.items():
            print(f"{state_of(directory, RESULTS):12} {' '.join(job)}")
        print(summed(places.values()))
        return 0
    return work_off(
        [job for job, directory in places.items() if state_of(directory, RESULTS) != "committed"],
        given.processes,
        lambda job: print(f"{summed(places.values())}; now {' '.join(job)}", flush=True),
    )


def summed(directories: Iterable[Path]) -> str:
    """So many runs of each state, in one line."""
    counted = Counter(state_of(directory, RESULTS) for directory in directories)
    return ", ".join(f"{number} {state}" for state, number in sorted(counted.items()))


if __name__ == "__main__":
    run_script(main)
