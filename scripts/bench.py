"""Time a training step against plain training and a straightforward research recipe, one JSON line per measurement.

python scripts/bench.py step --experiment lenet5_mnist [--rounds N --steps N --machine auto|cpu|cuda --threads N]
python scripts/bench.py text --experiment transformer_wmt14 [--precision fp32 --rounds N --sentences N]
python scripts/bench.py run --experiment vgg16_imagenet [--rounds N --machine auto|cpu|cuda --threads N]
python scripts/bench.py loader --source real [--rounds N --machine auto|cpu|cuda --workers N]
python scripts/bench.py latency RUN_OR_NETWORK... [--batches 1,64,512 --rounds N --threads N]
python scripts/bench.py busy [--policies project,unbounded,passive --pairs N --seconds S --busy N --threads N]

First it verifies that our step and the recipe compute the same update; if not, it ends with one sentence and exit
status 1. The three kinds of step take turns in small blocks, so that a busy machine disturbs all of them: each ratio is
the median of the ratios within a round. Images are generated, of the real shape and number: no data and no network.

On text our step is held against that of the Hugging Face Trainer, our loss against its matrix products alone, and our
beam search against `generate` and, on a CPU in fp32, against CTranslate2 where that is installed. Another method than
relevance, pruner=NAME, is held against plain training alone. `run` times whole smoke runs. With --record step, text,
run and latency leave what they measured under results/benchmarks, of which `make report` makes a page.
`latency` times pruned networks on a CPU, a run's or single files: dense, with zeros, as sparse products, compacted; and
a step of training with and without their dead units.
The loader is timed on the files of ImageNet, its sample, or drawn shapes (`--source embedded`), with nothing to train.
`busy` holds a step of the small embedded Transformer on a CPU beside busy programs against the same step without them,
for each way in which waiting threads may be told to wait: let nothing else run meanwhile.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sparsity import config
from sparsity.benchmark.busy import POLICIES, UNBOUNDED, busy_measurements, serve
from sparsity.benchmark.latency import Subject, latency_measurements, measure_forward
from sparsity.benchmark.loader import loader_measurements
from sparsity.benchmark.measurements import Measurement, environment, step_measurements
from sparsity.benchmark.recorded import record
from sparsity.benchmark.text import text_measurements
from sparsity.benchmark.whole_runs import run_measurements
from sparsity.data.imagenet import imagenet
from sparsity.data.images.streaming import StreamedData
from sparsity.data.sizes import image_shape
from sparsity.files import run_script, sha256
from sparsity.hardware import machine
from sparsity.ranges import CHOICES
from sparsity.records import NETWORKS
from sparsity.run.experiment import on_machine
from sparsity.run.manifest import Manifest
from sparsity.run.plan import make_plan
from sparsity.run.workspace import Workspace
from sparsity.settings import MachineSettings
from sparsity.tracking.record import JsonlWriter
from sparsity.tracking.writers import Mirrors
from sparsity.weights.export import header_of
from sparsity.weights.given import read_weights

RESULTS = Path(__file__).resolve().parents[1] / "results"
NUM_SENTENCES = {"cuda": 3000, "cpu": 32}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return 0; what a user can cause ends it with one sentence and exit status 1."""
    options = parse_arguments(arguments)
    try:
        found: list[Measurement] = []
        for measured in COMMANDS[options.command](options):
            if measured["measured"] == "environment":  # of the first, or of another network
                keep(options, found)
                found = []
            print(json.dumps(measured), flush=True)
            found.append(measured)
        keep(options, found)
    except ValueError as error:
        sys.exit(f"error: {error}")
    return 0


