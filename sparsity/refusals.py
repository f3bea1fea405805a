"""What Hydra and OmegaConf refuse, and what the system does, in one sentence each: what was got and what to do."""

import re
import shlex
from collections.abc import Iterable

from hydra.errors import OverrideParseException
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from sparsity.files import REMEDY, refusal
from sparsity.settings import Settings, leaves

NUM_CLOSEST = 3
CONSTRUCTED = ("model", "dataset", "task", "pruner.method", "pruner.score")  # with a `_target_`
KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@/-]*")
PLAIN = re.compile(r"[A-Za-z0-9_/\-\\+.$%*@?|:\s]")  # what Hydra's grammar takes in a value without quotes
PLUGIN = re.compile(r"hydra/(launcher/(joblib|submitit_\w+)|sweeper/optuna)")  # what the extra `sweeps` brings


def one_sentence(error: Exception) -> str:
    """An error's message on one line; Hydra's list of options is kept, its hints are not."""
    if isinstance(error, OSError) and error.strerror:
        return refusal(error, f"{REMEDY}: it goes on from the last checkpoint")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return f"{type(error).__name__}."
    plugin = PLUGIN.search(lines[0])
    if plugin is not None:
        return f'{plugin[0]} comes with an extra: pip install -c constraints.txt -e ".[sweeps]".'
    if "Could not find" in lines[0] and any(line.startswith("Available options") for line in lines):
        start = next(i for i, line in enumerate(lines) if line.startswith("Available options"))
        end = next(i for i, line in enumerate(lines) if line.startswith("Config search path"))
        group, _, option = lines[0].split("'")[-2].rpartition("/")
        return f"{group}={option} is unknown; choose one of {', '.join(lines[start + 1 : end])}."
    if lines[0].startswith("Could not override"):
        cause = error.__cause__
        full_key = getattr(cause, "full_key", None)  # of `gate={bund: 3}` it is gate.bund
        return unknown_key(str(full_key or lines[0].split("'")[1]), getattr(cause, "parent_node", None) or ())
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if lines[0].startswith("Error merging override "):
        return (
            f"{lines[0].removeprefix('Error merging override ')} is of another shape than the setting: see --cfg job."
        )
    if lines[0].startswith("Ambiguous value"):
        return _ambiguous(lines[0].partition("'")[2].rstrip("'"))
    if isinstance(error, InterpolationKeyError):
        return f"{error.full_key}: {lines[0]}; ${{...}} names a setting, and the shell replaces $HOME without braces."
    if isinstance(error, OmegaConfBaseException):
        about = f"{error.full_key}: " if error.full_key else ""
        return f"{about}{lines[0].rstrip('.')}; --cfg job shows what a setting looks like."
    return " ".join(lines)


def _unreadable(override: str) -> str:
    """What is wrong with a word that Hydra's grammar does not take: mostly a path with a sign that it reserves."""
    key, equals, value = override.partition("=")
    if not equals or not KEY.fullmatch(key):
        return (
            f"{override} is no setting with a value; write key=value, e.g. seed=1, and quote a value with spaces, "
            f"""e.g. 'data_dir="my data"'."""
        )
    if value.startswith("~/"):
        return f"{override} begins with ~, which the shell does not replace there: write {key}=$HOME{value[1:]}."
    if value[:1] in ("[", "{", "'", '"'):
        return f"{override} cannot be read: its brackets or quotes do not match, or hold a sign that needs quotes."
    sign = re.sub(PLAIN, "", value)[:1] or value[:1]
    return f"{override} has the sign {sign}, which a value may hold in quotes only: write {_quoted(key, value)}."


def _ambiguous(override: str) -> str:
    key, _, value = override.partition("=")
    return (
        f"{override} has a comma, which separates the runs of a sweep: add -m for one, write {key}=[{value}] for a "
        f"list, or {_quoted(key, value)} for a text."
    )


def _quoted(key: str, value: str) -> str:
    """A word for the shell in which Hydra takes the value as it stands."""
    escaped = value.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


def unknown_key(key: str, beside: Iterable[object] = ()) -> str:
    """What is wrong with a key, and the nearest ones that exist.

    Args:
        beside: the names in its group as chosen: of a constructor's arguments they alone say which there are.
    """
    import difflib

    paths = [path.split(".") for path, _ in leaves(Settings())]
    known = dict.fromkeys(".".join(parts[:depth]) for parts in paths for depth in range(1, len(parts) + 1))
    parent, _, name = key.rpartition(".")
    siblings = [path for path in known if path.rpartition(".")[0] == parent]
    if siblings:
        near = difflib.get_close_matches(key, known, n=NUM_CLOSEST, cutoff=0.75) or siblings
    else:
        arguments = [str(each) for each in beside if each != "_target_"]
        near = [f"{parent}.{each}" for each in difflib.get_close_matches(name, arguments, NUM_CLOSEST)]
        if not near and parent in CONSTRUCTED:
            named = ", ".join(arguments) or "no argument"
            return (
                f"{key} is not a setting; the file of the chosen {parent} names {named}: another of its constructor is "
                f"given with a plus, +{key}=VALUE."
            )
    if near:
        return f"{key} is not a setting; did you mean {', '.join(near)}?"
    return f"{key} is not a setting; see --cfg job."
