"""Every file under conf/: it composes, it builds, and a pruner chooses kinds while an experiment sets numbers."""

import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from sparsity import command_line, config, provenance
from sparsity.pruning.penalty import Penalty
from sparsity.report.paper import load_paper
from sparsity.run.plan import make_plan
from sparsity.settings import Settings, leaves

RESULTS = config.CONF.parent / "results"
IMAGENET_TRAIN = 1_281_167


def options(group: str) -> list[str]:
    """The files of a group of conf/, as a user names them."""
    return sorted(path.stem for path in (config.CONF / group).glob("*.yaml"))


EXPERIMENTS, PRUNERS = options("experiment"), options("pruner")
SCALES = [scale for scale in options("scale") if scale != "auto"]
# every experiment meets every pruner and every scale; the whole product is the slow test below
PAIRS = [
    (experiment, SCALES[(i + j) % len(SCALES)], pruner)
    for i, experiment in enumerate(EXPERIMENTS)
    for j, pruner in enumerate(PRUNERS)
]
# "experiment scale pruner" -> fingerprints of the run and of its baseline, as they were when runs were first published:
# a number that changes in conf/ is noticed here, and its runs are others from then on
FINGERPRINTS = json.loads((Path(__file__).parent / "fingerprints.json").read_text())
NAMED_BY = {"baseline": "source", "machine": "device", "tracking": "mode"}
OTHERS = {group: options(group) for group in ("model", "dataset", "protocol", *NAMED_BY)}


@cache  # composing takes a third of a second
def composed(experiment: str, scale: str, pruner: str) -> Settings:
    return config.compose([f"experiment={experiment}", f"scale={scale}", f"pruner={pruner}"])


def assert_keeps_its_identity(experiment: str, scale: str, pruner: str) -> None:
    settings = composed(experiment, scale, pruner)
    found = [provenance.fingerprint(settings), provenance.baseline_fingerprint(settings)]
    assert found == FINGERPRINTS.get(f"{experiment} {scale} {pruner}", found)  # younger pruners have no history


@pytest.mark.parametrize(("experiment", "scale", "pruner"), PAIRS)
def test_experiments_scales_and_pruners_compose(experiment: str, scale: str, pruner: str) -> None:
    settings = composed(experiment, scale, pruner)
    assert (settings.experiment, settings.scale, settings.pruner.name) == (experiment, scale, pruner)
    # the experiment's numbers survive every pruner, and no experiment turns a penalty on
    assert settings.pruner.penalty.strength > 0
    has_penalty = pruner in ("l1", "l2", "lobster", "lobster_authors", "relevance")
    assert issubclass(config.method_class(settings.pruner), Penalty) == has_penalty
    assert settings.pruner.penalty.is_weight_decay == (pruner in ("l2", "relevance"))
    assert settings.pruner.prunes == (pruner != "dense")
    assert_keeps_its_identity(experiment, scale, pruner)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_whole_product_composes(experiment: str, scale: str) -> None:
    for pruner in PRUNERS:
        assert composed(experiment, scale, pruner).pruner.name == pruner
        assert_keeps_its_identity(experiment, scale, pruner)


def test_the_pairs_cover_every_experiment_at_every_scale() -> None:
    assert {(experiment, scale) for experiment, scale, _ in PAIRS} == {(e, s) for e in EXPERIMENTS for s in SCALES}


@pytest.mark.parametrize("number", range(max(len(names) for names in OTHERS.values())))
def test_every_option_of_the_other_groups_composes_and_builds(number: int) -> None:
    chosen = {group: names[number % len(names)] for group, names in OTHERS.items()}
    overrides = [f"{group}={option}" for group, option in chosen.items()]
    settings = config.compose(["scale=smoke", *overrides, "baseline.path=model.pt", "baseline.num_epochs=1"])
    for group, key in NAMED_BY.items():
        assert getattr(getattr(settings, group), key) == chosen[group]
    for group in ("model", "dataset"):
        assert getattr(settings, group)["_target_"].lower().endswith(f".{chosen[group]}")
    built = config.build(settings)  # outside: what it imports must not be made for the device below
    with torch.device("meta"):  # VGG-16 would take seconds to fill
        assert built.build_model() is not None


