"""Use a GPU that is there for minutes only: tests, benchmarks, rehearsals, then experiments; go on elsewhere later.

PYTHONPATH=. python scripts/campaign.py --minutes 9 --out OUT [--from EARLIER_OUT] [--wheels DIR] [--data-dir DIR]

The machine may be bare and offline: `--wheels` holds the packages it lacks and `--data-dir` the data. What is done goes
into OUT as small files, for machines that give back no large ones: log.txt, campaign.json, summaries.tar.gz, and the
run directories as state.tar.partNN. With `--from` the next call, on whatever machine, goes on from there.

Benchmarks, rehearsals and experiments are one stage for each experiment, so that one which fails hides no other;
campaign.json says of each how it ended. `--set transformer_wmt14:dataset.source=standin` changes a setting of one
experiment; rehearsals and benchmarks, which need no data, take such settings of the machine alone.

Where the tree was copied without .git, set the environment variable SPARSITY_COMMIT to the commit it is of: runs
record it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from sparsity import provenance
from sparsity.files import run_script, visible, write_json
from sparsity.records import CARD, NETWORKS, RECORD_FILES
from sparsity.run.jobs import EXPERIMENTS, add_options
from sparsity.run.stopping import Request, watched

ROOT = Path(__file__).parent.parent
SECONDS_TO_PACK = 25.0
SECONDS_TO_STOP = 10.0
SUMMARIES = (*RECORD_FILES, CARD, "manifest.json", "config.yaml")
COMPLAINTS = ("error: ", "failed: ", "not run: ")  # of our own scripts
DISPENSABLE = ("*.previous.pt", "lock")


@dataclass(frozen=True)
class Stage:
    """One command of a campaign; once done it is not run again, and experiments resume what is left of them."""

    name: str
    command: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 when every stage is done, 1 when one failed, 3 out of time."""
    options = parse_arguments(arguments)
    deadline = time.monotonic() + 60 * options.minutes - SECONDS_TO_PACK
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    with watched() as request, tempfile.TemporaryDirectory() as scratch:
        results = options.results_dir or Path(scratch)
        states = unpack(options.start, results) if options.start else {}
        environment = child_environment(options.wheels, Path(scratch) / "site")
        for stage in stages(options, results):
            if states.get(stage.name) == "done":
                continue
            states[stage.name] = run(stage, environment, deadline, out / "log.txt", request)
            print(f"{stage.name}: {states[stage.name]}", flush=True)
            write_json(out / "campaign.json", states)
        pack(results, out, options.part_mib << 20, options.total_mib << 20)
    request.raise_if_made()
    if "out of time" in states.values():
        return 3
    return int(any(state.startswith("failed") for state in states.values()))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="all is over, packed and written, after so many")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is to be brought home")
    parser.add_argument("--from", type=Path, dest="start", help="the OUT of an earlier call, to go on from")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install for this campaign alone")
    parser.add_argument("--data-dir", default="data", help="folder of the data sets (default: %(default)s)")
    parser.add_argument("--results-dir", type=Path, help="where runs stand (default: a temporary folder)")
    parser.add_argument("--stages", default="tests,bench,rehearsal,experiments", help="in their order, by commas")
    parser.add_argument("--part-mib", type=int, default=16, help="largest file brought home (default: %(default)s)")
    parser.add_argument("--total-mib", type=int, default=60, help="all of the state together (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="EXPERIMENT:KEY=VALUE", help="one override of one"
    )
    experiments = ",".join(EXPERIMENTS)
    add_options(parser, experiments=experiments, pruners="relevance", seeds="0", scale="paper", machine="auto")
    options = parser.parse_intermixed_args(arguments)
    if not 60 * options.minutes > SECONDS_TO_PACK:
        parser.error(f"--minutes is {options.minutes:g}, but packing alone is given {SECONDS_TO_PACK:g} s; give more.")
    return options


def stages(options: argparse.Namespace, results: Path) -> Iterator[Stage]:
    """The commands, in their order."""
    own = own_overrides(options)
    for kind in options.stages.split(","):
        if kind == "tests":
            yield Stage("tests", (sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(ROOT / "tests")))
            continue
        if kind not in KINDS:
            raise SystemExit(f"error: --stages={kind} is unknown; choose of tests, {', '.join(KINDS)}.")
        for experiment in options.experiments.split(","):
            yield from KINDS[kind](options, results, experiment, own[experiment])


