"""scripts/evaluate.py: the kept networks of a run, scored after the fact."""

import json
from pathlib import Path

import pytest

from scripts import evaluate, train
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
