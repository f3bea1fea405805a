"""Hydra's tree checked against the typed settings, and an experiment built from them.

Beside `refusals` the only file that knows Hydra and OmegaConf. Nothing here imports torch before `build`, so a run that
is already done answers at once; where the driver has a GPU, `scale=auto` asks torch whether it can be used.
"""

import inspect
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from sparsity import command_line, constructors, history, provenance, refusals, sweeps
from sparsity.hardware import ranks
from sparsity.hardware.machine import has_cuda
from sparsity.ranges import check, check_folder_name
from sparsity.settings import DATA_KEYS, PhaseSettings, PrunerSettings, Settings, leaf_name, leaves

if TYPE_CHECKING:
    from sparsity.pruning.method import Method
    from sparsity.run.experiment import Experiment

CONF = Path(__file__).parent.parent / "conf"
SECONDS_FOR_THE_FIRST = 20.0
USER_ERRORS = (ValueError, OSError, HydraException, OmegaConfBaseException)
TARGET = re.compile(r"_target_: ([\w.]+)")


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
        if is_multirun():  # the run's record holds the command of this run alone, whoever has started it
            sys.argv = [str(CONF.parent / "scripts" / "train.py"), *own_overrides()]
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
    sys.argv[1:] = command_line.options_first(history.respelt(sys.argv[1:]))
    try:
        command_line.check_deletions(sys.argv[1:], CONF)
        command_line.check_options(sys.argv[1:], CONF)
        command_line.check_launcher(sys.argv[1:])
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
    sys.exit(f"error: {refusals.one_sentence(error)}")


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
        raise ValueError(refusals.one_sentence(error)) from error


def register() -> None:
    """Tell Hydra the schema and the resolvers; may be called again."""
    if "schema.yaml" not in ConfigStore.instance().repo:  # which takes a twentieth of a composition
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
        settings = OmegaConf.to_object(OmegaConf.merge(_schema(), tree))
    except ConfigKeyError as error:
        raise ValueError(refusals.unknown_key(str(error.full_key))) from error
    except ValidationError as error:
        raise ValueError(f"{error.full_key}: {str(error.msg).splitlines()[0]}.") from error
    assert isinstance(settings, Settings)
    check(settings)
    return settings


@cache
def _schema() -> DictConfig:
    """The typed settings at their defaults, made once: half the time of `settled`. Merging copies them."""
    return OmegaConf.structured(Settings)


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

    A network of ours was tested as its experiment's baseline asks, which may hold images back; anybody's is on all.

    Args:
        path: a compact file of ours, which names its experiment itself, or anybody's file of weights.
        experiment: whose network it is, in the place of what the file says.
        overrides: further settings.

    Raises:
        ValueError: if it cannot be read, nobody says of which experiment it is, or that is none.
    """
    from sparsity.weights.export import header_of
    from sparsity.weights.given import check_weights

    check_weights(path)
    header = header_of(path)
    named, scale = experiment or header.get("experiment"), header.get("scale", "paper")
    if named is None:
        raise ValueError(f"{path} does not say of which experiment it is; add --experiment NAME.")
    check_folder_name("experiment", str(named))  # which a header says in the words of whoever wrote it
    check_folder_name("scale", str(scale))
    baseline = [] if header.get("splits") else ["baseline=none"]
    return compose([f"experiment={named}", f"scale={scale}", *baseline, "tracking=none", *overrides])


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


def own_overrides() -> list[str]:
    """The same without the sweep that the run is of, which would begin as a whole."""
    return [word for word in overrides() if not word.startswith(("sweep=", "sweep_name="))]


def job_words() -> str:
    """The same as another machine may type it."""
    return shlex.join(provenance.repeatable(own_overrides()))


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
        read = {
            name
            for group, node in nodes.items()
            for name in inspect.signature(constructors.imported(group, node)).parameters
        }
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
    from sparsity.run.experiment import Experiment

    baseline, pruner = settings.baseline.source, settings.pruner
    circumstances = {
        **asdict(settings.protocol),
        "data_dir": settings.data_dir,
        "baseline": baseline,
        "num_workers": settings.machine.num_workers,
    }
    task = constructors.bind("task", settings.task, circumstances)()
    _check_metric(settings, task)
    return Experiment(
        settings=settings,
        build_model=constructors.bind("model", settings.model),
        build_data=constructors.bind("dataset", settings.dataset, circumstances),
        task=task,
        build_method=build_method(pruner),
        score=constructors.bind("pruner.score", pruner.score)() if pruner.score else None,
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

    return constructors.bind("pruner.method", pruner.method, later=OFFERED)


def method_class(pruner: PrunerSettings) -> "type[Method]":
    """The class that `pruner.method` names. Raises as `build_method`."""
    found: type[Method] = constructors.imported("pruner.method", pruner.method)
    return found


def _leave_in_sweep(cfg: DictConfig, error: Exception) -> None:
    """Name a job that failed among those of its sweep, unless its run says so itself."""
    directory = None
    with suppress(ValueError, OmegaConfBaseException):  # of wrong settings there is no run
        directory = provenance.run_directory(settled(cfg, overrides()))
        if provenance.state_of(directory)[0] != "missing":
            return
    with suppress(OSError):  # a disk that is full must not hide the error itself
        sweeps.refuse(
            Path(cfg.results_dir), cfg.sweep_name, sweeps.Refused(job_words(), refusals.one_sentence(error), directory)
        )


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
