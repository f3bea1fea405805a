"""Does relevance differ from L2? Run LeNet-5 with several irrelevances against L2 and magnitude at equal settings.

python scripts/study.py [--seeds 0,1,2] [--processes 2] [KEY=VALUE ...]

The same command again goes on where it was stopped; runs that are done cost a second. Overrides at the end hold for all
runs, such as regularise.num_epochs=40 (shortened runs are marked on the page), machine=cpu or tracking=none. Then
`make report` writes the answer into the page; `python scripts/report.py --sweep relevance_or_l2` tables the runs.
"""

import argparse
import sys

from sparsity import config
from sparsity.files import run_script
from sparsity.run.jobs import Job, add_options, add_processes, work_off

SWEEP = "relevance_or_l2"
METHODS = (
    ("pruner=relevance",),  # alpha = 1, the paper's
    ("pruner=l2",),
    ("pruner=magnitude",),
    ("pruner=relevance", "pruner.penalty.scale_free=true"),
    ("pruner=relevance", "pruner.penalty.alpha=0.1"),
    ("pruner=relevance", "pruner.penalty.alpha=0.01"),
    ("pruner=relevance", "pruner.penalty.alpha=0.001"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status; a failed run stops no other."""
    options = parser().parse_intermixed_args(arguments)
    jobs = list_jobs(options)
    try:
        for job in jobs:
            config.compose(list(job))  # what is wrong in all of them is said once
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return work_off(jobs, options.processes, lambda job: print(f"study: {' '.join(job)}", flush=True))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_processes(parser)
    add_options(parser, experiments="lenet5_mnist,lenet5_fashion_mnist", seeds="0,1,2", scale="paper")
    return parser


def list_jobs(options: argparse.Namespace) -> list[Job]:
    """The overrides of each run, seed by seed: a study that is cut off has whole comparisons of its first seeds."""
    common = (f"scale={options.scale}", f"sweep_name={SWEEP}", *options.overrides)
    return [
        (f"experiment={experiment}", f"seed={seed}", *method, *common)
        for seed in options.seeds.split(",")
        for experiment in options.experiments.split(",")
        for method in METHODS
    ]


if __name__ == "__main__":
    run_script(main)
