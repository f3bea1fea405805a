"""What a benchmark leaves for the page: its measurements, and what they were made with."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsity import provenance
from sparsity.files import write_json
from sparsity.records import BENCHMARKS, SCHEMA


def record(results: Path, command: str, measurements: Sequence[dict[str, Any]]) -> Path:
    """Write the measurements of one command under results/benchmarks and return the file; the first names the place.

    A file is replaced by the next measurement of the same on the same device: the page holds no history.
    """
    environment, *measured = measurements
    folder = re.sub(r"[^a-z0-9]+", "-", environment["device"].partition(",")[0].lower()).strip("-")
    what = [environment[key] for key in ("experiment", "pruner", "precision")]
    if (scale := environment.get("scale", "paper")) != "paper":
        what.insert(1, scale)
    if network := environment.get("network"):
        what.append(network[:10])
    path = results / BENCHMARKS / folder / f"{'-'.join([command, *what])}-{environment['threads']}-threads.json"
    made = {"schema": SCHEMA, "command": command, "environment": environment, "measurements": list(measured)}
    write_json(path, made | {"provenance": provenance.origin()})
    return path
