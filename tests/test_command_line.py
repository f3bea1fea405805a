"""Words on a command line that Hydra would take, and that would change a run without a word."""

import sys
from pathlib import Path

import pytest

from sparsity import config
from sparsity.command_line import check_launcher, options_first

TARGET = "model._target_=tests.tiny_runs.TinyNet"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (
            "~gate.bound",
            "~gate.bound would take away gate.bound and leave its default 0.0 without a word: write gate.bound=0.0 if "
            "that is meant.",
        ),
        ("~gate.bound=98.7", "~gate.bound=98.7 would take away gate.bound and leave its default 0.0 without a word"),
        (
            "~gate.target_sparsity",
            "~gate.target_sparsity would take away gate.target_sparsity and leave its default null without a word: "
            "write gate.target_sparsity=null if that is meant.",
        ),
        (
            "~finetune.start_from",
            "~finetune.start_from would take away finetune.start_from and leave its default [paper_sparsity,last] wit",
        ),
        (
            "~gate",
            "~gate would take away gate and leave all its defaults without a word: write the settings that are meant, "
            "e.g. gate.bound=0.0.",
        ),
        (
            "~regularise.optimizer",
            "~regularise.optimizer would take away regularise.optimizer and leave all its defaul",
        ),
        (
            "~baseline",
            "~baseline would take away baseline and leave the defaults of sparsity/settings.py without a word: choose "
            "one, baseline=file|none|published|train.",
        ),
        (
            "~finetune",
            "~finetune would take away finetune and leave its defaults without a word: write finetune.num_epochs=0 if "
            "there is to be no such phase.",
        ),
        (
            "~protocol",
            "~protocol would take away protocol and leave the defaults of sparsity/settings.py without a word",
        ),
        ("~pruner", "~pruner would take away pruner and leave the defaults of sparsity/settings.py without a word: "),
        (
            "~specializing/scale",
            "~specializing/scale would take away specializing/scale without a word, and what takes its place",
        ),
        ("~dataset.source", "~dataset.source would take away dataset.source without a word, and what takes its place"),
        ("~task.num_beams", "~task.num_beams would take away task.num_beams without a word, and what takes its place"),
        (
            "~model",
            "~model would take away model and leave the defaults of sparsity/settings.py without a word: choose",
        ),
    ],
)
def test_a_setting_that_would_fall_back_to_its_default_without_a_word_is_refused(word: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        config.compose(["scale=smoke", word])
    assert str(caught.value).startswith(sentence)


def test_the_argument_of_another_constructor_may_be_taken_away() -> None:
    settings = config.compose(["scale=smoke", TARGET, "~model.num_classes", "~model.conv_relu"])
    assert settings.model == {"_target_": "tests.tiny_runs.TinyNet"}


def test_with_another_network_the_data_keep_their_arguments() -> None:
    with pytest.raises(ValueError, match=r"^~dataset\.source would take away dataset\.source"):
        config.compose(["scale=smoke", TARGET, "~dataset.source"])


def test_the_train_script_refuses_it_before_hydra_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "~pruner"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with pytest.raises(SystemExit, match="error: ~pruner would take away pruner"):
        config.command(lambda settings: 0.0)


def test_an_option_may_stand_among_the_settings() -> None:
    words = ["seed=0,1", "-m", "model=mlp", "--config-dir", "mine/conf", "~gate", "--cfg", "job", "+model.width=3"]
    options = ["-m", "--config-dir", "mine/conf", "--cfg", "job"]
    assert options_first(words) == [*options, "seed=0,1", "model=mlp", "~gate", "+model.width=3"]


@pytest.mark.parametrize("launcher", ["slurm", "slurm_ranks", "submitit_slurm"])
def test_runs_are_handed_to_slurm_only_where_it_is(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ValueError, match=rf"^hydra/launcher={launcher} .* whose srun is not on this machine: .*/launcher=local"
    ):
        check_launcher(["-m", f"hydra/launcher={launcher}", "seed=0,1"])
    check_launcher(["-m", "hydra/launcher=local", "sweep_name=slurm"])
    (tmp_path / "srun").touch(mode=0o755)
    check_launcher(["-m", f"hydra/launcher={launcher}"])


def test_the_sentence_about_slurm_is_all_that_a_user_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # is set on the way, and other tests start processes
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "hydra/launcher=slurm_ranks"])
    with pytest.raises(SystemExit, match=r"^error: hydra/launcher=slurm_ranks hands runs to Slurm"):
        config.command(lambda settings: 0.0)