def keep(options: argparse.Namespace, found: Sequence[Measurement]) -> None:
    """Record what was measured, if there is anything and that is asked for."""
    if found and getattr(options, "record", False):
        print(f"recorded in {record(RESULTS, options.command, found)}", file=sys.stderr)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options; fewer than two rounds are an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("step", help="time steps, an evaluation, a prune and a checkpoint")
    step.add_argument("--rounds", type=int, default=30, help="rounds of the comparison (default: %(default)s)")
    text = commands.add_parser("text", help="time steps and beam search of a Transformer against Hugging Face's own")
    text.add_argument("--rounds", type=int, default=10, help="rounds of the steps (default: %(default)s)")
    text.add_argument("--sentences", type=int, help="of the search (default: 3000 with CUDA, else 32)")
    text.add_argument("--search-rounds", type=int, default=2, help="rounds of the search (default: %(default)s)")
    text.add_argument("--lessons", type=int, default=300, help="steps of teaching to count (default: %(default)s)")
    whole = commands.add_parser("run", help="time whole smoke runs, as a user starts them")
    whole.add_argument("--rounds", type=int, default=3, help="runs (default: %(default)s)")
    for command in (step, text, whole):
        _add_experiment(command)
    for command in (step, text):
        command.add_argument("--steps", type=int, default=5, help="of a block in a round (default: %(default)s)")
    loader = commands.add_parser("loader", help="time the loading of ImageNet's files")
    loader.add_argument("--source", choices=("real", "sample", "embedded"), default="real", help="(default: real)")
    loader.add_argument("--rounds", type=int, default=5, help="timed blocks (default: %(default)s)")
    loader.add_argument("--batch-size", type=int, default=100, help="(default: %(default)s)")
    loader.add_argument("--machine", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)")
    loader.add_argument("--workers", type=int, default=0, help="processes; up to 3: threads (default: one per core)")
    loader.add_argument("--data-dir", default="data", help="(default: %(default)s)")
    _add_latency(commands.add_parser("latency", help="time pruned networks in each form, on a CPU"))
    _add_busy(commands.add_parser("busy", help="time a step beside busy programs, by how threads wait"))
    options = parser.parse_args(arguments)
    for name in ("rounds", "search_rounds", "pairs"):
        if vars(options).get(name, 2) < 2:
            parser.error(f"--{name.replace('_', '-')} is {vars(options)[name]}, but quartiles take at least 2.")
    if vars(options).get("steps", 1) < 1:
        parser.error(f"--steps is {options.steps}, but a block takes at least 1.")
    return options


def _add_experiment(command: argparse.ArgumentParser) -> None:
    """Which experiment, and where and how it is run."""
    command.add_argument("--experiment", required=True, help="one of conf/experiment, such as lenet5_mnist")
    command.add_argument("--machine", choices=("auto", "cpu", "cuda"), default="auto", help="device (default: auto)")
    command.add_argument("--threads", type=int, help="threads on a CPU (default: torch's choice)")
    command.add_argument("--precision", choices=CHOICES["machine.precision"], default="auto", help="(default: auto)")
    command.add_argument("--scale", choices=("paper", "smoke"), default="paper", help="(default: %(default)s)")
    command.add_argument("--record", action="store_true", help="keep what was measured, for the page of benchmarks")
    command.add_argument("overrides", nargs="*", help="further settings, such as machine.compile=all")


def _add_latency(command: argparse.ArgumentParser) -> None:
    """Which networks are timed, and how."""
    command.add_argument("networks", nargs="+", help="run directories or files; words with = are settings of theirs")
    command.add_argument("--experiment", help="whose networks they are (default: as the files say)")
    command.add_argument("--batches", default="1,64,512", help="examples at once (default: %(default)s)")
    command.add_argument("--rounds", type=int, default=15, help="(default: %(default)s)")
    command.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    command.add_argument("--record", action="store_true", help="keep what was measured, for the pages")
    command.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)  # be the process whose memory is measured


def _add_busy(command: argparse.ArgumentParser) -> None:
    """Which ways to wait are measured, and how long."""
    command.add_argument("--policies", default=f"project,{UNBOUNDED},passive", help=f"of {', '.join(POLICIES)}")
    command.add_argument("--pairs", type=int, default=5, help="of a quiet and a busy block (default: %(default)s)")
    command.add_argument("--seconds", type=float, default=1.0, help="the least of a block (default: %(default)s)")
    command.add_argument("--busy", type=int, default=2, help="programs beside it (default: %(default)s)")
    command.add_argument("--threads", type=int, help="of the step (default: torch's choice)")
    command.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)  # be one of those that are timed


def steps(options: argparse.Namespace) -> Iterator[Measurement]:
    """The measurements of the command `step`."""
    with asked_workspace(options) as work:
        yield from step_measurements(work, options.rounds, options.steps)


def texts(options: argparse.Namespace) -> Iterator[Measurement]:
    """The measurements of the command `text`."""
    with asked_workspace(options) as work:
        num_sentences = options.sentences or NUM_SENTENCES[work.device.type]
        rounds, search_rounds = options.rounds, options.search_rounds
        yield from text_measurements(work, rounds, options.steps, num_sentences, search_rounds, options.lessons)


def whole_runs(options: argparse.Namespace) -> Iterator[Measurement]:
    """The measurements of the command `run`."""
    with asked_workspace(options) as work:
        yield environment(work)
    threads = [] if options.threads is None else [f"machine.num_threads={options.threads}"]
    words = [f"experiment={options.experiment}", f"machine={options.machine}", *threads, *options.overrides]
    yield from run_measurements([*words, f"machine.precision={options.precision}"], options.rounds)


