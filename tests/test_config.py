"""The command line: what may be said without + and @, what is refused, and in which words."""

import errno
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from sparsity import config, provenance, refusals
from sparsity.settings import BaselineSettings, Settings
from tests.pruners import pruner

LENET, MNIST = "sparsity.models.lenet.LeNet5", "sparsity.data.vision.mnist"


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    """What Hydra makes of conf/ at scale=smoke; composing takes a third of a second."""
    config.register()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config.CONF)):
        return hydra.compose("config", overrides=["scale=smoke"])


@pytest.fixture
def tree(composed: DictConfig) -> DictConfig:
    """A copy to damage."""
    tree = composed.copy()
    OmegaConf.set_struct(tree, False)
    return tree


def test_the_paper_is_at_hand_without_any_override() -> None:
    settings = config.compose([])
    assert (settings.experiment, settings.pruner.name, settings.protocol_name) == ("lenet5_mnist", "relevance", "sound")


def test_groups_and_keys_are_overridden_without_plus_and_at() -> None:
    overrides = "pruner=l2 pruner.penalty.strength=1e-4 dataset=fashion_mnist model=lenet5 seed=1"
    settings = config.compose(overrides.split())
    assert (settings.pruner.name, settings.pruner.penalty.strength, settings.seed) == ("l2", 1e-4, 1)
    assert settings.dataset["_target_"] == "sparsity.data.vision.fashion_mnist"
    assert settings.experiment == "lenet5_mnist"


@pytest.mark.parametrize("word", ["finetune.from=[last]", "++finetune.from=[last]"])
def test_the_command_of_an_old_run_works_in_the_words_that_it_had(word: str) -> None:
    assert config.compose([word]) == config.compose(["finetune.start_from=[last]"])


def test_the_record_of_an_old_run_is_read_in_the_words_that_it_had(tmp_path: Path, tree: DictConfig) -> None:
    tree.finetune["from"] = [tree.finetune.pop("start_from")[1]]
    OmegaConf.save(tree, tmp_path / "config.yaml", resolve=True)
    assert config.from_run(tmp_path) == config.compose(["scale=smoke", "finetune.start_from=[last]"])


@pytest.mark.parametrize("pruner", ["relevance", "l1", "lobster"])
def test_the_record_of_an_old_run_names_the_kind_of_its_penalty(tmp_path: Path, pruner: str) -> None:
    expected = config.compose(["scale=smoke", f"pruner={pruner}"])
    tree = OmegaConf.create(OmegaConf.to_yaml(OmegaConf.structured(expected), resolve=True))
    del tree.pruner["method"], tree.pruner.penalty["is_weight_decay"]
    tree.pruner.penalty.kind, tree.pruner.penalty.custom = pruner, {}
    OmegaConf.save(tree, tmp_path / "config.yaml", resolve=True)
    assert config.from_run(tmp_path) == expected


def test_the_record_of_an_old_run_without_a_penalty_keeps_its_fingerprint(tmp_path: Path) -> None:
    expected = config.compose(["scale=smoke", "pruner=magnitude"])
    tree = OmegaConf.create(OmegaConf.to_yaml(OmegaConf.structured(expected), resolve=True))
    del tree.pruner["method"]
    tree.pruner.penalty.kind, tree.pruner.penalty.custom = "none", {}
    OmegaConf.save(tree, tmp_path / "config.yaml")
    assert provenance.fingerprint(config.from_run(tmp_path)) == provenance.fingerprint(expected)


def test_a_penalty_of_ones_own_of_the_old_form_is_refused_with_the_way_to_the_new(tmp_path: Path) -> None:
    tree = OmegaConf.create(OmegaConf.to_yaml(OmegaConf.structured(config.compose(["scale=smoke"])), resolve=True))
    tree.pruner.penalty.kind, tree.pruner.penalty.custom = "custom", {"_target_": "mine.Pull"}
    OmegaConf.save(tree, tmp_path / "config.yaml")
    with pytest.raises(ValueError, match=r"has a penalty of one's own, mine\.Pull, .* as EXTENDING\.md shows"):
        config.from_run(tmp_path)


