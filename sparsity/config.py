"""Hydra's tree checked against the typed settings, and an experiment built from them.

The only file that knows Hydra and OmegaConf. Nothing here imports torch before `build`, so a run that is already done
answers at once.
"""

import importlib
import inspect
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from functools import reduce
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, NoReturn, Union, get_args, get_origin

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, InterpolationKeyError, OmegaConfBaseException, ValidationError

from sparsity import command_line, history, provenance, sweeps
from sparsity.files import REMEDY, refusal
from sparsity.hardware import ranks
from sparsity.hardware.machine import has_cuda
from sparsity.ranges import check, check_folder_name
from sparsity.settings import DATA_KEYS, PhaseSettings, PrunerSettings, Settings, leaf_name, leaves

if TYPE_CHECKING:
    from sparsity.pruning.method import Method
    from sparsity.run.workspace import Experiment

CONF = Path(__file__).parent.parent / "conf"
NUM_CLOSEST = 3
SECONDS_FOR_THE_FIRST = 20.0
USER_ERRORS = (ValueError, OSError, HydraException, OmegaConfBaseException)
KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@/-]*")
PLAIN = re.compile(r"[A-Za-z0-9_/\-\\+.$%*@?|:\s]")  # what Hydra's grammar takes in a value without quotes
KINDS_OF_VALUES = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null"}
TARGET = re.compile(r"_target_: ([\w.]+)")
PLUGIN = re.compile(r"hydra/(launcher/(joblib|submitit_\w+)|sweeper/optuna)")  # what the extra `sweeps` brings


class SweepStarted(Callback):
    """Tells `command`, in the process that starts several runs, which sweep they are."""

    sweep: tuple[Path, str] | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep the results folder and the sweep's name."""
        SweepStarted.sweep = Path(config.results_dir), config.sweep_name
        sweeps.forget_refused(*SweepStarted.sweep)


def command(task: Callable[[Settings], float], conclude: Callable[[Path, str], None] | None = None) -> None:
    """Run `task` behind Hydra's command line, with one sentence instead of a traceback on a user's mistake.

    Of several runs (`-m`) the others go on when one fails; after them `conclude` is called with the results folder and
    the sweep's name. What `task` returns is what a sweep maximises. HYDRA_FULL_ERROR=1 shows the traceback.
    """
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the sentence is ours

    def run(cfg: DictConfig) -> float:
        try:
            return task(settled(cfg, overrides()))
        except USER_ERRORS as error:
            if is_multirun():
                _leave_in_sweep(cfg, error)
                raise  # Hydra then goes on with the other runs
            if wants_traceback:
                raise
            _end(error)

    register()
    sys.argv[1:] = history.respelt(sys.argv[1:])
    try:
        command_line.check_deletions(sys.argv[1:], CONF)
        command_line.check_options(sys.argv[1:], CONF)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(run)()
    except KeyboardInterrupt:
        print("interrupted: the last checkpoint is kept; the same command goes on from there.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except USER_ERRORS as error:
        if wants_traceback:
            raise
        _end(error)
    finally:
        if conclude and SweepStarted.sweep:
            conclude(*SweepStarted.sweep)


def _end(error: Exception) -> NoReturn:
    """Exit with one sentence; what all of several ranks have met the first one says alone, whose end is theirs."""
    if not ranks.is_first():
        time.sleep(SECONDS_FOR_THE_FIRST)
    sys.exit(f"error: {one_sentence(error)}")


def is_multirun() -> bool:
    """Whether this run is one of several that a command line has started."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def compose(overrides: list[str]) -> Settings:
    """The settings that these command-line overrides give, without running anything.

    Raises:
        ValueError: if an override is wrong.
    """
    register()
    overrides = history.respelt(overrides)
    command_line.check_deletions(overrides, CONF)
    command_line.check_options(overrides, CONF)
    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return settled(hydra.compose("config", overrides=overrides), overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_sentence(error)) from error


def register() -> None:
    """Tell Hydra the schema and the resolvers; may be called again."""
    ConfigStore.instance().store("schema", node=asdict(Settings()))
    OmegaConf.register_new_resolver("concrete_scale", concrete_scale, replace=True)


def concrete_scale(scale: str) -> str:
    """`auto` is the paper's scale with a GPU and smoke without; other names stand for themselves."""
    if scale != "auto":
        return scale
    return "paper" if has_cuda() else "smoke"


def settled(cfg: DictConfig, words: Sequence[str] = ()) -> Settings:
    """A resolved tree as typed settings, checked once more: Hydra lets `+pruner.typo=1` pass.

    Args:
        cfg: what Hydra made of conf/ and the command line.
        words: of the command line; the kinds chosen there win over the files that Hydra reads after theirs.

    Raises:
        ValueError: naming the first key that is unknown, ill-typed or out of range.
    """
    tree = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(tree, dict)
    tree.pop("hydra", None)
    _check_given(tree)
    _check_shapes(tree)
    _check_scale(tree)
    _keep_choices(tree, words)
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), tree))
    except ConfigKeyError as error:
        raise ValueError(_unknown_key(str(error.full_key))) from error
    except ValidationError as error:
        raise ValueError(f"{error.full_key}: {str(error.msg).splitlines()[0]}.") from error
    assert isinstance(settings, Settings)
    check(settings)
    return settings


