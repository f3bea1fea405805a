"""Score the committed networks again and hold every word of their records against them: make verify.

With a FILE, anybody's network is counted and scored instead: python scripts/verify.py FILE --experiment lenet5_mnist.
It may be a compact file of ours, which names its experiment itself, a state_dict that torch or safetensors wrote, or a
folder of `from_pretrained`; settings such as dataset.source=standin may follow. What a file of ours says of itself has
to come out again: with changed settings trained, it needs them here too, as its header does not hold them.

Without one, each network of the headline runs, or with --all of every run, that is kept with the code is counted and
scored on the test data; header, card, layers.csv and summary.json, the pages and the README's table are compared with
what comes out. Prints a line per network, and each contradiction; the exit status is 1 if there is any.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsity import command_line, config, provenance
from sparsity.data.sizes import image_shape
from sparsity.files import check_folder, run_script, sha256, write_json
from sparsity.report.blocks import Table
from sparsity.report.cells import plain_table
from sparsity.report.configurations import Configuration
from sparsity.report.latency import Latencies, load_latencies
from sparsity.report.page import load_sections, stale
from sparsity.report.reading import Run
from sparsity.report.rescored import place_of
from sparsity.report.tables import Section, own_results
from sparsity.report.worth import truth_card
from sparsity.settings import Settings, leaf_name

if TYPE_CHECKING:
    from sparsity.run.experiment import Setup  # imports torch: only once there is work

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a network to count and to score, instead of the committed")
    parser.add_argument("overrides", nargs="*", help="with FILE: settings of the experiment, as for train.py")
    parser.add_argument("--experiment", help="with FILE: whose network and test data (default: as the file says)")
    parser.add_argument("--row", help="with FILE: record it as this row of the paper's table, as printed there")
    parser.add_argument("--all", action="store_true", help="every committed network, not the headline runs' alone")
    command_line.add_trust(parser)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the results folder (default: the repository's)")
    given = parser.parse_intermixed_args(arguments)
    if given.file is None and (given.experiment or given.row):
        parser.error("--experiment and --row say what a file is: name FILE too.")
    if given.file is not None and (given.all or given.trust):
        parser.error(
            "--all and --trust are of the committed networks and their records: leave them out with FILE, whose own "
            "constructor is a setting, model._target_=MODULE.NAME."
        )
    try:
        if given.file is not None:
            of_file(given.file, given.experiment, given.overrides, given.results, given.row)
            return 0
        check_folder(given.results, "the results folder of a checkout")
        problems = list(verify(given.results, given.all, given.trust))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for problem in problems:
        print(f"CONTRADICTED: {problem}", file=sys.stderr)
    print("all agree" if not problems else f"{len(problems)} contradictions", flush=True)
    return 1 if problems else 0


def of_file(path: Path, experiment: str | None, overrides: Sequence[str], results: Path, row: str | None) -> None:
    """Count and score a network that somebody gives, print what comes out, and record it if it is a row of the paper.

    Raises:
        ValueError: if the file is none of weights or says of itself what does not come out, if nobody says of which
            experiment it is, or it is no network of it, or no record can be made of it.
    """
    path = of_folder if (of_folder := path / "model.safetensors").is_file() else path
    settings = config.of_network(path, experiment, overrides)
    data = leaf_name(settings.dataset), str(settings.dataset.get("source"))
    place = place_of(results, settings.experiment, row, data, sha256(path)) if row else None
    record = counted_and_scored(path, settings, load_latencies(results))
    if place is not None:
        write_json(place, {"row": row, **record})
        print(f"recorded in {place}")


def counted_and_scored(path: Path, settings: Settings, latencies: Latencies) -> dict[str, Any]:
    """What comes out of a file with a network of these settings, as a record; all of it is printed.

    Raises:
        ValueError: if it is no such network, or says of itself what does not come out.
    """
    from sparsity.run.experiment import set_up
    from sparsity.run.networks import weighed
    from sparsity.run.verification import check_counts, check_test_data, strays_from_header
    from sparsity.weights.export import header_of
    from sparsity.weights.given import read_weights

    header, setup = header_of(path), set_up(config.build(settings))
    check_test_data(setup, header)
    model = setup.new_model()
    model.load_state_dict(read_weights(path, model).weights)
    build, shape = setup.experiment.build_model, image_shape(setup.settings.dataset)
    network = weighed(path, model, build, shape)
    check_counts(header, network)
    for name, found in network.layers.items():
        print(f"{name}: {found['kept']:,} of {found['total']:,} weights are left")
    kept, total = network.kept, network.total
    print(f"{kept:,} of {total:,} weights are left: sparsity {100 * (1 - kept / total):.2f} %")
    for block in truth_card([("", [(path.name, network)])], latencies):
        print(plain_table(block.header, block.rows) if isinstance(block, Table) else getattr(block, "text", ""))
    metric, test = setup.settings.metric, setup.data.test
    score = setup.score(model, test)
    print(f"{metric} on the {len(test):,} test examples of {setup.data.name}: {score:.2f}")
    if "metric" in header:
        said = header["metric"]
        print(f"its header says {said['test']:.2f} {said['name']}, with {header['kept']:,} weights")
    if problems := list(strays_from_header(setup, header, score)):
        raise ValueError(
            f"{'; '.join(problems)}; add the settings that its run had, such as machine.precision, model.* and "
            "dataset.*, as the header does not hold them."
        )
    return {
        **{"schema": 1, "experiment": setup.settings.experiment, "model": leaf_name(setup.settings.model).lower()},
        **{"metric": metric, "test": score, "num_test": len(test), "layers": network.layers},
        **{"sha256": network.sha256, **provenance.origin()},
    }


def verify(results: Path, every: bool, trusted: Sequence[str] = ()) -> Iterator[str]:
    """Each contradiction, in words; prints a line per network as it goes.

    Raises:
        ValueError: if there is no network to verify, a file cannot be read, or a record names a constructor of a module
            that is neither this package's nor `trusted`.
    """
    sections = load_sections(results)
    found = [ours for ours in chosen(sections, every) if any(run.networks for run in ours.runs)]
    if not found:
        raise ValueError(f"No run under {results} has a network yet; those of full-size runs come with `make report`.")
    for ours in found:
        yield from of_configuration(ours, trusted)
    yield from (f"{path} is not what the records give: run `make report`" for path in stale(results, sections))


def chosen(sections: Sequence[Section], every: bool) -> list[Configuration]:
    """The configurations whose runs are verified."""
    return [each for paper, ours in sections for each in (ours if every else own_results(paper, ours))]


def of_configuration(ours: Configuration, trusted: Sequence[str]) -> Iterator[str]:
    """Contradictions of the seeds of one configuration, which share their data."""
    settings = config.compose(scored_again(ours.runs))
    config.check_constructors(settings, ours.runs[0].directory / "summary.json", trusted)
    from sparsity.run.experiment import set_up

    setup = set_up(config.build(settings))
    for run in ours.runs:
        yield from of_run(setup, run)


def of_run(setup: "Setup", run: Run) -> Iterator[str]:
    """Contradictions of one run."""
    from sparsity.run.verification import contradictions, rescored, strays

    for network in run.networks:
        path = run.directory / network.file
        name = f"{run.directory.parent.name}/{run.directory.name}/{network.start}"
        if not path.is_file():
            print(f"{name}: {network.bytes:,} bytes, not kept with the code", flush=True)
            continue
        metric = rescored(setup, path)
        problems = [*contradictions(setup, run, network), *strays(setup, run, network, metric)]
        recorded = next((row.test for row in run.summary.rows if row.start == network.start), None)
        print(
            f"{name}: {network.kept:,} of {network.total:,} weights, {run.summary.metric} {metric:.2f} "
            f"(recorded {recorded}): {'agrees' if not problems else 'contradicted'}",
            flush=True,
        )
        yield from (f"{path}: {problem}" for problem in problems)


def scored_again(runs: Sequence[Run]) -> list[str]:
    """The settings of a run's recorded command, for whatever machine this is, in the precision that the run had."""
    recorded = runs[0].summary.provenance
    words = shlex.split(recorded.command)[2:]
    kept = [word for word in words if not word.startswith(("machine", "tracking"))]
    return [*kept, f"machine.precision={recorded.products}", "tracking=none"]


if __name__ == "__main__":
    run_script(main)
