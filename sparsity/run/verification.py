"""Committed networks held against what was written down of them: counted again, compared, scored again.

Counts and texts have to agree exactly. A metric may differ by what `MOST_EXAMPLES` of the test set weigh: another
processor rounds otherwise, and an example at the edge between two answers falls to the other side.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sparsity.data.sizes import image_shape
from sparsity.records import CARD, Network, Worth
from sparsity.report.reading import Run
from sparsity.run.experiment import Setup
from sparsity.run.networks import header, measured
from sparsity.weights.export import load_header, load_sparse
from sparsity.weights.given import read_weights
from sparsity.weights.worth import worth

MOST_EXAMPLES = 2
ANOTHER_ZLIB = 0.02  # of the compressed bytes: each version and processor has its own way


def contradictions(setup: Setup, run: Run, network: Network) -> Iterator[str]:
    """In which words of the record a committed network is another than its file: card, header, summary, layers.csv.

    Raises:
        ValueError: if the file cannot be read.
    """
    row = next((row for row in run.summary.rows if row.start == network.start), None)
    if row is None:
        yield f"summary.json has no row {network.start}"
        return
    path, listed = run.directory / network.file, [layer for layer in run.layers if layer.start == network.start]
    weights = load_sparse(path)
    found = measured(network.start, path, [layer.parameter for layer in listed if layer.parameter in weights])
    if network.worth is not None:
        shape = image_shape(setup.settings.dataset)
        again = worth(setup.experiment.build_model, weights, shape)
        found = replace(found, worth=_as_far_as_said(network.worth, again))
    yield from _differing(CARD, asdict(network), asdict(found))
    yield from _differing(f"the header of {path.name}", load_header(path), header(run.summary, row))
    yield from _differing("the row in summary.json", {"kept": row.kept, "total": row.total}, asdict(found))
    layers = {layer.parameter: {"total": layer.total, "kept": layer.kept} for layer in listed}
    yield from _differing("layers.csv", layers, found.layers)


def rescored(setup: Setup, path: Path) -> float:
    """The metric of a compact file's network on the test data of a set-up.

    Raises:
        ValueError: if it is a network of another structure, or the file cannot be read.
    """
    model = setup.new_model()
    model.load_state_dict(read_weights(path, model).weights)
    return setup.score(model, setup.data.test)


def strays(setup: Setup, run: Run, network: Network, metric: float) -> Iterator[str]:
    """What a metric that was measured again says against the record of a row, in words."""
    recorded = next((row.test for row in run.summary.rows if row.start == network.start), None)
    yield from _apart(setup, "summary.json", recorded, run.summary.provenance.data_checksums, metric)


def strays_from_header(setup: Setup, header: Mapping[str, Any], metric: float) -> Iterator[str]:
    """The same against what a file says of itself; one without a header, or judged by another metric, says nothing."""
    said = header.get("metric", {})
    recorded = said.get("test") if said.get("name") == setup.settings.metric else None
    yield from _apart(setup, "the header", recorded, header.get("data_checksums", {}), metric)


def check_test_data(setup: Setup, header: Mapping[str, Any]) -> None:
    """Hold the test data of a set-up to be those that a file says it was scored on, if it says so.

    Raises:
        ValueError: naming both, and the settings that choose them.
    """
    is_so = setup.data.test.identity
    said = header.get("splits", {}).get("test", is_so)
    if said != is_so:
        raise ValueError(
            f"The header says that the network was scored on {said}, and with these settings that would be {is_so}: "
            "add those of its run that choose the data, such as dataset.source and baseline."
        )


def check_counts(header: Mapping[str, Any], network: Network) -> None:
    """Hold a network to have as many weights as its file says, if it says so.

    Raises:
        ValueError: naming the numbers that differ.
    """
    said = {key: header[key] for key in ("kept", "total") if key in header}
    if problems := list(_differing("The header", said, asdict(network))):
        raise ValueError(f"{'; '.join(problems)}: the file was changed since it was written.")


def _apart(
    setup: Setup, where: str, recorded: float | None, checksums: Mapping[str, str], metric: float
) -> Iterator[str]:
    """By how much a metric differs from a recorded one, if that is too much, and in which files of data."""
    allowed = MOST_EXAMPLES * 100 / len(setup.data.test)
    if recorded is not None and abs(metric - recorded) > allowed + 1e-6:
        yield (
            f"{where} says {recorded:.2f} {setup.settings.metric} on test data, the network has {metric:.2f}: "
            f"more than {MOST_EXAMPLES} of {len(setup.data.test):,} examples apart"
        )
    for name, checksum in checksums.items():
        if setup.data.checksums.get(name) != checksum:
            yield f"it was scored on {name} of checksum {checksum}, here it is {setup.data.checksums.get(name)}"


def _as_far_as_said(says: Worth, is_so: Worth) -> Worth:
    """What was measured again, with the compressed size as recorded, where another zlib may account for it."""
    said, found = says.gzip_bytes, is_so.gzip_bytes
    is_alike = said is None or (found is not None and abs(said - found) <= ANOTHER_ZLIB * found)
    return replace(is_so, gzip_bytes=said) if is_alike else is_so


def _differing(where: str, says: Mapping[str, Any], is_so: Mapping[str, Any]) -> Iterator[str]:
    """Each word of `says` that is not so; what it does not say is no contradiction."""
    for key, value in says.items():
        if key not in is_so:
            yield f"{where} says {key} {_short(value)}, which nothing bears out"
        elif value != is_so[key]:
            yield f"{where} says {key} {_short(value)}, it is {_short(is_so[key])}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