def loader(options: argparse.Namespace) -> Iterator[Measurement]:
    """The measurements of the command `loader`."""
    device = machine.prepare(MachineSettings(device=options.machine))
    data = imagenet(options.source, options.data_dir, num_workers=options.workers).to(device)
    assert isinstance(data, StreamedData)
    yield from loader_measurements(data, options.batch_size, options.rounds, device)


def busy(options: argparse.Namespace) -> Iterator[Measurement]:
    """The measurements of the command `busy`; with --serve the process is one that is timed, and yields none."""
    if options.serve:
        with workspace("transformer_wmt14", "cpu", options.threads, "embedded", "smoke") as work:
            serve(work, sys.stdin, sys.stdout)
        return
    policies = options.policies.split(",")
    if unknown := set(policies) - set(POLICIES):
        raise ValueError(f"--policies: there is no {', '.join(sorted(unknown))}; choose among {', '.join(POLICIES)}.")
    if UNBOUNDED not in policies:
        policies.append(UNBOUNDED)  # the others are held against it
    threads = [] if options.threads is None else ["--threads", str(options.threads)]
    command = [sys.executable, __file__, "busy", "--serve", *threads]
    yield from busy_measurements(command, policies, options.pairs, options.seconds, options.busy)


def latencies(options: argparse.Namespace) -> Iterator[Measurement]:
    """The measurements of the command `latency`, network by network; with --serve a process that yields none."""
    words = [word for word in options.networks if "=" in word]
    batches = [int(batch) for batch in options.batches.split(",") if batch.isdecimal() and int(batch)]
    if not batches:
        raise ValueError(f"--batches is {options.batches}: name sizes, such as 1,64.")
    for path in files_of(Path(word) for word in options.networks if "=" not in word):
        subject = subject_of(path, options.experiment, words)
        if options.serve:
            form, batch = options.serve
            measure_forward(subject, form, int(batch), options.threads)
            return
        named = [] if options.experiment is None else ["--experiment", options.experiment]
        fresh = [sys.executable, __file__, "latency", str(path), *words, *named, "--threads", str(options.threads)]
        yield from latency_measurements(subject, batches, options.rounds, options.threads, [*fresh, "--serve"])


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The networks of run directories, and files as they are.

    Raises:
        ValueError: if a directory has none.
    """
    for path in paths:
        found = sorted(path.glob(f"{NETWORKS}/*.safetensors")) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"{path} has no {NETWORKS}/*.safetensors: name a finished run, or files.")
        yield from found


def subject_of(path: Path, experiment: str | None, words: Sequence[str]) -> Subject:
    """A network and a dense one of its build.

    Raises:
        ValueError: if nobody says of which experiment it is, or the file is no network of it.
    """
    settings = config.of_network(path, experiment, words)
    build = config.build(settings).build_model
    dense, pruned = build(), build()
    pruned.load_state_dict(read_weights(path, pruned).weights)
    pruner = header_of(path).get("pruner", "")
    return Subject(sha256(path), settings.experiment, pruner, dense, pruned, image_shape(settings.dataset))


COMMANDS = {"step": steps, "text": texts, "run": whole_runs, "loader": loader, "busy": busy, "latency": latencies}


def asked_workspace(options: argparse.Namespace) -> AbstractContextManager[Workspace]:
    """The workspace that the command line asks for, on generated data."""
    overrides = (f"machine.precision={options.precision}", *options.overrides)
    return workspace(options.experiment, options.machine, options.threads, "generated", options.scale, overrides)


@contextmanager
def workspace(
    experiment: str,
    device: str,
    threads: int | None,
    source: str = "generated",
    scale: str = "paper",
    more: Sequence[str] = (),
) -> Iterator[Workspace]:
    """An experiment on data that needs no fetching, in a temporary directory.

    Raises:
        ValueError: if the experiment is unknown or the device is not there.
    """
    overrides = [f"experiment={experiment}", f"scale={scale}", f"dataset.source={source}", f"machine={device}"]
    limit = [] if threads is None else [f"machine.num_threads={threads}"]
    settings = config.compose([*overrides, *limit, *more])
    built, on = on_machine(config.build(settings))
    with tempfile.TemporaryDirectory() as folder:
        directory, data = Path(folder), built.load(on)
        log = JsonlWriter(directory / "metrics.jsonl", settings.tracking.every_steps)
        plan = make_plan(settings, len(data.train))
        try:
            yield Workspace(built, on, data, directory, {}, Manifest(directory, "", ""), {}, plan, log, Mirrors())
        finally:
            log.finish(0)


if __name__ == "__main__":
    run_script(main)