def own_overrides(options: argparse.Namespace) -> dict[str, list[str]]:
    """Experiment -> the overrides of its runs: those of every run, then its own.

    Raises:
        SystemExit: if an experiment of --set is none of this campaign.
    """
    own = {experiment: list(options.overrides) for experiment in options.experiments.split(",")}
    for word in options.set:
        experiment, _, override = word.partition(":")
        if experiment not in own or "=" not in override:
            raise SystemExit(f"error: --set {word} is not EXPERIMENT:KEY=VALUE with one of {', '.join(own)}.")
        own[experiment].append(override)
    return own


def of_machine(overrides: list[str]) -> tuple[str, ...]:
    """Those overrides that change nothing but where and how fast."""
    return tuple(override for override in overrides if override.startswith("machine."))


def benchmarks(options: argparse.Namespace, results: Path, experiment: str, own: list[str]) -> Iterator[Stage]:
    """Steps, those of a Transformer with its search, and VGG-16's loader."""
    command = "text" if experiment.startswith("transformer") else "step"
    bench, machine = (sys.executable, str(ROOT / "scripts/bench.py")), ("--machine", options.machine)
    yield Stage(f"bench {experiment}", (*bench, command, "--experiment", experiment, *machine, *of_machine(own)))
    source = dict(override.partition("=")[::2] for override in own).get("dataset.source", "real")
    if experiment.startswith("vgg16") and source != "generated":
        loader = ("loader", "--source", source, "--rounds", "2", "--data-dir", options.data_dir)
        yield Stage(f"bench {experiment} loader", (*bench, *loader, *machine))


def rehearsal(options: argparse.Namespace, results: Path, experiment: str, own: list[str]) -> Iterator[Stage]:
    """The experiment in full size, cut to a few hundred steps, on generated data."""
    runs = ("--scale", "rehearsal", "--pruners", "relevance", "--seeds", options.seeds.partition(",")[0])
    yield Stage(f"rehearsal {experiment}", reproduction(options, results, experiment, *runs, *of_machine(own)))


def whole(options: argparse.Namespace, results: Path, experiment: str, own: list[str]) -> Iterator[Stage]:
    """The experiment itself, with every pruner and seed."""
    runs = ("--scale", options.scale, "--pruners", options.pruners, "--seeds", options.seeds)
    yield Stage(f"experiment {experiment}", reproduction(options, results, experiment, *runs, *own))


def reproduction(options: argparse.Namespace, results: Path, experiment: str, *runs: str) -> tuple[str, ...]:
    """The command of runs of one experiment."""
    places = (f"results_dir={results}", f"data_dir={options.data_dir}")
    where = ("--experiments", experiment, "--machine", options.machine, "--tracking", "none", *places)
    return (sys.executable, str(ROOT / "scripts/reproduce.py"), "run", *where, *runs)


KINDS: dict[str, Callable[[argparse.Namespace, Path, str, list[str]], Iterator[Stage]]] = {
    "bench": benchmarks,
    "rehearsal": rehearsal,
    "experiments": whole,
}


def run(stage: Stage, environment: dict[str, str], deadline: float, log: Path, request: Request | None = None) -> str:
    """Run a stage until it ends or time is out: `done`, `failed: ` and its own last word on why, or `out of time`.

    A request to stop is the end of the time.
    """

    def is_over() -> bool:
        return time.monotonic() >= deadline or (request is not None and request.number is not None)

    if is_over():
        return "out of time"
    begin = log.stat().st_size if log.exists() else 0
    with log.open("a") as file:
        print(f"== {stage.name}: {' '.join(stage.command)}", file=file, flush=True)
        process = subprocess.Popen(
            stage.command, env=environment, cwd=ROOT, stdout=file, stderr=file, start_new_session=True
        )
        while (status := waited_for(process, min(1.0, deadline - time.monotonic()))) is None:
            if is_over():
                stop(process)
                return "out of time"
    return "done" if status == 0 else f"failed: {reason(log, begin) or f'exit status {status}, see log.txt'}"


