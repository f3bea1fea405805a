"""Time a training step against plain training and a straightforward research recipe, one JSON line per figure.

python scripts/bench.py step --experiment lenet5_mnist [--rounds N --machine auto|cpu|cuda --threads N]

First it verifies that our step and the recipe compute the same update; if not, it ends with one sentence and exit
status 1. The three kinds of step take turns in small blocks, so that a busy machine disturbs all of them: each ratio is
the median of the ratios within a round. Images are generated, of the real shape and number: no data and no network.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sparsity import config, machine
from sparsity.benchmark.figures import step_figures
from sparsity.plan import make_plan
from sparsity.tracking import JsonlWriter, Mirrors
from sparsity.workspace import Workspace


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what a user can cause ends it with one sentence and exit status 1."""
    options = parse_arguments(arguments)
    try:
        with workspace(options.experiment, options.machine, options.threads) as work:
            for figure in step_figures(work, options.rounds):
                print(json.dumps(figure), flush=True)
    except ValueError as error:
        sys.exit(f"error: {error}")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options; fewer than two rounds are an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("step", help="time steps, an evaluation, a prune and a checkpoint")
    step.add_argument("--experiment", required=True, help="one of conf/experiment, such as lenet5_mnist")
    step.add_argument("--rounds", type=int, default=30, help="rounds of the comparison (default: %(default)s)")
    step.add_argument("--machine", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)")
    step.add_argument("--threads", type=int, help="threads on a CPU (default: torch's choice)")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        step.error(f"--rounds is {options.rounds}, but quartiles take at least 2; give more.")
    return options


@contextmanager
def workspace(experiment: str, device: str, threads: int | None, source: str = "generated") -> Iterator[Workspace]:
    """An experiment at the paper's scale, on data that needs no fetching, in a temporary directory.

    Raises:
        ValueError: if the experiment is unknown or the device is not there.
    """
    overrides = [f"experiment={experiment}", "scale=paper", f"dataset.source={source}", f"machine={device}"]
    settings = config.compose(overrides if threads is None else [*overrides, f"machine.num_threads={threads}"])
    built = config.build(settings)
    with tempfile.TemporaryDirectory() as folder:
        directory, on = Path(folder), machine.prepare(settings.machine)
        data = built.build_data().to(on)
        log = JsonlWriter(directory / "metrics.jsonl", settings.tracking.every_steps)
        plan = make_plan(settings, len(data.train))
        try:
            yield Workspace(built, on, data, directory, {}, plan, log, Mirrors())
        finally:
            log.finish(0)


if __name__ == "__main__":
    main()
