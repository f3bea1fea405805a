"""Many runs of the train script: which, as scripts ask for them, and some at a time, none stopping another.

Free of all that a bare machine may lack.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sparsity.run.stopping import Children

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"

# The paper's, files of conf/experiment; the shortest first, so that a short time finishes most.
EXPERIMENTS = (
    "lenet5_mnist",
    "lenet5_fashion_mnist",
    "resnet32_cifar10",
    "transformer_taskmaster1",
    "transformer_wmt14",
    "vgg16_imagenet",
)
_ASKED = {
    "experiments": "separated by commas",
    "pruners": "separated by commas; auto is relevance and its controls",
    "seeds": "separated by commas",
    "scale": "auto (paper with CUDA, else smoke), paper, rehearsal or smoke",
    "machine": "auto, cpu or cuda",
    "tracking": "auto, offline, online or none",
}

Job = tuple[str, ...]  # the overrides of one run


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Let a script be told how many runs to make at a time."""

    def number(word: str) -> int:
        if not word.isdecimal() or int(word) < 1:
            raise argparse.ArgumentTypeError(f"{word} is no number of runs; give a whole one from 1 on.")
        return int(word)

    parser.add_argument(
        "--processes", type=number, default=1, help="runs at a time, one to a core (default: %(default)s)"
    )


def add_options(parser: argparse.ArgumentParser, **defaults: str) -> None:
    """Let a script be asked for runs: an option for each name, with its default, and overrides of all of them."""
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default, help=f"{_ASKED[name]} (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help="further settings of every run, such as machine.precision=bf16")


def work_off(jobs: Sequence[Job], processes: int, before: Callable[[Job], None]) -> int:
    """Make the runs; the exit status is 1 if any of them failed, which is said at the end.

    Args:
        processes: how many at a time.
        before: called with each job as it begins.

    Raises:
        Stopped: after a signal, which the runs under way were handed, and once they have ended.
    """

    children = Children()

    def run(job: Job) -> int:
        if children.request.number is None:
            before(job)
        return children.run([sys.executable, str(TRAIN), *job])

    with children.guarded(), ThreadPoolExecutor(processes) as pool:
        statuses = list(pool.map(run, jobs))
    failed = [job for job, status in zip(jobs, statuses, strict=True) if status != 0]
    for job in failed:
        print(f"failed, see its message above: {' '.join(job)}", file=sys.stderr)
    print(f"{len(jobs) - len(failed)} of {len(jobs)} runs are done")
    return 1 if failed else 0
