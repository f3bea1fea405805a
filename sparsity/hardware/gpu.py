"""Whether this GPU may be trusted with a run: what `sparsity.selfcheck` found in a process of its own.

A CUDA graph that fails can take its process with it, so the checks are made in another one: first as the run would be,
with its steps captured, and if that fails, in a fresh process without graphs.
"""

import hashlib
import importlib.metadata
import json
import logging
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparsity import provenance
from sparsity.files import write_json
from sparsity.settings import Settings

MOST_SECONDS = 900.0  # a check that hangs has failed
DRIVER = Path("/proc/driver/nvidia/version")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """Whether steps may be replayed as CUDA graphs, and why not, where the checks say so."""

    capture: bool
    reason: str = ""

    def describe(self) -> str:
        """In words, for the terminal."""
        if self.reason:
            return f"steps run eagerly instead of as CUDA graphs: {self.reason}"
        return "all checks passed" if self.capture else "all checks passed, without CUDA graphs"


def checked(settings: Settings, directory: Path, gpu_name: str) -> Finding:
    """What the checks say of a run; asked again where torch, driver, GPU, code, network, data or the way of
    computing is another.

    Only what has passed is remembered: graphs that fail may have lacked memory that other programs held.

    Args:
        settings: of the run, which stand in `directory`.
        directory: of the run.
        gpu_name: as the driver gives it.

    Raises:
        ValueError: if the run cannot be made on this GPU, even eagerly.
    """
    kind = kind_of(settings, gpu_name)
    digest = hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(settings.results_dir) / "runs" / "selfchecks" / f"{digest}.json"
    known = _known(path)
    if known is not None:
        return known
    logger.info("checking the GPU once for this kind of run; it takes a minute or two.")
    found = examine(directory, settings.machine.capture)
    if not found.reason:
        write_json(path, {**kind, "verdict": asdict(found)})
    return found


def examine(directory: Path, capture: bool) -> Finding:
    """Check the run in `directory`, with CUDA graphs and, if that fails, without.

    Raises:
        ValueError: if it fails without them too.
    """
    reason = failure(directory) if capture else ""
    if capture and not reason:
        return Finding(capture=True)
    problem = failure(directory, "--eagerly")
    if problem:
        raise ValueError(
            f"This GPU cannot be used for the run: {problem}; `make check-gpu` repeats the checks, and machine=cpu "
            "computes without it."
        )
    return Finding(capture=False, reason=reason)


def failure(directory: Path, *options: str) -> str:
    """What a process that makes the checks ends with: nothing if all is well, else a part of a sentence."""
    command = [sys.executable, "-m", "sparsity.selfcheck", "--run", str(directory.resolve()), *options]
    here = Path(__file__).parents[2]
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired as error:
        begun = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return f'the check "{_last(begun)}" was not done after {MOST_SECONDS:g} seconds'
    if done.returncode == 0:
        return ""
    own_words = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if own_words:
        return own_words[-1].removeprefix("error: ").rstrip(".")
    status = f"status {done.returncode} ({_last(done.stderr)})"
    return f'the check "{_last(done.stdout)}" ended its process with {status}'


def kind_of(settings: Settings, gpu_name: str) -> dict[str, Any]:
    """What a verdict depends on."""
    run, penalty = settings.machine, settings.pruner.penalty
    return {
        "torch": importlib.metadata.version("torch"),
        "driver": DRIVER.read_text().strip() if DRIVER.is_file() else "",
        "gpu": gpu_name,
        "code": provenance.code(),
        "network": settings.model,
        "data": provenance.without_folders(settings.dataset),
        "task": settings.task,
        "batch_size": settings.regularise.batch_size // settings.regularise.micro_batches,
        "method": [settings.regularise.optimizer.name, settings.pruner.method, penalty.decoupled],
        "execution": [run.precision, run.compile, run.memory_format, run.capture],
    }


def _known(path: Path) -> Finding | None:
    try:
        return Finding(**json.loads(path.read_text())["verdict"])
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: asked again
        return None


def _last(text: str) -> str:
    """The last line of what a process wrote, if it wrote anything."""
    return (text.strip().splitlines() or ["nothing was said"])[-1]
