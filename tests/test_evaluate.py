"""scripts/evaluate.py: the kept networks of a run, scored after the fact."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import evaluate, export, train
from sparsity import config, provenance

TINY = ("scale=smoke", "tracking=none", "regularise.max_steps=30", "finetune.max_steps=24", "gate.bound=0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = config.compose([*TINY, f"results_dir={tmp_path_factory.mktemp('results')}"])
    train.main(settings)
    return provenance.run_directory(settings)


def test_a_run_records_the_settings_that_made_it(run: Path):
    assert provenance.run_directory(config.from_run(run)) == run


def test_every_kept_network_is_scored_and_the_reported_one_as_reported(run: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate.main([str(run)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    scores = {line["checkpoint"]: line for line in lines}
    assert {"regularise/best", "regularise/last_network", "finetune/last/best"} <= set(scores)
    assert not any(name.endswith(("/last", "/last.previous")) for name in scores), "a state to resume from is no result"
    reported = json.loads((run / "summary.json").read_text())["rows"][-1]
    ours = scores["finetune/last/best"]
    assert (ours["val"], ours["test"]) == (reported["val"], reported["test"])
    assert ours["sparsity"] == pytest.approx(reported["sparsity"])


def test_what_a_mac_leaves_beside_a_checkpoint_is_no_network(run: Path, capsys: pytest.CaptureFixture[str]):
    left = run / "checkpoints" / "._best.pt"
    left.write_bytes(b"\x00\x05\x16\x07")
    assert evaluate.main([str(run)]) == 0
    assert left.name not in capsys.readouterr().out


def test_a_directory_without_a_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"error: There is no {tmp_path}/config.yaml; name a run directory, results/runs/EXPERIMENT/RUN/seedN.\n"
    )


def test_a_run_without_kept_networks_is_one_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    copy = tmp_path.joinpath(*run.parts[-3:])
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoints"))
    assert evaluate.main([str(copy)]) == 1
    assert capsys.readouterr().err == (
        f"error: {copy}/checkpoints holds no kept network: put that folder back, or remove {copy}/summary.json, if it "
        "is there, and give that run's command again.\n"
    )


@pytest.fixture
def strangers(run: Path, tmp_path: Path) -> Callable[..., Path]:
    """The record of the run as somebody else may have written it: `group` names a command of the shell."""

    def changed(group: str, **node: str) -> Path:
        tree = yaml.safe_load((run / "config.yaml").read_text())
        *groups, name = group.split(".")
        place = tree
        for each in groups:
            place = place[each]
        place[name] = node
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
        return tmp_path

    return changed


@pytest.mark.parametrize("main", [evaluate.main, export.main], ids=["evaluate", "export"])
@pytest.mark.parametrize("group", ["model", "dataset", "task", "pruner.method", "pruner.score"])
def test_what_a_strangers_run_names_is_not_run(
    strangers: Callable[..., Path], capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], group: str
):
    directory = strangers(group, _target_="os.system", command="touch was_here")
    assert main([str(directory)]) == 1
    assert capsys.readouterr().err == (
        f"error: {directory}/config.yaml names os.system, which is none of this package's constructors and was not "
        "run: if you know that code, add --trust os.\n"
    )


@pytest.mark.parametrize(
    "address", ["sparsity.files.clear", "sparsity.config.subprocess", "osmodule.Net", "mineral.Net"]
)
def test_neither_the_packages_other_functions_nor_a_namesake_of_a_trusted_module_are_run(
    strangers: Callable[..., Path], address: str
):
    with pytest.raises(ValueError, match=f"names {re.escape(address)}, which is none of this package's constructors"):
        config.from_run(strangers("model", _target_=address), trusted=["os", "mine"])


def test_a_module_that_is_named_on_the_command_line_may_be_run(strangers: Callable[..., Path]):
    def address(of: str, *trusted: str) -> Any:
        return config.from_run(strangers("model", _target_=of), trusted).model["_target_"]

    assert address("mine.nets.Mlp", "mine") == address("mine.nets.Mlp", "other", "mine.nets") == "mine.nets.Mlp"
