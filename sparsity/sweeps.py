"""The runs of a sweep: each leaves its name in the sweep's folder before it starts; free of torch.

A run is known by its settings and may belong to several sweeps, or be done before a sweep asks for it: so a sweep names
its runs, and not the other way round. A job that cannot become a run, as its settings are wrong, leaves its words.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsity import provenance
from sparsity.files import visible, write_json
from sparsity.settings import Settings

UNNAMED = "unnamed"
_REFUSED = "refused-"


@dataclass(frozen=True)
class Refused:
    """A job of a sweep of which no run came.

    Attributes:
        words: as they stand on a command line.
        reason: one sentence.
        directory: of the run that it would be; None where its settings are wrong.
    """

    words: str
    reason: str
    directory: Path | None


def folder(results: Path, name: str) -> Path:
    """results/runs/sweeps/<name>, with one file per run."""
    return results / "runs" / "sweeps" / name


def register(settings: Settings, words: str = "") -> None:
    """Name a run as one of its sweep, whatever becomes of it, with the words that asked for it."""
    directory, results = provenance.run_directory(settings), Path(settings.results_dir)
    place = directory.relative_to(results / "runs")
    entry = folder(results, settings.sweep_name) / f"{'--'.join(place.parts)}.json"
    write_json(entry, {"directory": place.as_posix(), "words": words})


def refuse(results: Path, name: str, job: Refused) -> None:
    """Keep what has become of a job that left no run."""
    place = job.directory and job.directory.relative_to(results / "runs").as_posix()
    entry = folder(results, name) / f"{_REFUSED}{hashlib.sha256(job.words.encode()).hexdigest()[:10]}.json"
    write_json(entry, {"words": job.words, "reason": job.reason, "directory": place})


def forget_refused(results: Path, name: str) -> None:
    """A sweep begins anew: what it refuses this time is still to be seen."""
    for entry in folder(results, name).glob(f"{_REFUSED}*.json"):
        entry.unlink(missing_ok=True)


def members(results: Path, name: str) -> dict[Path, str]:
    """The directories of a sweep's runs, done or not, sorted, each with the words that asked for it, if they are known.

    Raises:
        ValueError: if there is no such sweep; the message lists those there are.
    """
    entries = _entries(results, name)
    if not entries:
        places = visible(folder(results, "").glob("*"), folder(results, ""))
        known = [path.name for path in places if _entries(results, path.name)]
        raise ValueError(f"There is no sweep {name}; there are: {', '.join(known) or 'none'}.")
    runs = [_read(entry) for entry in entries if not entry.name.startswith(_REFUSED)]
    return {results / "runs" / run["directory"]: run.get("words", "") for run in runs}


def refused(results: Path, name: str) -> list[Refused]:
    """The jobs of a sweep that left no run, unless there is one by now."""
    found = [_read(entry) for entry in _entries(results, name) if entry.name.startswith(_REFUSED)]
    jobs = [Refused(each["words"], each["reason"], _directory(results, each["directory"])) for each in found]
    return [job for job in jobs if job.directory is None or provenance.state_of(job.directory)[0] == "missing"]


def _entries(results: Path, name: str) -> list[Path]:
    return visible(folder(results, name).glob("*.json"), folder(results, name))


def _read(entry: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(entry.read_text())
    return content


def _directory(results: Path, place: str | None) -> Path | None:
    return None if place is None else results / "runs" / place