def test_the_record_of_an_old_run_names_its_protocol_which_says_nothing_where_it_is_sound(
    tmp_path: Path, tree: DictConfig
) -> None:
    tree.protocol.name = "sound"
    OmegaConf.save(tree, tmp_path / "config.yaml", resolve=True)
    assert config.from_run(tmp_path) == config.compose(["scale=smoke"])
    tree.protocol.name = "authors"
    OmegaConf.save(tree, tmp_path / "config.yaml", resolve=True)
    with pytest.raises(ValueError, match=r"says protocol\.name=authors, whose flaws had no keys then: run"):
        config.from_run(tmp_path)


def test_a_key_that_is_left_out_has_its_default(tree: DictConfig) -> None:
    del tree["finetune"]["start_from"]
    assert config.settled(tree).finetune.start_from == ["paper_sparsity", "last"]


def test_the_command_line_wins_over_the_scale_and_the_scale_over_the_experiment() -> None:
    assert config.compose(["scale=paper"]).regularise.num_epochs == 120
    smoke = config.compose(["scale=smoke", "regularise.num_epochs=7"])
    assert (smoke.regularise.num_epochs, smoke.finetune.batch_size) == (7, 50)


@pytest.mark.parametrize(("has_cuda", "scale"), [(True, "paper"), (False, "smoke")])
def test_auto_scale_is_the_papers_with_a_gpu_and_smoke_without(
    monkeypatch: pytest.MonkeyPatch, has_cuda: bool, scale: str
) -> None:
    monkeypatch.setattr(config, "has_cuda", lambda: has_cuda)
    settings = config.compose(["scale=auto"])
    assert settings == config.compose([f"scale={scale}"])


PRUNER_TYPO = "pruner.typo is not a setting; did you mean pruner.method?"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("pruner.typo=1", PRUNER_TYPO),
        ("+pruner.typo=1", PRUNER_TYPO),
        ("prunner=l2", "prunner is not a setting; did you mean pruner?"),
        (
            "pruner=foo",
            "pruner=foo is unknown; choose one of dense, ",
        ),
        ("experiment=foo", "experiment=foo is unknown; choose one of lenet5_fashion_mnist, lenet5_mnist"),
        ("scale=huge", "scale=huge is unknown; choose one of auto, paper, rehearsal, smoke."),
        (
            "seed",
            "seed is no setting with a value; write key=value, e.g. seed=1, and quote a value with spaces, e.g. '",
        ),
        ("gate={bund: 3}", "gate.bund is not a setting; did you mean gate.bound?"),
        ("model.conv_rleu=true", "model.conv_rleu is not a setting; did you mean model.conv_relu?"),
        ("dataset.sorce=real", "dataset.sorce is not a setting; did you mean dataset.source?"),
        (
            "regularise.optimizer={nme: sgd}",
            "regularise.optimizer.nme is not a setting; did you mean regularise.optimizer.name",
        ),
        (
            "data_dir=${HOME}/data",
            "data_dir: Interpolation key 'HOME' not found; ${...} names a setting, and the shell",
        ),
        ("seed=???", "seed=??? stands for a value that is still to be given: write seed=VALUE."),
        (
            "model.num_classes=???",
            "model.num_classes=??? stands for a value that is still to be given: write model.num",
        ),
        (
            "finetune.start_from=[???]",
            "finetune.start_from=??? stands for a value that is still to be given: write fine",
        ),
        (
            "baseline=[1,2,3]",
            "baseline=[1,2,3] is no option of baseline: choose one of file, none, published, train, by",
        ),
        (
            "baseline=[train,none]",
            "baseline=[train,none] is no option of baseline: choose one of file, none, published",
        ),
        (
            "baseline={source: none}",
            "baseline={source: none} is no option of baseline: choose one of file, none, publi",
        ),
        ("model=5", "model=5 is no option of model: choose one of lenet5, resnet32, transformer, vgg16, by its name."),
        (
            "experiment=[lenet5_mnist]",
            "experiment=[lenet5_mnist] is no option of experiment: choose one of lenet5_fash",
        ),
        ("regularise.optimizer=[1]", "regularise.optimizer=[1] is of another shape than the setting: see --cfg job."),
        (
            "data_dir=a,b",
            "data_dir=a,b has a comma, which separates the runs of a sweep: add -m for one, write data_dir=[a,b]",
        ),
    ],
)
def test_a_wrong_override_is_refused_in_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        config.compose(["scale=smoke", override])
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def refusal(word: str) -> str:
    """What is said of a word that Hydra's grammar does not take."""
    with pytest.raises(HydraException) as caught:
        OverridesParser.create().parse_overrides([word])
    return refusals.one_sentence(caught.value)