def from_run(directory: Path, trusted: Sequence[str] | None = ()) -> Settings:
    """The settings that a run recorded in its config.yaml.

    Args:
        directory: of the run, which may come from anybody.
        trusted: modules beside this package whose constructors it may name; None: all, as it was written just now.

    Raises:
        ValueError: if there is no such file, it does not fit, or names a constructor of another module.
    """
    path, tree = directory / provenance.CONFIG, OmegaConf.create(provenance.read_config(directory))
    for once, today in history.SPELT.items():
        if OmegaConf.select(tree, once) is not None:
            OmegaConf.update(tree, today, _taken(tree, once))
    if OmegaConf.select(tree, "protocol.name") is not None and (name := _taken(tree, "protocol.name")) != "sound":
        raise ValueError(f"{path} says protocol.name={name}, whose flaws had no keys then: run protocol={name} again.")
    if OmegaConf.select(tree, "pruner.penalty.kind") is not None:
        _name_method(tree, _taken(tree, "pruner.penalty.kind"), _taken(tree, "pruner.penalty.custom"))
    settings = settled(tree)
    if trusted is not None:
        check_constructors(settings, path, trusted)
    return settings


def of_network(path: Path, experiment: str | None, overrides: Sequence[str]) -> Settings:
    """The settings of the experiment that a file's network is of, without its training.

    Args:
        path: a compact file of ours, which names its experiment itself, or anybody's file of weights.
        experiment: whose network it is, in the place of what the file says.
        overrides: further settings.

    Raises:
        ValueError: if nobody says of which experiment it is, or that is none.
    """
    from sparsity.weights.export import header_of

    header = header_of(path)
    named, scale = experiment or header.get("experiment"), header.get("scale", "paper")
    if named is None:
        raise ValueError(f"{path} does not say of which experiment it is; add --experiment NAME.")
    check_folder_name("experiment", str(named))  # which a header says in the words of whoever wrote it
    check_folder_name("scale", str(scale))
    return compose([f"experiment={named}", f"scale={scale}", "baseline=none", "tracking=none", *overrides])


def check_constructors(settings: Settings, source: Path, trusted: Sequence[str]) -> None:
    """Refuse settings that a file names and that would run other code than this package's constructors.

    Raises:
        ValueError: naming the file, the constructor and the way to allow it.
    """
    own = {address for file in CONF.rglob("*.yaml") for address in TARGET.findall(file.read_text())}
    pruner = settings.pruner
    for node in (settings.model, settings.dataset, settings.task, pruner.method, pruner.score):
        address = str(node.get("_target_", ""))
        module = address.rpartition(".")[0]
        if address and address not in own and not any(f"{module}.".startswith(f"{name}.") for name in trusted):
            raise ValueError(
                f"{source} names {address}, which is none of this package's constructors and was not run: if you know "
                f"that code, add --trust {module or address}."
            )


def _name_method(tree: DictConfig, kind: str, custom: DictConfig) -> None:
    """Put the class of a method into a record in which a penalty had a kind instead."""
    if kind == "custom":
        raise ValueError(
            f"This run has a penalty of one's own, {custom['_target_']}, of a form that is no longer taken: make it a "
            "method, as EXTENDING.md shows, and run it again."
        )
    address = next(address for address, of in history.KINDS.items() if of == (None if kind == "none" else kind))
    OmegaConf.update(tree, "pruner.method", {"_target_": address})
    OmegaConf.update(tree, "pruner.penalty.is_weight_decay", kind in ("l2", "relevance"))


def _taken(tree: DictConfig, path: str) -> Any:
    """The value at a dotted path, which is no longer there then."""
    group, _, key = path.rpartition(".")
    return OmegaConf.select(tree, group).pop(key)


def overrides() -> list[str]:
    """What stands on this command line."""
    try:
        return list(HydraConfig.get().overrides.task)
    except ValueError:  # no command line: the settings come from `compose`
        return []


