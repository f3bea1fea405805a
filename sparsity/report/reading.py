"""The records of a run, read and held to be whole and to agree: `summary.json`, `layers.csv`, curve and card."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sparsity.provenance import seed_folders
from sparsity.records import CARD, Card, CurvePoint, Layer, Network, Row, Summary
from sparsity.report.parsing import decode, decode_document

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One finished run: the files of one seed's directory."""

    directory: Path
    summary: Summary
    layers: tuple[Layer, ...] = field(repr=False)
    curve: tuple[CurvePoint, ...] = field(repr=False)
    networks: tuple[Network, ...] = ()


def find_runs(root: Path, experiment: str = "*") -> list[Path]:
    """The directories under `root` that hold a finished run: `<experiment>/<configuration>/seed<n>/summary.json`."""
    return [path for path in seed_folders(root, experiment) if (path / "summary.json").is_file()]


def load_run(directory: Path) -> Run:
    """Read and check the records of a run.

    Raises:
        ValueError: one sentence with the file that is missing, damaged or of another schema, and what is wrong in it.
    """
    summary = load_summary(directory)
    layers = _read(directory / "layers.csv", lambda text: _adding_up(_parse_layers(text), summary.rows))
    curve = _read(directory / "curve.jsonl", _parse_curve)
    return Run(directory, summary, layers, curve, _load_networks(directory))


def load_summary(directory: Path) -> Summary:
    """Read and check `summary.json` alone. Raises as `load_run`."""
    return _read(directory / "summary.json", lambda text: _parse_summary(text, directory))


def _load_networks(directory: Path) -> tuple[Network, ...]:
    if not (directory / CARD).is_file():
        return ()
    card: Card = _read(directory / CARD, lambda text: decode_document(Card, json.loads(text)))
    return card.networks


def _read(path: Path, parse: Callable[[str], T]) -> T:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "it is missing"
    except (ValueError, csv.Error) as error:
        problem = str(error)
    again = f"remove {path.parent}/summary.json and give that run's command again, or delete its directory"
    raise ValueError(f"{path} cannot be used: {problem}; {again}.")


def _parse_summary(text: str, directory: Path) -> Summary:
    summary: Summary = decode_document(Summary, json.loads(text))
    experiment, run, seed = directory.absolute().parts[-3:]
    is_its_own = run.endswith(f"-{summary.fingerprint}") and seed == f"seed{summary.seed}"
    if experiment != summary.experiment or not is_its_own:
        raise ValueError(
            f"it is of seed {summary.seed} of the run {summary.fingerprint} of {summary.experiment}, so this folder is "
            "a copy of that run's"
        )
    return summary


def _parse_layers(text: str) -> tuple[Layer, ...]:
    lines = csv.DictReader(text.splitlines())
    return tuple(_parse_layer(line, number) for number, line in enumerate(lines, start=2))


def _parse_layer(line: dict[str, str], number: int) -> Layer:
    try:
        counts = {"total": int(line["total"]), "kept": int(line["kept"]), "sparsity": float(line["sparsity"])}
        layer: Layer = decode(Layer, {**line, **counts}, f"line {number}")
        return layer
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"line {number} is no layer ({error})") from error


def _adding_up(layers: tuple[Layer, ...], rows: Sequence[Row]) -> tuple[Layer, ...]:
    """The layers, once it is clear that those of each row hold what it counts."""
    counted: dict[str, tuple[int, int]] = {}
    for layer in layers:
        kept, total = counted.get(layer.start, (0, 0))
        counted[layer.start] = kept + layer.kept, total + layer.total
    for start, counts in {row.start: (row.kept, row.total) for row in rows}.items():
        if (found := counted.pop(start, None)) != counts:
            raise ValueError(f"its layers of {start} do not add up to the row in summary.json: {found}, not {counts}")
    if counted:
        raise ValueError(f"it has layers of {next(iter(counted))}, for which summary.json has no row")
    return layers


def _parse_curve(text: str) -> tuple[CurvePoint, ...]:
    lines = enumerate(text.splitlines(), start=1)
    return tuple(decode(CurvePoint, _parse_line(line, number), f"line {number}") for number, line in lines)


def _parse_line(line: str, number: int) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is not JSON ({error.msg})") from error