@pytest.mark.parametrize("sign", [*"=~#(){};&!<>^`è", "'", '"'])
def test_a_path_with_a_sign_that_needs_quotes_is_said_how_to_quote_and_then_taken(sign: str) -> None:
    path = f"/a/b{sign}c d.pt"
    said = refusal(f"baseline.path={path}")
    assert said.startswith(f"baseline.path={path} has the sign {sign}, which a value may hold in quotes only: write ")
    (word,) = [word for word in shlex.split(said.removesuffix(".")) if word.startswith('baseline.path="')]
    assert OverridesParser.create().parse_override(word).value() == path


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("data_dir=~/a", "data_dir=~/a begins with ~, which the shell does not replace there: write data_dir=$HOME/a."),
        (
            "--seed=1",
            "--seed=1 is no setting with a value; write key=value, e.g. seed=1, and quote a value with spaces",
        ),
        (
            "model.pt",
            "model.pt is no setting with a value; write key=value, e.g. seed=1, and quote a value with spaces",
        ),
        (
            "finetune.start_from=[last",
            "finetune.start_from=[last cannot be read: its brackets or quotes do not match, or hold",
        ),
    ],
)
def test_a_word_that_cannot_be_read_is_answered_with_how_to_write_it(word: str, sentence: str) -> None:
    assert refusal(word).startswith(sentence)


@pytest.mark.parametrize(
    ("pruner", "typo", "meant"),
    [
        ("l0", "l0_lamda", "did you mean pruner.method.l0_lambda, "),
        ("dns", "foo", "the file of the chosen pruner.method names c, c_of, gamma, "),
        ("l2", "foo", "the file of the chosen pruner.method names no argument: another of its constructor is given "),
    ],
)
def test_a_misspelt_argument_is_answered_with_those_of_the_method_that_was_chosen(
    pruner: str, typo: str, meant: str
) -> None:
    with pytest.raises(ValueError) as caught:
        config.compose([f"pruner={pruner}", f"pruner.method.{typo}=1"])
    assert str(caught.value).startswith(f"pruner.method.{typo} is not a setting; {meant}")