def waited_for(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status of a process, or None if it has not ended by then."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(max(0.0, seconds))
    return None


def reason(log: Path, begin: int) -> str:
    """The last sentence in the log, from byte `begin` on, that says why something could not be done; or nothing."""
    with log.open(errors="replace") as file:
        file.seek(begin)
        said = [line.strip().partition(": ") for line in file if line.startswith(COMPLAINTS)]
    return said[-1][2] if said else ""


def stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a stage as Ctrl-C does, and end it if it does not listen.

    A stage hands signals on to its children, which are of no group of its own: the second one ends them at once.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def child_environment(wheels: Path | None, site: Path) -> dict[str, str]:
    """The environment of the stages, with the wheels installed beside the machine's own packages."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    if wheels is not None:
        files = [str(path) for path in visible(wheels.glob("*.whl"), wheels)]
        if not files:
            raise SystemExit(f"error: --wheels={wheels} holds no *.whl; name a folder of wheels, or leave it out.")
        options = ("--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(site))
        done = subprocess.run([sys.executable, "-m", "pip", "install", *options, *files])
        if done.returncode:
            raise SystemExit(f"error: pip could not install the wheels of {wheels}; its own words stand above.")
        paths.insert(0, str(site))
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def pack(results: Path, out: Path, part_bytes: int, total_bytes: int) -> None:
    """Write the summaries, and as many run directories as fit, largest left out first and named."""
    runs = results / "runs"
    with tarfile.open(out / "summaries.tar.gz", "w:gz") as archive:
        for path in (path for path in visible(runs.glob("**/*"), runs) if path.name in SUMMARIES):
            archive.add(path, path.relative_to(results))
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
            for path in fitting(runs, total_bytes):
                archive.add(path, path.relative_to(results))
        file.seek(0)
        for old in out.glob("state.tar.part*"):
            old.unlink()
        split(file, out, part_bytes)


def fitting(runs: Path, total_bytes: int) -> list[Path]:
    """The files to go on with, of the run directories that fit together, smallest first; the others are named."""
    found = {directory: needed(directory) for directory in provenance.seed_folders(runs)}
    chosen: list[Path] = []
    for directory in sorted(found, key=lambda directory: size_bytes(found[directory])):
        if size_bytes(chosen + found[directory]) > total_bytes:
            size_mib = size_bytes(found[directory]) >> 20
            print(f"left behind: {directory.relative_to(runs)} ({size_mib} MiB)", flush=True)
        else:
            chosen += found[directory]
    return chosen


def needed(directory: Path) -> list[Path]:
    """What a run needs to go on elsewhere, or to be known as done; a finished baseline is its scored network."""
    scored = directory / "checkpoints/baseline/scored.pt"
    if scored.is_file():
        return [scored]
    files = [path for path in visible(directory.rglob("*"), directory) if path.is_file()]
    if provenance.is_done(directory):
        return [path for path in files if path.name in SUMMARIES or path.parent == directory / NETWORKS]
    return [path for path in files if not any(fnmatch(path.name, pattern) for pattern in DISPENSABLE)]


def size_bytes(paths: list[Path]) -> int:
    """All these files together, before they are packed."""
    return sum(path.stat().st_size for path in paths)


def split(file: BinaryIO, out: Path, part_bytes: int) -> None:
    """Cut a file into parts state.tar.part00, state.tar.part01, ..."""
    for number in range(1 << 10):
        if not (content := file.read(part_bytes)):
            return
        (out / f"state.tar.part{number:02d}").write_bytes(content)


def unpack(start: Path, results: Path) -> dict[str, str]:
    """Put the run directories of an earlier call back; the states of its stages.

    Raises:
        SystemExit: if there is no earlier call, or it did not come whole.
    """
    if not (start / "campaign.json").is_file():
        raise SystemExit(f"error: --from={start} holds no campaign.json; name the --out of an earlier call.")
    parts = sorted(start.glob("state.tar.part*"))
    with tempfile.TemporaryFile() as file:
        for part in parts:
            file.write(part.read_bytes())
        file.seek(0)
        if parts:
            try:
                with tarfile.open(fileobj=file) as archive:
                    archive.extractall(results, filter="data")
            except (tarfile.TarError, EOFError, zlib.error) as error:
                problem = f"the parts of the state in --from={start} are no whole archive; bring all of them."
                raise SystemExit(f"error: {problem}") from error
    try:
        states: dict[str, str] = json.loads((start / "campaign.json").read_text())
    except ValueError as error:
        raise SystemExit(f"error: {start / 'campaign.json'} is damaged; bring it once more.") from error
    return states


if __name__ == "__main__":
    run_script(main)