def ignored(settings: Settings, overrides: list[str]) -> list[str]:
    """Warnings on overrides that the chosen pruner or baseline does not read."""
    unread: dict[str, tuple[str, ...]] = {}
    if "strength" not in inspect.signature(method_class(settings.pruner)).parameters:
        unread[f"pruner={settings.pruner.name}"] = ("pruner.penalty.",)
    if not settings.pruner.prunes:
        unread[f"pruner={settings.pruner.name}"] = ("pruner.penalty.", "gate.", "schedule.")
    if settings.baseline.source != "train":
        of_training = tuple(f"baseline.{field.name}" for field in fields(PhaseSettings))
        unread[f"baseline={settings.baseline.source}"] = of_training
    if settings.baseline.source != "file":
        choice = f"baseline={settings.baseline.source}"
        unread[choice] = (*unread.get(choice, ()), "baseline.path")
    if settings.dataset:
        nodes = {"dataset": settings.dataset, "task": settings.task}
        read = {name for group, node in nodes.items() for name in inspect.signature(_imported(group, node)).parameters}
        choice = f"dataset={leaf_name(settings.dataset)}"
        unread[choice] = tuple(f"protocol.{key}" for key in DATA_KEYS if key not in read)
    return [
        f"{override} is ignored: {choice} does not use it."
        for choice, prefixes in unread.items()
        for override in overrides
        if override.lstrip("+").startswith(prefixes)
    ]


def build(settings: Settings) -> "Experiment":
    """The experiment that the settings describe; its network and data are built when they are needed.

    Raises:
        ValueError: if `model`, `dataset`, `task` or a part of the pruner names something unknown, or has a wrong
            argument, or `metric` is none by which the task may be judged.
    """
    from sparsity.run.workspace import Experiment

    baseline, pruner = settings.baseline.source, settings.pruner
    circumstances = {
        **asdict(settings.protocol),
        "data_dir": settings.data_dir,
        "baseline": baseline,
        "num_workers": settings.machine.num_workers,
    }
    task = _leaf("task", settings.task, circumstances)()
    _check_metric(settings, task)
    return Experiment(
        settings=settings,
        build_model=_leaf("model", settings.model),
        build_data=_leaf("dataset", settings.dataset, circumstances),
        task=task,
        build_method=build_method(pruner),
        score=_leaf("pruner.score", pruner.score)() if pruner.score else None,
    )


def _check_metric(settings: Settings, task: Any) -> None:
    known = getattr(task, "metrics", ())
    if settings.metric not in known:
        raise ValueError(
            f"metric={settings.metric} cannot gate: choose one of {', '.join(known) or 'none'}, the metrics of "
            f"{leaf_name(settings.task)} of which more is better."
        )


def build_method(pruner: PrunerSettings) -> Callable[..., "Method"]:
    """The method that the settings name, waiting for what it asks of a network.

    Raises:
        ValueError: if it names something unknown, or has a wrong knob.
    """
    from sparsity.pruning.method import OFFERED

    return _leaf("pruner.method", pruner.method, later=OFFERED)


def method_class(pruner: PrunerSettings) -> "type[Method]":
    """The class that `pruner.method` names. Raises as `build_method`."""
    found: type[Method] = _imported("pruner.method", pruner.method)
    return found


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
        full_key = getattr(error.__cause__, "full_key", None)  # of `gate={bund: 3}` it is gate.bund
        return _unknown_key(str(full_key or lines[0].split("'")[1]))
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


def _leave_in_sweep(cfg: DictConfig, error: Exception) -> None:
    """Name a job that failed among those of its sweep, unless its run says so itself."""
    directory = None
    with suppress(ValueError, OmegaConfBaseException):  # of wrong settings there is no run
        directory = provenance.run_directory(settled(cfg, overrides()))
        if provenance.state_of(directory)[0] != "missing":
            return
    words = shlex.join(provenance.repeatable(word for word in overrides() if not word.startswith("sweep_name=")))
    with suppress(OSError):  # a disk that is full must not hide the error itself
        sweeps.refuse(Path(cfg.results_dir), cfg.sweep_name, sweeps.Refused(words, one_sentence(error), directory))


def _keep_choices(tree: dict[Any, Any], words: Sequence[str]) -> None:
    """Say in the tree again what the options say that were typed: an experiment or a scale may have said else since."""
    keys = command_line.typed_keys(words, CONF)
    for group, option in command_line.choices(words, CONF).items():
        file = CONF / group / f"{option}.yaml"
        is_global = "@package _global_" in file.read_text()
        said = OmegaConf.to_container(OmegaConf.load(file)) if group in command_line.KINDS else {}
        for path, value in _leaves_of(said, "" if is_global else f"{group}."):
            if not any(f"{path}.".startswith(f"{key}.") for key in keys):
                *groups, name = path.split(".")
                reduce(lambda node, part: node.setdefault(part, {}), groups, tree)[name] = value


