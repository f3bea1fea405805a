"""scripts/leaderboard.py: tries with the first seed, then the chosen one with the others."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts import leaderboard
from sparsity import config, provenance
from sparsity.report.standings import load_leaderboard
from sparsity.run.stopping import Children
from tests.report.fake_results import REPOSITORY, row, summary, write_run

LISTED = load_leaderboard(REPOSITORY / "results" / "leaderboard.yaml")
LIST = """
schema: 1
common: [scale=smoke, tracking=none]
budget: {num_epochs: 60, settings: [regularise.num_epochs=55]}
budgets: {resnet32_cifar10: {num_epochs: 12, tries: {snip: ["", gate.target_sparsity=0.9]}}}
methods:
  - {pruner: l2, tries: [schedule.fraction=0.1, schedule.fraction=0.2]}
  - {pruner: snip, own: {lenet5_mnist: [gate.target_sparsity=0.9]}}
"""


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(REPOSITORY / "results" / "paper", tmp_path / "paper")
    (tmp_path / "leaderboard.yaml").write_text(LIST)
    monkeypatch.setattr(leaderboard, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture
def calls(results: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The runs that were made: each leaves its record, the sparser the larger its fraction."""
    made: list[list[str]] = []

    def fake(self: Children, command: list[str], environment: Any = None) -> int:
        made.append(command[2:])
        settings = config.compose(command[2:])
        named = {"scale": "smoke", "pruner": settings.pruner.name, "fingerprint": provenance.fingerprint(settings)}
        kept = int(400 / settings.schedule.fraction)
        directory = write_run(results / "runs", summary(**named, seed=settings.seed, rows=[row("last", kept=kept)]))
        (directory / "manifest.json").write_text('{"status": "done"}')
        return 0

    monkeypatch.setattr(Children, "run", fake)
    return made


def test_each_try_has_the_first_seed_and_the_chosen_one_the_others(results: Path, calls: list[list[str]]) -> None:
    assert leaderboard.main(["l2", "--seeds", "3,4,5", f"results_dir={results}"]) == 0
    said = [(call[2], call[-1]) for call in calls]
    tries = [("seed=3", "schedule.fraction=0.1"), ("seed=3", "schedule.fraction=0.2")]
    assert said == [*tries, ("seed=4", "schedule.fraction=0.2"), ("seed=5", "schedule.fraction=0.2")]
    assert leaderboard.main(["l2", "--seeds", "3,4,5", f"results_dir={results}"]) == 0
    assert len(calls) == 4, "the same command again makes nothing twice"


def test_the_status_begins_nothing(results: Path, calls: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert leaderboard.main(["--status", f"results_dir={results}"]) == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        ["missing", "experiment=lenet5_mnist", "pruner=l2"],
        ["missing", "experiment=lenet5_mnist", "pruner=snip"],
        ["missing", "experiment=lenet5_mnist", "pruner=l2"],
    ]
    assert not calls


def test_an_experiment_with_a_budget_of_its_own_has_the_methods_and_tries_of_that(
    results: Path, calls: list[list[str]]
) -> None:
    words = ["--experiments", "resnet32_cifar10", "--seeds", "0", f"results_dir={results}"]
    assert leaderboard.main(words) == 0
    assert [(call[1], call[-1]) for call in calls] == [
        ("pruner=snip", f"results_dir={results}"),
        ("pruner=snip", "gate.target_sparsity=0.9"),
    ]
    assert leaderboard.main(["l2", *words]) == 0
    assert calls[-1][-1] == "schedule.fraction=0.2", "asked for by its name, a method has the tries of the list"


def test_a_method_that_is_not_listed_is_tried_as_it_stands(results: Path, calls: list[list[str]]) -> None:
    assert leaderboard.main(["random", "--seeds", "0,1", f"results_dir={results}"]) == 0
    assert [call[1:3] for call in calls] == [["pruner=random", "seed=0"], ["pruner=random", "seed=1"]]


def test_at_its_own_budget_a_method_that_has_one_runs_once(results: Path, calls: list[list[str]]) -> None:
    assert leaderboard.main(["--own", f"results_dir={results}"]) == 0
    ((experiment, pruner, seed, *settings),) = calls
    assert [experiment, pruner, seed] == ["experiment=lenet5_mnist", "pruner=snip", "seed=0"]
    assert settings[-1] == "gate.target_sparsity=0.9" and "regularise.num_epochs=55" not in settings


@pytest.mark.parametrize(
    ("words", "problem"),
    [(["--experiments", "lenet6"], "There is no experiment lenet6"), (["l3"], "l3"), (["l2", "gate.bond=1"], "bond")],
)
def test_a_name_that_nobody_knows_is_said(
    results: Path, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    assert leaderboard.main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and problem in err and err.count("\n") == 1


@pytest.mark.parametrize("experiment", ["lenet5_mnist", "lenet5_fashion_mnist", "resnet32_cifar10"])
def test_the_first_try_of_every_method_has_the_epochs_of_the_budget(experiment: str) -> None:
    for entry in LISTED.entries_in(experiment):
        for tried in LISTED.tries_in(experiment, entry)[:1]:
            words = [f"experiment={experiment}", f"pruner={entry.pruner}", *LISTED.common, *tried]
            settings = config.compose(words)
            own_start = settings.baseline.num_epochs if settings.baseline.source == "train" else 0
            start = own_start if experiment == "lenet5_mnist" else 0  # the other experiments have one
            total = start + settings.regularise.num_epochs + settings.finetune.num_epochs
            assert total == LISTED.budget_in(experiment).num_epochs, words


def test_every_own_budget_composes() -> None:
    for entry in LISTED.methods:
        for experiment, own in entry.own.items():
            config.compose([f"experiment={experiment}", f"pruner={entry.pruner}", *LISTED.common, *own])