@pytest.mark.parametrize("plugin", ["hydra/launcher/joblib", "hydra/launcher/submitit_local", "hydra/sweeper/optuna"])
def test_a_launcher_or_sweeper_of_the_extra_is_said_to_need_it(plugin: str) -> None:
    sentence = refusals.one_sentence(ValueError(f"In 'x': Could not load '{plugin}'.\n\nConfig search path:"))
    assert sentence == f'{plugin} comes with an extra: pip install -c constraints.txt -e ".[sweeps]".'


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("prunner", "l2", "prunner is not a setting; did you mean pruner?"),
        ("regularise.num_epoch", 1, "regularise.num_epoch is not a setting; did you mean regularise.num_epochs"),
        ("finetune.start", ["last"], "finetune.start is not a setting; did you mean finetune.start_from"),
        ("finetune.start_from", ["first"], "finetune.start_from=first is unknown; choose one of paper_sparsity, last."),
        ("finetune.start_from", "last", "finetune.start_from=last must be a list: write finetune.start_from=[last]."),
        ("finetune.start_from", [], "finetune.start_from=[] is empty; name at least one of paper_sparsity, last."),
        (
            "finetune.start_from",
            ["last", "last"],
            "finetune.start_from=[last,last] names last twice; name each start once.",
        ),
        ("finetune", 3, "finetune=3 is not possible: finetune is a group of settings, see --cfg job."),
        ("pruner.penalty", 3, "pruner.penalty=3 is not possible: pruner.penalty is a group of settings"),
        ("gate.bound", 101, "gate.bound=101 is out of range; it must be between -1 and 100."),
        ("gate.bound", float("nan"), "gate.bound=nan is out of range; it must be between -1 and 100."),
        ("schedule.fraction", -0.1, "schedule.fraction=-0.1 is out of range; it must be between 1e-06 and 1."),
        ("machine.num_threads", 0, "machine.num_threads=0 is out of range; it must be between 1 and 1024."),
        ("seed", "abc", "seed: Value 'abc' of type 'str' could not be converted to Integer."),
        ("baseline.source", "file", "baseline.path is missing: baseline=file needs the path of a checkpoint"),
        (
            "baseline.source",
            "train",
            "baseline.num_epochs=0 trains no baseline: give at least 1, or take baseline=none",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(tree: DictConfig, key: str, value: Any, sentence: str) -> None:
    OmegaConf.update(tree, key, value, merge=False, force_add=True)
    with pytest.raises(ValueError) as caught:
        config.settled(tree)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("group", "node", "sentence"),
    [
        (
            "model",
            {"_target_": LENET, "depth": 3},
            "model.depth is not a setting of LeNet5; its settings are num_classes",
        ),
        (
            "dataset",
            {"_target_": MNIST, "sorce": 1},
            "dataset.sorce is not a setting of mnist; its settings are source,",
        ),
        ("model", {"_target_": "foo.Net"}, "model._target_=foo.Net cannot be imported (No module named 'foo'); check"),
        ("model", {"_target_": LENET + "0"}, f"model._target_={LENET}0 cannot be imported"),
        ("model", {"_target_": "LeNet5"}, "model._target_=LeNet5 cannot be imported"),
        (
            "dataset",
            {"_target_": MNIST},
            "dataset.source is missing, and mnist needs it: write dataset.source=VALUE.",
        ),
        (
            "model",
            {"_target_": LENET, "num_classes": "ten"},
            "model.num_classes=ten is of another kind than the setting, which is a whole number.",
        ),
        (
            "model",
            {"_target_": LENET, "num_classes": True},
            "model.num_classes=True is of another kind than the setting, which is a whole number.",
        ),
        (
            "model",
            {"_target_": "sparsity.models.vgg.vgg16", "layers": [64, 0.5]},
            "model.layers=[64, 0.5] is of another kind than the setting, which is a list, of which each is a whole "
            "number or a word or null.",
        ),
        (
            "dataset",
            {"_target_": MNIST, "source": 7},
            "dataset.source=7 is of another kind than the setting, which is a word.",
        ),
        ("model", {}, "model._target_ is missing: name the model's constructor, e.g. sparsity.models.lenet.LeNet5."),
    ],
)
def test_a_wrong_argument_of_the_network_or_the_data_is_named(group: str, node: dict[str, Any], sentence: str) -> None:
    sound = Settings(model={"_target_": LENET}, dataset={"_target_": MNIST})
    change: dict[str, Any] = {group: node}
    settings = replace(sound, **change)
    with pytest.raises(ValueError) as caught:
        config.build(settings)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("experiment", "metric", "known"),
    [
        ("lenet5_mnist", "acuracy", "accuracy, the metrics of Classification"),
        ("lenet5_mnist", "loss", "accuracy, the metrics of Classification"),
        (
            "transformer_wmt14",
            "bleu_length_ratio",
            "bleu, bleu_13a, bleu_intl, bleu_compound, the metrics of Translation",
        ),
    ],
)
def test_a_metric_that_is_unknown_or_of_which_less_is_better_cannot_gate(
    experiment: str, metric: str, known: str
) -> None:
    settings = config.compose([f"experiment={experiment}", "scale=smoke", f"metric={metric}"])
    with pytest.raises(ValueError) as caught:
        config.build(settings)
    assert str(caught.value) == f"metric={metric} cannot gate: choose one of {known} of which more is better."


MAGNITUDE = pruner("magnitude")


@pytest.mark.parametrize("override", ["pruner.penalty.strength=1", "++pruner.penalty.strength=1"])
def test_a_penalty_given_to_a_pruner_without_one_is_warned_of(override: str) -> None:
    assert config.ignored(Settings(pruner=MAGNITUDE), [override, "gate.bound=50", "pruner=magnitude"]) == [
        f"{override} is ignored: pruner=magnitude does not use it."
    ]


