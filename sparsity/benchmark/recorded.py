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
    where, what = (
        environment["device"].partition(",")[0],
        [environment[key] for key in ("experiment", "pruner", "precision")],
    )
    name = "-".join([command, *what, f"{environment['threads']}-threads"])
    path = results / BENCHMARKS / re.sub(r"[^a-z0-9]+", "-", where.lower()).strip("-") / f"{name}.json"
    made = {"schema": SCHEMA, "command": command, "environment": environment, "measurements": list(measured)}
    write_json(path, made | {"provenance": provenance.origin()})
    return path
