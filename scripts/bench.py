"""Time a training step against plain training and a straightforward research recipe, one JSON line per figure.

python scripts/bench.py step --experiment lenet5_mnist [--rounds N --machine auto|cpu|cuda --threads N]
python scripts/bench.py loader --source real [--rounds N --machine auto|cpu|cuda --workers N --decoder auto|cpu|gpu]

First it verifies that our step and the recipe compute the same update; if not, it ends with one sentence and exit
status 1. The three kinds of step take turns in small blocks, so that a busy machine disturbs all of them: each ratio is
the median of the ratios within a round. Images are generated, of the real shape and number: no data and no network.

The loader is timed on the files of ImageNet, its sample, or drawn figures (`--source embedded`), with nothing to train.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sparsity import config, machine
from sparsity.benchmark.figures import Figure, step_figures
from sparsity.benchmark.loader import loader_figures
from sparsity.data.imagenet import imagenet
from sparsity.data.streaming import StreamedData
from sparsity.plan import make_plan
from sparsity.settings import MachineSettings
from sparsity.tracking import JsonlWriter, Mirrors
from sparsity.workspace import Workspace


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what a user can cause ends it with one sentence and exit status 1."""
    options = parse_arguments(arguments)
    try:
        for figure in loader(options) if options.command == "loader" else steps(options):
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
    loader = commands.add_parser("loader", help="time the loading of ImageNet's files")
    loader.add_argument("--source", choices=("real", "sample", "embedded"), default="real", help="(default: real)")
    loader.add_argument("--rounds", type=int, default=5, help="timed blocks (default: %(default)s)")
    loader.add_argument("--batch-size", type=int, default=100, help="(default: %(default)s)")
    loader.add_argument("--machine", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)")
    loader.add_argument("--workers", type=int, default=0, help="threads (default: one per processor core)")
    loader.add_argument("--decoder", choices=("auto", "cpu", "gpu"), default="auto", help="(default: auto)")
    loader.add_argument("--data-dir", default="data", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds is {options.rounds}, but quartiles take at least 2; give more.")
    return options


def steps(options: argparse.Namespace) -> Iterator[Figure]:
    """The figures of the command `step`."""
    with workspace(options.experiment, options.machine, options.threads) as work:
        yield from step_figures(work, options.rounds)


def loader(options: argparse.Namespace) -> Iterator[Figure]:
    """The figures of the command `loader`."""
    device = machine.prepare(MachineSettings(device=options.machine))
    reading = {"decoder": options.decoder, "num_workers": options.workers}
    data = imagenet(options.source, "sound", options.data_dir, **reading).to(device)
    assert isinstance(data, StreamedData)
    yield from loader_figures(data, options.batch_size, options.rounds, device)


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
