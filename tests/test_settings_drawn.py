"""Whatever is written in the tree of settings, it is taken in its meaning or refused in one sentence."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from sparsity import config, provenance, refusals
from sparsity.ranges import CHOICES, RANGES
from sparsity.run import pipeline
from sparsity.run.plan import make_plan
from sparsity.settings import Settings, leaves
from tests.tiny_runs import TINY_OVERRIDES

DRAWN = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
EXPERIMENTS = ("lenet5_mnist", "vgg16_imagenet", "transformer_wmt14")
GROUPS = ("baseline", "regularise.optimizer", "gate", "pruner.penalty", "machine", "paper")


def composed(*words: str) -> dict[str, Any]:
    """What Hydra makes of conf/, as a tree."""
    config.register()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config.CONF)):
        tree: Any = OmegaConf.to_container(hydra.compose("config", overrides=["scale=smoke", *words]), resolve=True)
    return dict(tree)


TREES = {name: composed(f"experiment={name}") for name in EXPERIMENTS}
TINY = composed("machine=cpu", "tracking=none", *TINY_OVERRIDES)
ARGUMENTS = {
    name: [f"{group}.{key}" for group in ("model", "dataset", "task") for key in tree[group]]
    for name, tree in TREES.items()
}
PATHS = [path for path, _ in leaves(Settings())]

EDGES = [edge for low, high in RANGES.values() for edge in (low, high)]
NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_subnormal=False),  # which a processor that flushes them, as runs have it, cannot hold
    st.sampled_from([0, 1, -1, 2, 10**400, -(10**400), math.nan, math.inf, -math.inf, 0.0, 1.0, *EDGES]),
)
WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["???", "", "..", "/tmp/x", "../x", "nan", "null", "${seed}", "${x", "os.system", "a\nb", "\0"]),
    st.sampled_from([word for words in CHOICES.values() for word in words]),
)
PLAIN = st.one_of(NUMBERS, WORDS, st.booleans(), st.none())
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3), st.dictionaries(WORDS, PLAIN, max_size=2), st.lists(NUMBERS))


def changed(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of the tree with other values at dotted paths."""
    tree = deepcopy(tree)
    for path, value in changes.items():
        *groups, name = path.split(".")
        node: Any = tree
        for group in groups:
            node = node.setdefault(group, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node[name] = value
    return tree


@contextmanager
def one_sentence_at_most() -> Iterator[None]:
    """Fails at any exception but those that end a command with one sentence."""
    try:
        yield
    except config.USER_ERRORS as error:
        said = refusals.one_sentence(error)
        assert "\n" not in said and said.endswith((".", "?")) and len(said) > 10, said


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a value."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from numbers(each)
    if isinstance(value, (int, float)):
        yield value


def hold_to_their_meaning(taken: Settings) -> None:
    """Fails at a setting that means nothing."""
    for path, value in leaves(taken):
        assert all(math.isfinite(number) for number in numbers(value)), path
        low, high = RANGES.get(path, RANGES.get("*." + path.partition(".")[2], (-math.inf, math.inf)))
        assert all(low <= number <= high for number in numbers(value)), path
    for phase in (taken.baseline, taken.regularise, taken.finetune):
        assert phase.optimizer.eps > 0 and 0 <= phase.optimizer.momentum < 1
        assert len(phase.optimizer.betas) == 2 and all(0 <= beta < 1 for beta in phase.optimizer.betas)
        assert sorted(set(phase.lr_schedule.milestones)) == phase.lr_schedule.milestones
    if taken.baseline.source != "file":  # whose path is asked for
        inside = Path(taken.results_dir).resolve() / "runs" if "\0" not in taken.results_dir else None
        assert inside is None or provenance.run_directory(taken).resolve().is_relative_to(inside)
    assert make_plan(taken, 1200).num_steps >= 0
    assert taken.metric in config.build(taken).task.metrics


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@DRAWN
@given(data=st.data())
def test_any_value_at_any_place_is_taken_in_its_meaning_or_refused_in_one_sentence(
    experiment: str, data: st.DataObject
) -> None:
    places = st.sampled_from([*PATHS, *ARGUMENTS[experiment], *GROUPS, "pruner.layer_sparsities.fc1.weight"])
    changes = data.draw(st.dictionaries(places, VALUES, min_size=1, max_size=3))
    with one_sentence_at_most():
        hold_to_their_meaning(config.settled(OmegaConf.create(changed(TREES[experiment], changes))))


SMALL = {
    "regularise": ["num_epochs", "batch_size", "micro_batches", "evaluate_every_steps", "max_steps", "optimizer.name"],
    "finetune": ["num_epochs", "batch_size", "micro_batches", "lr_schedule.name", "lr_schedule.milestones"],
    "pruner": ["trigger", "budget", "counted", "penalty.irrelevance", "penalty.decay", "penalty.scale_free"],
    "gate": ["target_sparsity", "stop_at_sparsity", "policy"],
    "schedule": ["begin", "end", "fraction", "plateau_evaluations"],
}
SMALL_PATHS = [f"{group}.{key}" for group, keys in SMALL.items() for key in keys]
SMALL_VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 10, 40, 41, 0.0, 0.3, 0.5, 1.0, None, True, [0.5], [0.25, 0.75]]),
    st.sampled_from([word for words in CHOICES.values() for word in words]),
)


@DRAWN
@given(changes=st.dictionaries(st.sampled_from(SMALL_PATHS), SMALL_VALUES, min_size=1, max_size=4))
def test_settings_that_are_taken_run_to_their_end_or_are_refused_in_one_sentence(changes: dict[str, Any]) -> None:
    with TemporaryDirectory() as results, one_sentence_at_most():
        tree = changed(TINY, {**changes, "results_dir": results})
        pipeline.run(config.build(config.settled(OmegaConf.create(tree))))