def dropped(experiment: str, scale: str, **chosen: str) -> list[str]:
    """Which typed kinds an experiment or a scale has overruled."""
    words = [f"{group}={option}" for group, option in chosen.items()]
    needed = ["baseline.path=model.pt", "baseline.num_epochs=1"]  # of baseline=file, and of baseline=train
    settings = flat(asdict(config.compose([f"experiment={experiment}", f"scale={scale}", *words, *needed])))
    expected: dict[str, str] = {}
    for group, option in chosen.items():
        file = OmegaConf.to_container(OmegaConf.load(config.CONF / group / f"{option}.yaml"))
        keys = {f"{group}.{key}": value for key, value in flat(file).items()}
        expected |= flat(file) if group == "protocol" else keys
    named = {f"${{{path}}}": value for path, value in settings.items()}  # what a file may say of another setting
    return [f"{path}={value}" for path, value in expected.items() if settings[path] != _said(value, named)]


def _said(value: Any, named: dict[str, Any]) -> Any:
    return named.get(value, value) if isinstance(value, str) else value


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value."""
    if not isinstance(node, dict):
        return {prefix: node}
    return {path: value for key in node for path, value in flat(node[key], f"{prefix}.{key}".lstrip(".")).items()}


@pytest.mark.parametrize("option", options("baseline"))
@pytest.mark.parametrize("scale", SCALES)
def test_the_start_that_was_typed_wins_over_that_of_the_scale(scale: str, option: str) -> None:
    assert dropped("vgg16_imagenet", scale, baseline=option) == []


@pytest.mark.parametrize("experiment", ["vgg16_imagenet", "transformer_wmt14"])
def test_the_pruner_that_was_typed_wins_over_the_experiment(experiment: str) -> None:
    assert dropped(experiment, "paper", pruner="lobster", protocol="authors", finetune="constant_1e-4") == []


def test_a_key_that_was_typed_wins_over_a_kind_that_was(tmp_path: Path) -> None:
    words = ["scale=smoke", "protocol=authors", "gate.policy=error", "pruner=l2", "pruner.penalty={decoupled: true}"]
    settings = config.compose(words)
    assert (settings.gate.policy, settings.pruner.name, settings.pruner.penalty.decoupled) == ("error", "l2", True)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_every_kind_that_is_typed_wins_over_every_experiment_and_scale(experiment: str, scale: str) -> None:
    kinds = {group: options(group) for group in command_line.KINDS}
    for number in range(max(map(len, kinds.values()))):
        chosen = {group: names[number % len(names)] for group, names in kinds.items()}
        assert dropped(experiment, scale, **chosen) == []


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_builds_its_network_and_its_data(experiment: str, tmp_path: Path) -> None:
    settings = composed(experiment, "smoke", "relevance")
    built = config.build(settings)
    batches = built.build_data().to(torch.device("cpu")).training_batches(2, seed=0, kind="regularise")
    batches.start_epoch(0)
    loss, _ = built.task.forward(built.build_model(), batches.at(torch.tensor(0), 0))
    assert loss.isfinite()


def test_every_file_that_specializes_is_of_an_option_and_an_experiment() -> None:
    for path in (config.CONF / "specializing").glob("*/*/*.yaml"):
        group, option, experiment = path.relative_to(config.CONF / "specializing").with_suffix("").parts
        assert option in options(group) and experiment in EXPERIMENTS, path


def test_every_experiment_has_its_own_numbers_for_the_smoke_run() -> None:
    assert options("specializing/scale/smoke") == EXPERIMENTS


def test_an_experiment_of_ones_own_runs_at_the_smoke_scale_only_with_numbers_for_it(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    content = (config.CONF / "experiment" / "lenet5_mnist.yaml").read_text()
    (tmp_path / "experiment" / "mine.yaml").write_text(content.replace("experiment: lenet5_mnist", "experiment: mine"))
    words = [f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"]
    with pytest.raises(ValueError, match="experiment=mine has no numbers for scale=smoke: "):
        config.compose([*words, "scale=smoke"])
    assert config.compose([*words, "scale=smoke", "regularise.num_epochs=1"]).dataset["source"] == "embedded"
    assert config.compose([*words, "scale=rehearsal"]).regularise.max_steps == 200


def opening(experiment: str) -> dict[str, str]:
    """What the first lines of an experiment's file say, by their first word."""
    lines = (config.CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    return dict(line.removeprefix("# ").split(":", 1) for line in lines[1:6])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_opens_with_its_command_and_the_hours_and_number_that_are_committed(experiment: str) -> None:
    said = {word: text.strip() for word, text in opening(experiment).items()}
    assert list(said) == ["Paper", "Command", "Hours", "Number", "Expect"]
    command = said["Command"].removeprefix("python scripts/train.py ")
    assert command == f"experiment={experiment} scale=paper"
    run = provenance.run_directory(config.compose(command.split())).parent
    measured = [json.loads(path.read_text()) for path in (RESULTS / experiment / run.name).glob("seed*/summary.json")]
    hours = sorted(summary["provenance"]["wall_seconds"] / 3600 for summary in measured)
    assert said["Hours"].startswith(f"{hours[0]:.1f} to {hours[-1]:.1f} on " if hours else "not measured")
    (title,) = re.findall("^title: (.*)", (RESULTS / "paper" / f"{experiment}.yaml").read_text(), re.MULTILINE)
    (row,) = re.findall(rf"^\| {title}, .*", (RESULTS.parent / "README.md").read_text(), re.MULTILINE)
    ours = row.split(" | ")[2].strip()
    assert said["Number"] == (f"{ours}, measured, n = {len(measured)}" if measured else "not measured")


def test_readmes_recipe_on_the_sample_allows_a_start_that_may_have_seen_its_images() -> None:
    readme = (RESULTS.parent / "README.md").read_text()
    (recipe,) = re.findall(r"^python scripts/train.py (.* dataset.source=sample .*)$", readme, re.MULTILINE)
    baseline = config.compose(recipe.split()).baseline
    assert (baseline.source, baseline.allow_contaminated) == ("published", True)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_paper_scale_is_the_experiment_as_it_stands(experiment: str) -> None:
    settings = composed(experiment, "paper", "relevance")
    assert settings.dataset["source"] == "real"
    assert settings.regularise.num_epochs == settings.paper.num_epochs
    assert settings.gate.target_sparsity == settings.paper.sparsity
    assert not settings.is_shortened
    (published,) = (paper for paper in load_paper(RESULTS / "paper") if paper.experiment == experiment)
    pruned, dense, said = published.row("relevance"), published.row("dense"), settings.paper
    assert pruned is not None and dense is not None
    assert (said.metric, said.sparsity, said.baseline) == (pruned.metric, pruned.sparsity, dense.metric)


def test_the_authors_protocol_sets_every_key_and_the_sound_one_none() -> None:
    sound, authors = composed("lenet5_mnist", "smoke", "relevance"), config.compose(["scale=smoke", "protocol=authors"])
    assert (sound.departures, sound.protocol_name) == ([], "sound")
    assert authors.departures == [*(path for path, _ in leaves(authors.protocol, "protocol.")), "gate.policy"]
    assert authors.protocol_name == "authors"


def test_vgg16_reaches_the_papers_sparsity_at_our_interval_but_not_at_the_printed_one() -> None:
    ours = make_plan(composed("vgg16_imagenet", "paper", "relevance"), IMAGENET_TRAIN)
    printed = config.compose(["experiment=vgg16_imagenet", "scale=paper", "regularise.evaluate_every_steps=2500"])
    assert (ours.prunes_needed, ours.regularise.num_evaluations, ours.is_reachable) == (262, 750, True)
    [warning, _] = make_plan(printed, IMAGENET_TRAIN).warnings
    assert warning.startswith(
        "262 prunes are needed for 92.82 % sparsity, but there are only 150 evaluations: at most 77"
    )


def test_the_better_final_phase_is_the_one_that_was_measured() -> None:
    stopped = ["experiment=lenet5_fashion_mnist", "scale=paper", "gate.stop_at_sparsity=0.9766"]
    chosen = config.compose([*stopped, "finetune.start_from=[paper_sparsity]", "finetune=constant_1e-4"])
    assert provenance.fingerprint(chosen) == "b6d62915dc"