def _leaves_of(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """All (dotted path, value) pairs of a tree of dictionaries."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_given(tree: dict[Any, Any]) -> None:
    """Refuse `???`, by which OmegaConf marks a value that is still to come."""
    for path, value in _leaves_of(tree, ""):
        if value == MISSING or (isinstance(value, list) and MISSING in value):
            raise ValueError(f"{path}={MISSING} stands for a value that is still to be given: write {path}=VALUE.")


def _check_shapes(tree: dict[Any, Any]) -> None:
    """Hold groups to be groups and lists to be lists, in words that OmegaConf does not find."""
    for path, default in leaves(Settings()):
        *groups, name = path.split(".")
        node: Any = tree
        for depth, group in enumerate(groups, 1):
            node = node.get(group, {})
            if not isinstance(node, dict):
                where = ".".join(groups[:depth])
                raise ValueError(f"{where}={node} is not possible: {where} is a group of settings, see --cfg job.")
        value = node.get(name, default)
        if isinstance(default, list) and not isinstance(value, list):
            raise ValueError(f"{path}={value} must be a list: write {path}=[{value}].")


def _check_scale(tree: dict[Any, Any]) -> None:
    """Refuse an experiment without numbers for the smoke scale, which leaves its length open: it would run whole."""
    if tree.get("regularise", {}).get("num_epochs", 0) is None:
        experiment, scale = tree.get("experiment"), tree.get("scale")
        raise ValueError(
            f"experiment={experiment} has no numbers for scale={scale}: write {scale}/{experiment}.yaml beside those "
            "in conf/specializing/scale, or give regularise.num_epochs and whatever else is to be small."
        )


def _unknown_key(key: str) -> str:
    """What is wrong with a key, and the nearest ones that exist."""
    import difflib

    paths = [path.split(".") for path, _ in leaves(Settings())]
    known = dict.fromkeys(".".join(parts[:depth]) for parts in paths for depth in range(1, len(parts) + 1))
    parent = key.rpartition(".")[0]
    siblings = [path for path in known if path.rpartition(".")[0] == parent]
    near = difflib.get_close_matches(key, known, n=NUM_CLOSEST, cutoff=0.75) or siblings
    return (
        f"{key} is not a setting; did you mean {', '.join(near)}?"
        if near
        else f"{key} is not a setting; see --cfg job."
    )


def _leaf(
    group: str, node: Mapping[str, Any], offered: Mapping[str, Any] | None = None, later: Sequence[str] = ()
) -> Callable[..., Any]:
    """A call of the node's `_target_` with the node's other keys, which must be its parameters.

    `offered` are further arguments for those parameters of the target that ask for them, `later` the names of those
    that are handed over when it is called.
    """
    target = _imported(group, node)
    parameters = inspect.signature(target).parameters
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    for key in arguments:
        if key not in parameters or key in later:
            known = ", ".join(name for name in parameters if name not in later) or "none"
            raise ValueError(f"{group}.{key} is not a setting of {target.__name__}; its settings are {known}.")
    for key, value in arguments.items():
        _check_kind(f"{group}.{key}", value, parameters[key].annotation)
    arguments |= {key: value for key, value in (offered or {}).items() if key in parameters}
    for key, parameter in parameters.items():
        is_single = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if is_single and parameter.default is parameter.empty and key not in (*arguments, *later):
            raise ValueError(f"{group}.{key} is missing, and {target.__name__} needs it: write {group}.{key}=VALUE.")
    return lambda **late: target(**arguments, **{key: value for key, value in late.items() if key in parameters})


def _check_kind(path: str, value: Any, annotation: Any) -> None:
    """Hold an argument to the type that its constructor says, where that is one of YAML's."""
    if not _is_of(value, annotation):
        raise ValueError(f"{path}={value} is of another kind than the setting, which is {_kind(annotation)}.")


def _kind(annotation: Any) -> str:
    """A type of YAML's in words."""
    if get_origin(annotation) is list:
        return f"a list, of which each is {_kind(get_args(annotation)[0])}"
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(map(_kind, get_args(annotation)))
    return KINDS_OF_VALUES[annotation]


def _is_of(value: Any, annotation: Any) -> bool:
    """Whether a value of YAML is of a type; of a type that YAML cannot say it is assumed."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_is_of(value, part) for part in parts)
    if origin is list or annotation is list:
        return isinstance(value, list) and all(_is_of(each, part) for part in parts for each in value)
    if annotation not in KINDS_OF_VALUES:
        return True
    is_number = isinstance(value, (int, float) if annotation is float else int) and not isinstance(value, bool)
    return is_number if annotation in (int, float) else isinstance(value, annotation)


def _imported(group: str, node: Mapping[str, Any]) -> Any:
    """What a node's `_target_` names."""
    if "_target_" not in node:
        raise ValueError(
            f"{group}._target_ is missing: name the {group}'s constructor, e.g. sparsity.models.lenet.LeNet5."
        )
    module, _, name = str(node["_target_"]).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{group}._target_={node['_target_']} cannot be imported ({error}); check its spelling."
        ) from error
