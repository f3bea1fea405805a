"""Which run this is and what made it: fingerprints, run directories and manifests; free of torch.

A run's identity is its scientific settings, with the content of the file it starts from, and its seed. Device, workers,
tracking and paths stay out of it, and so does every setting or argument that has its default value: a new one leaves
old fingerprints unchanged. What was moved or renamed since runs were finished is hashed under its old word (`history`).
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sparsity.files import is_held, sha256, visible, write_text
from sparsity.history import in_old_words
from sparsity.settings import DATA_KEYS, Settings, leaves

IDENTITY_LENGTH = 10
CONFIG = "config.yaml"
CODE = ("conf", "scripts", "sparsity")  # folders of which a run may read any file
COMMIT_VARIABLE = "SPARSITY_COMMIT"
_SEED_FOLDER = re.compile("seed(0|[1-9][0-9]*)")
_NEVER_IDENTITY = (
    *("machine.", "tracking.", "paper.", "experiment", "scale", "seed"),
    *("data_dir", "results_dir", "measure_sizes", "sweep_name", "force"),
)
_OF_BASELINE = (
    *("model", "dataset", "task", "baseline.", "metric"),
    *(f"protocol.{key}" for key in (*DATA_KEYS, "cosine_per_micro_batch", "baseline_evaluate_every_steps")),
)
_PLACES = ("data_dir", "results_dir", "hydra.run.dir", "hydra.sweep.dir")
# The folders of a path that leads away from here; what comes last in it is no match.
_FOLDERS = re.compile(
    r"""(?<![\w.:/}])(?:~\w*|\$\w+|\$\{[^}]*\}|(?:\.\./)*\.\.)?/(?:[^/,'"\[\]{}]+/)*(?=[^/,'"\[\]{}])"""
)
_PACKAGES = (
    *("torch", "torchvision", "transformers", "tokenizers", "datasets", "sacrebleu"),
    *("numpy", "hydra-core", "omegaconf", "wandb", "scikit-learn"),
)


def fingerprint(settings: Settings) -> str:
    """The identity of a run apart from its seed: ten hexadecimal digits. Raises as `identity`."""
    return digest(identity(settings))


def identity(settings: Settings) -> dict[str, Any]:
    """Dotted path -> value of the scientific settings that differ from their defaults: what the fingerprint digests.

    In the place of `baseline.path` stands the sha256 of the file, under `baseline.sha256`: another network under an old
    name is another start, and the same one elsewhere is not.

    Raises:
        ValueError: if the file of `baseline=file` is not there.
    """
    return {path: value for path, value in _changed(settings).items() if not path.startswith(_NEVER_IDENTITY)}


def digest(identity: dict[str, Any]) -> str:
    """Ten hexadecimal digits that stand for an identity."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:IDENTITY_LENGTH]


def baseline_fingerprint(settings: Settings) -> str:
    """The identity of a baseline apart from its seed: runs that share it share the trained network."""
    changed = _changed(settings)
    return digest({path: value for path, value in changed.items() if path.startswith(_OF_BASELINE)})


def run_directory(settings: Settings) -> Path:
    """results/runs/<experiment>/<scale>-<pruner>-<fingerprint>/seed<seed>."""
    name = f"{settings.scale}-{settings.pruner.name}-{fingerprint(settings)}"
    return _runs(settings) / settings.experiment / name / f"seed{settings.seed}"


def baseline_directory(settings: Settings) -> Path:
    """results/runs/baselines/<scale>-<fingerprint>/seed<seed>, shared by all runs with this baseline."""
    name = f"{settings.scale}-{baseline_fingerprint(settings)}"
    return _runs(settings) / "baselines" / name / f"seed{settings.seed}"


def seed_folders(runs: Path, experiment: str = "*") -> list[Path]:
    """The folders <experiment>/<run>/seed<seed> below `runs`, sorted; a copy, such as `seed0 copy`, is no seed."""
    found = [path for path in runs.glob(f"{experiment}/*/seed*") if _SEED_FOLDER.fullmatch(path.name)]
    return [path for path in visible(found, runs) if path.is_dir()]


def write_config(directory: Path, settings: Settings) -> None:
    """Record the settings of a run, with marks of YAML by which a file that was cut short is known."""
    text = yaml.safe_dump(asdict(settings), sort_keys=False, explicit_start=True, explicit_end=True)
    write_text(directory / CONFIG, text)


def read_config(directory: Path) -> dict[str, Any]:
    """The tree of settings that a run recorded.

    Raises:
        ValueError: if there is none or it is damaged, with the way out.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise ValueError(f"There is no {path}; name a run directory, results/runs/EXPERIMENT/RUN/seedN.")
    tree: Any = None
    with contextlib.suppress(yaml.YAMLError, UnicodeDecodeError):
        text = path.read_text()
        is_cut = text.startswith("---") and not text.endswith("...\n")
        tree = None if is_cut else yaml.safe_load(text)
    if not isinstance(tree, dict):
        raise ValueError(
            f"{path} is damaged: remove {directory / 'summary.json'}, if it is there, and give that run's command "
            "again, which writes it anew."
        )
    return tree


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a run directory, empty if there is none or it is damaged."""
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def state_of(directory: Path) -> tuple[str, str]:
    """(done, running, failed, interrupted or missing; the reason of a failure or nothing) of a run directory."""
    manifest = read_manifest(directory)
    if is_done(directory):
        return "done", ""
    if not manifest:
        return "missing", ""
    if is_held(directory):
        return "running", ""
    if manifest.get("status") == "failed":
        return "failed", str(manifest.get("reason", ""))
    return "interrupted", ""


def is_done(directory: Path) -> bool:
    """Whether the run in `directory` has finished and left its summary."""
    return read_manifest(directory).get("status") == "done" and (directory / "summary.json").is_file()


def origin() -> dict[str, Any]:
    """Commit, command, versions and time, as recorded in a manifest.

    In a copy without `.git` the environment variable SPARSITY_COMMIT says which commit it is of, and whoever sets it
    answers for the copy being that commit unchanged.
    """
    return {
        **code(),
        "command": _command(sys.argv),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "started": now(),
    }


def without_folders(value: Any) -> Any:
    """A value of settings, or a word of a command, in which only the last part is left of a path that leads away.

    Records are shown to others, whom it does not concern where somebody keeps what, and under which name.
    """
    if isinstance(value, dict):
        return {key: without_folders(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(of) for of in value]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as a tree for others: of the file to start from its name, and no places of this machine."""
    return shown_tree(asdict(settings))


def shown_tree(settings: dict[str, Any]) -> dict[str, Any]:
    """The same of settings that are a tree, such as a config.yaml."""
    tree: dict[str, Any] = without_folders(settings)
    path = settings["baseline"]["path"]
    tree["baseline"]["path"] = path and Path(path).name
    return {key: value for key, value in tree.items() if key not in _PLACES}


def repeatable(words: Iterable[str]) -> Iterator[str]:
    """The words of a command line as another machine may repeat them: without the folders of this one."""
    for word in words:
        key, equals, value = word.partition("=")
        if key.lstrip("+") == "baseline.path":
            quote = value[:1] if value[:1] in ("'", '"') else ""
            yield f"{key}={quote}{Path(value.strip(quote or None)).name}{quote}"
        elif key.lstrip("+") not in _PLACES:
            yield f"{without_folders(key)}{equals}{without_folders(value)}"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _runs(settings: Settings) -> Path:
    return Path(settings.results_dir) / "runs"


def _changed(settings: Settings) -> dict[str, Any]:
    """Dotted path -> value of every setting that differs from its default; of a file to start from, its sha256."""
    defaults = dict(leaves(Settings()))
    changed = in_old_words({path: value for path, value in leaves(settings) if value != defaults[path]})
    path = changed.pop("baseline.path", None)
    if settings.baseline.source == "file":
        changed["baseline.sha256"] = _sha256(Path(path))
    return changed


def _sha256(path: Path) -> str:
    if path.is_dir():
        raise ValueError(f"baseline.path={path} is a folder; name the checkpoint in it.")
    if not path.is_file():
        raise ValueError(f"There is no checkpoint at {path}; check baseline.path.")
    status = path.stat()
    return _sha256_of(path, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache  # a file of hundreds of MB is asked for several times a run
def _sha256_of(path: Path, *status: int) -> str:
    return sha256(path)


def code() -> dict[str, Any]:
    """The commit, and whether files differ from it or code lies beside it that no commit has."""
    here = Path(__file__).parent.parent  # conf/ and scripts/ are code too
    if not (here / ".git").exists():  # git itself would go on looking, and find a repository that the copy lies in
        return {"commit": os.environ.get(COMMIT_VARIABLE) or None, "dirty": False}
    # results are written by runs themselves: they do not make the code dirty
    changes = _git(here, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    untracked = _git(here, "ls-files", "--others", "--exclude-standard", "--", *CODE)
    return {"commit": _git(here, "rev-parse", "HEAD"), "dirty": bool(changes or untracked)}


def _command(words: list[str]) -> str:
    script = without_folders(os.path.relpath(words[0])) if words[0] else ""
    return shlex.join(["python", script, *repeatable(words[1:])])


def _git(here: Path, *arguments: str) -> str | None:
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return None


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None
