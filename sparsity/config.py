"""What did the user ask for? Hydra's tree checked against the typed settings, and an experiment built from them.

The only file that knows Hydra and OmegaConf. Nothing here imports torch before `build`, so a run that is already done
answers at once.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from sparsity.machine import has_cuda
from sparsity.settings import Settings, check, leaves, spelling

if TYPE_CHECKING:
    from sparsity.workspace import Experiment

CONF = Path(__file__).parent.parent / "conf"
NUM_CLOSEST = 3


def command(task: Callable[[Settings], None]) -> None:
    """Run `task` behind Hydra's command line, with one sentence instead of a traceback on a user's mistake.

    HYDRA_FULL_ERROR=1 shows the traceback.
    """
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the sentence is ours
    register()
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(lambda cfg: task(settled(cfg)))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: the last checkpoint is kept; the same command goes on from there.")
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        sys.exit(f"error: {one_sentence(error)}")


def compose(overrides: list[str]) -> Settings:
    """The settings that these command-line overrides give, without running anything.

    Raises:
        ValueError: if an override is wrong.
    """
    register()
    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return settled(hydra.compose("config", overrides=overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_sentence(error)) from error


def register() -> None:
    """Tell Hydra the schema and the resolvers; may be called again."""
    schema = OmegaConf.to_container(OmegaConf.structured(Settings))
    assert isinstance(schema, dict)
    # `from` is a keyword of Python: the dataclass says start_from, the command line says from
    schema["finetune"]["from"] = schema["finetune"].pop("start_from")
    ConfigStore.instance().store("schema", node=schema)
    OmegaConf.register_new_resolver("concrete_scale", concrete_scale, replace=True)


def concrete_scale(scale: str) -> str:
    """`auto` is the paper's scale with a GPU and smoke without; other names stand for themselves."""
    if scale != "auto":
        return scale
    return "paper" if has_cuda() else "smoke"


def settled(cfg: DictConfig) -> Settings:
    """A resolved tree as typed settings, checked once more: Hydra lets `+pruner.typo=1` pass.

    Raises:
        ValueError: naming the first key that is unknown, ill-typed or out of range.
    """
    tree = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(tree, dict)
    tree.pop("hydra", None)
    tree["finetune"]["start_from"] = tree["finetune"].pop("from")
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), tree))
    except ConfigKeyError as error:
        raise ValueError(_unknown_key(str(error.full_key))) from error
    except ValidationError as error:
        raise ValueError(f"{spelling(str(error.full_key))}: {str(error.msg).splitlines()[0]}.") from error
    assert isinstance(settings, Settings)
    check(settings)
    return settings


def from_record(record: dict[str, Any]) -> Settings:
    """The settings that a manifest recorded."""
    settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), record))
    assert isinstance(settings, Settings)
    return settings


def ignored_overrides(settings: Settings) -> list[str]:
    """Warnings on command-line overrides that the chosen pruner does not read."""
    try:
        overrides = HydraConfig.get().overrides.task
    except ValueError:
        return []
    unread = []
    if settings.pruner.penalty.kind == "none":
        unread += [o for o in overrides if o.startswith("pruner.penalty.") and not o.startswith("pruner.penalty.kind")]
    if not settings.pruner.prunes:
        unread += [o for o in overrides if o.startswith(("gate.", "schedule."))]
    return [f"{override} is ignored: pruner={settings.pruner.name} does not use it." for override in unread]


def build(settings: Settings) -> "Experiment":
    """The experiment that the settings describe; its network and data are built when they are needed.

    Raises:
        ValueError: if `model` or `dataset` names something unknown or has a wrong argument.
    """
    from sparsity.training.tasks import Classification
    from sparsity.workspace import Experiment

    source = {"protocol": settings.protocol.name, "data_dir": settings.data_dir}
    return Experiment(
        settings=settings,
        build_model=_leaf("model", settings.model),
        build_data=_leaf("dataset", settings.dataset, source),
        task=Classification(),
    )


def one_sentence(error: Exception) -> str:
    """An error's message on one line; Hydra's list of options is kept, its hints are not."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return f"{type(error).__name__}."
    if "Could not find" in lines[0] and any(line.startswith("Available options") for line in lines):
        start = next(i for i, line in enumerate(lines) if line.startswith("Available options"))
        end = next(i for i, line in enumerate(lines) if line.startswith("Config search path"))
        group, _, option = lines[0].split("'")[-2].rpartition("/")
        return f"{group}={option} is unknown; choose one of {', '.join(lines[start + 1 : end])}."
    if lines[0].startswith("Could not override"):
        return _unknown_key(lines[0].split("'")[1])
    return " ".join(lines)


def _unknown_key(key: str) -> str:
    """What is wrong with a key, and the nearest ones that exist."""
    import difflib

    key = spelling(key)
    known = [spelling(path) for path, _ in leaves(Settings())]
    parent = key.rpartition(".")[0]
    siblings = [path for path in known if path.rpartition(".")[0] == parent]
    near = difflib.get_close_matches(key, known, n=NUM_CLOSEST, cutoff=0.75) or siblings
    return (
        f"{key} is not a setting; did you mean {', '.join(near)}?"
        if near
        else f"{key} is not a setting; see --cfg job."
    )


def _leaf(group: str, node: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> Callable[[], Any]:
    """A call of the node's `_target_` with the node's other keys, its arguments checked against the signature."""
    if "_target_" not in node:
        raise ValueError(
            f"{group}._target_ is missing: name the {group}'s constructor, e.g. sparsity.models.lenet.LeNet5."
        )
    module, _, name = str(node["_target_"]).rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{group}._target_={node['_target_']} cannot be imported ({error}); check its spelling."
        ) from error
    arguments = {key: value for key, value in node.items() if key != "_target_"} | dict(extra or {})
    allowed = list(inspect.signature(target).parameters)
    for key in arguments:
        if key not in allowed:
            raise ValueError(f"{group}.{key} is not a setting of {name}; its settings are {', '.join(allowed)}.")
    return lambda: target(**arguments)
