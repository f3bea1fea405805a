"""Which runs belong to one sweep? Each leaves its name in the sweep's folder before it starts; free of torch.

A run is known by its settings and may belong to several sweeps, or be done before a sweep asks for it: so a sweep names
its runs, and not the other way round.
"""

import json
from pathlib import Path

from sparsity import provenance
from sparsity.settings import Settings

UNNAMED = "unnamed"


def folder(results: Path, name: str) -> Path:
    """results/runs/sweeps/<name>, with one file per run."""
    return results / "runs" / "sweeps" / name


def register(settings: Settings) -> None:
    """Name a run as one of its sweep, whatever becomes of it."""
    directory, results = provenance.run_directory(settings), Path(settings.results_dir)
    place = directory.relative_to(results / "runs")
    entry = folder(results, settings.sweep_name) / f"{'--'.join(place.parts)}.json"
    provenance.write_json(entry, {"directory": place.as_posix()})


def members(results: Path, name: str) -> list[Path]:
    """The directories of a sweep's runs, done or not, sorted.

    Raises:
        ValueError: if there is no such sweep; the message lists those there are.
    """
    entries = sorted(folder(results, name).glob("*.json"))
    if not entries:
        known = sorted(path.name for path in folder(results, "").glob("*") if any(path.glob("*.json")))
        raise ValueError(f"There is no sweep {name}; there are: {', '.join(known) or 'none'}.")
    return [results / "runs" / json.loads(entry.read_text())["directory"] for entry in entries]
