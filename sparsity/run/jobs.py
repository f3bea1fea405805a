"""Many runs of the train script, some at a time, each in a process of its own: one that fails stops no other."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"

Job = tuple[str, ...]  # the overrides of one run


def work_off(jobs: Sequence[Job], processes: int, before: Callable[[Job], None]) -> int:
    """Make the runs; the exit status is 1 if any of them failed, which is said at the end.

    Args:
        processes: how many at a time.
        before: called with each job as it begins.
    """

    def run(job: Job) -> int:
        before(job)
        return subprocess.run([sys.executable, str(TRAIN), *job], check=False).returncode

    with ThreadPoolExecutor(processes) as pool:
        statuses = list(pool.map(run, jobs))
    failed = [job for job, status in zip(jobs, statuses, strict=True) if status != 0]
    for job in failed:
        print(f"failed, see its message above: {' '.join(job)}", file=sys.stderr)
    print(f"{len(jobs) - len(failed)} of {len(jobs)} runs are done")
    return 1 if failed else 0
