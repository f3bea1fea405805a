"""The words of a command line, such as `baseline=file`, `gate.bound=98` and `~gate`, and which may stand there.

Free of Hydra, which reads the same words: what it does not refuse, although it would change a run without a word.
"""

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsity.settings import Settings, leaves

KINDS = ("baseline", "protocol", "pruner", "machine", "tracking", "finetune")
"""Groups of conf/ whose options are kinds. What one says wins over every experiment and scale, if it is typed; of a
model, a dataset or a task the constructor is chosen, and the numbers are the experiment's."""


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Let a command that reads somebody's records be told whose code they may name."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module beside this package whose constructors the record may name; may be given several times",
    )


def choices(words: Sequence[str], conf: Path) -> dict[str, str]:
    """Group -> the option of `conf` that was typed for it, such as baseline -> file."""
    pairs = [(key, value.strip("'\"")) for key, _, value in (word.partition("=") for word in words)]
    return {group: option for group, option in pairs if (conf / group / f"{option}.yaml").is_file()}


def typed_keys(words: Sequence[str], conf: Path) -> list[str]:
    """The settings that were typed one by one, by their dotted paths."""
    keys = [word.lstrip("+~").partition("=")[0] for word in words]
    return [key for key in keys if key not in choices(words, conf)]


def options_first(words: Sequence[str]) -> list[str]:
    """The same words with options and their values before all settings, which Hydra takes in one stretch only."""
    options: list[str] = []
    settings: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_value = before.startswith("-") and not re.search(r"[=~+]", word)
        (options if word.startswith("-") or is_value else settings).append(word)
    return options + settings


def check_deletions(words: Sequence[str], conf: Path) -> None:
    """Refuse `~key`, by which a setting falls back to a default that nobody sees, and a group to many.

    An argument of another constructor than the file's may be taken away: `model._target_=my.Net ~model.num_classes`.

    Raises:
        ValueError: naming the key, what would happen, and what to type in its place.
    """
    typed = [word.partition("=")[0] for word in words]
    for word in words:
        key = word.removeprefix("~").partition("=")[0]
        is_argument = f"{key.partition('.')[0]}._target_" in typed and "." in key
        if word.startswith("~") and not is_argument and not key.startswith("hydra"):
            raise ValueError(f"{word} would take away {key} {_instead(key, conf)}.")


def check_options(words: Sequence[str], conf: Path) -> None:
    """Refuse a list, a dictionary or a number for a group of conf/, of which one option is chosen by its name.

    Raises:
        ValueError: naming the group and its options.
    """
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        options = sorted(path.stem for path in (conf / key).glob("*.yaml")) if key else []
        if options and re.match(r"[\[{\d.+-]|(true|false|null)$", value):
            raise ValueError(f"{word} is no option of {key}: choose one of {', '.join(options)}, by its name.")


def check_launcher(words: Sequence[str]) -> None:
    """Refuse to hand runs to Slurm where it is not.

    Raises:
        ValueError: naming the launcher that does the same without it.
    """
    for word in words:
        key, _, value = word.partition("=")
        if key == "hydra/launcher" and "slurm" in value and shutil.which("srun") is None:
            raise ValueError(
                f"{word} hands runs to Slurm, whose srun is not on this machine: start it where jobs are submitted, or "
                "take hydra/launcher=local, a process of its own for each run on this one."
            )


def _instead(key: str, conf: Path) -> str:
    """What would happen without a key, and what to type in its place."""
    defaults = dict(leaves(Settings()))
    options = sorted(path.stem for path in (conf / key).glob("*.yaml"))
    under = [path for path in defaults if path.startswith(f"{key}.")]
    if key in defaults and not isinstance(defaults[key], dict):
        default = _written(defaults[key])
        return f"and leave its default {default} without a word: write {key}={default} if that is meant"
    if f"{key}.num_epochs" in defaults and "none" not in options:
        return f"and leave its defaults without a word: write {key}.num_epochs=0 if there is to be no such phase"
    if options:
        return f"and leave the defaults of sparsity/settings.py without a word: choose one, {key}={'|'.join(options)}"
    if under:
        example = f"{under[0]}={_written(defaults[under[0]])}"
        return f"and leave all its defaults without a word: write the settings that are meant, e.g. {example}"
    return "without a word, and what takes its place depends on the code: write its value, key=value"


def _written(value: Any) -> str:
    """A value as it is typed."""
    return json.dumps(value).replace('"', "").replace(" ", "")
