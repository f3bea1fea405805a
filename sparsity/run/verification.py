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
    found = measured(network.start, path, [layer.parameter for layer in listed])
    if network.worth is not None:
        shape = image_shape(setup.settings.dataset)
        again = worth(setup.experiment.build_model, load_sparse(path), shape)
        found = replace(found, worth=_as_far_as_said(network.worth, again))
    yield from _differing(CARD, asdict(network), asdict(found))
    yield from _differing(f"the header of {path.name}", load_header(path), header(run.summary, row))
    yield from _differing("the row in summary.json", {"kept": row.kept, "total": row.total}, asdict(found))
    layers = {layer.parameter: {"total": layer.total, "kept": layer.kept} for layer in listed}
    yield from _differing("layers.csv", layers, found.layers)


def rescored(setup: Setup, path: Path) -> float:
    """The metric of a compact file's network on the test data of a set-up."""
    model = setup.new_model()
    model.load_state_dict(load_sparse(path))
    return setup.score(model, setup.data.test)


def strays(setup: Setup, run: Run, network: Network, metric: float) -> Iterator[str]:
    """What a metric that was measured again says against the record of a row, in words."""
    recorded = next((row.test for row in run.summary.rows if row.start == network.start), None)
    allowed = MOST_EXAMPLES * 100 / len(setup.data.test)
    if recorded is not None and abs(metric - recorded) > allowed + 1e-6:
        yield (
            f"summary.json says {recorded:.2f} {run.summary.metric} on test data, the network has {metric:.2f}: "
            f"more than {MOST_EXAMPLES} of {len(setup.data.test):,} examples apart"
        )
    for name, checksum in run.summary.provenance.data_checksums.items():
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