def test_a_gate_given_to_dense_training_is_warned_of() -> None:
    assert config.ignored(Settings(), ["gate.bound=50", "schedule.fraction=0.2", "pruner.penalty.alpha=2"]) == [
        "gate.bound=50 is ignored: pruner=dense does not use it.",
        "schedule.fraction=0.2 is ignored: pruner=dense does not use it.",
        "pruner.penalty.alpha=2 is ignored: pruner=dense does not use it.",
    ]


def test_epochs_given_to_a_baseline_that_is_not_trained_are_warned_of() -> None:
    settings = Settings(baseline=BaselineSettings(source="file", path="x"))
    assert config.ignored(settings, ["baseline.num_epochs=3", "baseline.path=x", "baseline=file"]) == [
        "baseline.num_epochs=3 is ignored: baseline=file does not use it."
    ]


@pytest.mark.parametrize("source", ["none", "train", "published"])
def test_a_file_given_to_a_baseline_that_starts_from_none_is_warned_of(source: str) -> None:
    settings = Settings(baseline=BaselineSettings(source=source, num_epochs=1, path="x"))
    assert config.ignored(settings, ["baseline.path=x"]) == [
        f"baseline.path=x is ignored: baseline={source} does not use it."
    ]


def test_a_key_of_the_protocol_that_neither_data_nor_task_read_is_warned_of() -> None:
    words = ["protocol.train_on_all=true", "protocol.bos_twice=true", "protocol.count_before_use=true"]
    mnist = config.compose(["scale=smoke", *words])
    assert config.ignored(mnist, words) == ["protocol.bos_twice=true is ignored: dataset=mnist does not use it."]
    texts = config.compose(["scale=smoke", "experiment=transformer_wmt14", *words])
    assert config.ignored(texts, words) == ["protocol.train_on_all=true is ignored: dataset=wmt14 does not use it."]


def test_a_key_of_the_protocol_alone_reaches_the_data_that_ask_for_it() -> None:
    data: Any = config.build(config.compose(["scale=smoke", "protocol.test_set_gates=true"])).build_data()
    assert (data.train.identity, data.val.identity) == ("digits/train-minus-heldout", "digits/test")
    data = config.build(config.compose(["scale=smoke", "protocol.train_on_all=true"])).build_data()
    assert (data.train.identity, data.val.identity) == ("digits/train", "digits/heldout-297")


def test_what_the_pruner_and_the_baseline_read_is_not_warned_of() -> None:
    l2 = pruner("l2")
    settings = Settings(pruner=l2, baseline=BaselineSettings(source="train", num_epochs=3))
    assert config.ignored(settings, ["pruner.penalty.strength=1", "gate.bound=50", "baseline.num_epochs=3"]) == []


def run(monkeypatch: pytest.MonkeyPatch, task: Callable[[Settings], None], *overrides: str) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR", "0"))  # the command sets it for Hydra
    monkeypatch.setattr(sys, "argv", ["train.py", *overrides])
    config.command(task)


def test_the_overrides_are_those_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    run(monkeypatch, lambda settings: seen.append(config.overrides()), "seed=3", "scale=smoke")
    assert seen == [["seed=3", "scale=smoke"]]


def test_a_run_takes_the_command_of_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    run(monkeypatch, seen.append, "finetune.from=[last]", "scale=smoke")
    assert seen[0].finetune.start_from == ["last"]


def test_the_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match=r"gate\.bound"):
        run(monkeypatch, lambda settings: None, "gate.bound=101")


def test_an_interrupted_run_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(settings: Settings) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, interrupted)
    assert caught.value.code == 130
    assert capsys.readouterr().err == (
        "interrupted: the last checkpoint is kept; the same command goes on from there.\n"
    )


def test_a_full_disk_is_named_with_the_way_out() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "run/summary.json")
    assert refusals.one_sentence(error) == (
        "run/summary.json: No space left on device; free some space and run the same command again: "
        "it goes on from the last checkpoint."
    )


def test_another_error_of_the_system_is_named_with_its_file() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "results")
    assert refusals.one_sentence(error) == "results: Permission denied."
