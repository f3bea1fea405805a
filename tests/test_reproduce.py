"""scripts/reproduce.py: many runs from one process that needs no torch."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from scripts import reproduce
from sparsity import config, provenance
from sparsity.files import locked, write_json
from sparsity.hardware import cpu, driver
from sparsity.run.jobs import EXPERIMENTS
from sparsity.run.plan import checkpoint_bytes
from sparsity.run.stopping import Children
from tests.report.fake_results import row, summary
from tests.report.test_benchmarks import add, timed

REPOSITORY = Path(__file__).resolve().parents[1]
ONE = ("--experiments", "lenet5_mnist", "--pruners", "relevance")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def directory_of(*overrides: str) -> Path:
    return provenance.run_directory(config.compose(["scale=smoke", *overrides]))


def test_the_disk_that_a_plan_asks_for_is_what_a_run_took():
    # of lenet5_mnist at scale=paper, summed over its checkpoints, but for two of a kind that is no longer kept
    measured = 45_356_279 - 2 * 1_839_003
    assert checkpoint_bytes(config.compose(["scale=paper"]), 431_080) == pytest.approx(measured, rel=0.02)


def leave_manifest(directory: Path, **entries: str) -> None:
    write_json(directory / "manifest.json", entries)


def calls_to_train(monkeypatch: pytest.MonkeyPatch, status: Callable[[list[str]], int]) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(self: Children, command: list[str], environment: Any = None) -> int:
        calls.append(command)
        return status(command)

    monkeypatch.setattr(Children, "run", run)
    return calls


def test_auto_says_which_scale_it_chose_and_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(driver, "obstacle", lambda: "the card is too old: take another")
    assert reproduce.main(["status", *ONE]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("scale=smoke (the card is too old: take another; SCALE=paper")


def test_the_plan_holds_needed_prunes_against_evaluations(capsys: pytest.CaptureFixture[str]):
    assert reproduce.main(["plan", "--scale", "paper", *ONE]) == 0
    out = capsys.readouterr().out
    assert "71,500 steps (baseline 0, regularised 66,000, final 2 x 2,750)" in out
    disk = "0.041 GB of checkpoints (at most 1.8 GB written over time), 0.0017 GB of rows, hours unknown"
    assert f"prunes needed 143, evaluations available 240; {disk}" in out


def test_a_pace_is_taken_only_from_a_run_of_the_papers_model(capsys: pytest.CaptureFixture[str]):
    settings = config.compose(["scale=paper"])
    cost = {"step_seconds": 0.036, "evaluation_seconds": 0.0, "peak_memory_bytes": 0, "projected_hours": 0.7}
    run = {"fingerprint": provenance.fingerprint(settings), "cost": cost}
    cases = (
        ("paper", 4_000, "hours unknown"),
        ("smoke", 431_080, "hours unknown"),
        ("paper", 431_080, "about 0.7 h at the pace of"),
    )
    for scale, total, said in cases:
        content = summary(**run, scale=scale, rows=[row(total=total)])
        write_json(provenance.run_directory(settings) / "summary.json", content)
        reproduce.plan([reproduce.Job((), settings)])
        assert said in capsys.readouterr().out


def test_a_cpu_that_multiplies_bf16_is_told_of_the_hours_that_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = config.compose(["scale=paper"])
    cost = {"step_seconds": 0.036, "evaluation_seconds": 0.0, "peak_memory_bytes": 0, "projected_hours": 0.7}
    run = summary(fingerprint=provenance.fingerprint(settings), cost=cost)
    write_json(provenance.run_directory(settings) / "summary.json", run)
    for precision, seconds in (("fp32", 0.02), ("bf16", 0.01)):
        add(tmp_path, precision, timed("relevance step", seconds), bf16_units=True, precision=precision)
    monkeypatch.setattr(reproduce, "PAPER", tmp_path / "paper")
    for has_units, said in ((True, "0.4 h with machine.precision=bf16, for which this CPU has units"), (False, "")):
        monkeypatch.setattr(cpu, "has_bf16_units", lambda has_units=has_units: has_units)
        reproduce_cost = reproduce._cost(settings, 55_000, 431_080)
        assert reproduce_cost.endswith(said) and ("bf16" in reproduce_cost) is has_units


def test_a_plan_of_a_network_or_of_data_of_ones_own_says_what_is_not_known(capsys: pytest.CaptureFixture[str]):
    settings = config.compose(["scale=paper"])
    own_data = replace(settings, dataset={"_target_": "own_data.images"})
    reproduce.plan([reproduce.Job((), replace(settings, experiment="mine")), reproduce.Job((), own_data)])
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("disk and hours unknown, as the network is none of the paper's")
    assert second.endswith("images says its size when it is loaded; a run prints its plan before it begins")


def test_a_plan_that_cannot_reach_its_sparsity_warns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = config.compose(["scale=paper", "regularise.evaluate_every_steps=550"])
    reproduce.plan([reproduce.Job((), settings)])
    assert "143 prunes are needed for 99.71 % sparsity, but there are only 120 evaluations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({}, "missing"),
        ({"status": "running"}, "interrupted"),
        ({"status": "failed", "reason": "OSError: no space"}, "failed: OSError: no space"),
        ({"status": "done"}, "interrupted"),  # without its summary it is not done
    ],
)
def test_status_says_how_a_run_stands(manifest: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]):
    if manifest:
        leave_manifest(directory_of(), **manifest)
    reproduce.main(["status", "--scale", "smoke", *ONE])
    assert capsys.readouterr().out.rstrip().endswith(said)


def test_status_knows_a_run_under_way(capsys: pytest.CaptureFixture[str]):
    leave_manifest(directory_of(), status="running")
    with locked(directory_of(), wait=False):
        reproduce.main(["status", "--scale", "smoke", *ONE])
    assert capsys.readouterr().out.rstrip().endswith("running")


@pytest.mark.parametrize(
    ("choice", "num_runs"),
    [(("--pruners", "relevance"), len(EXPERIMENTS)), ((*ONE[:2], "--pruners", "relevance,l2"), 2)],
)
def test_every_experiment_pruner_and_seed_is_run(
    choice: tuple[str, ...], num_runs: int, monkeypatch: pytest.MonkeyPatch
):
    calls = calls_to_train(monkeypatch, lambda command: 0)
    assert reproduce.main(["run", "--scale", "smoke", *choice, "--seeds", "0,1"]) == 0
    assert len({tuple(call) for call in calls}) == len(calls) == num_runs * 2


@pytest.mark.parametrize(
    ("experiment", "scale", "expected"),
    [
        ("lenet5_mnist", "paper", ["relevance", "l2", "magnitude", "lobster_authors"]),
        ("lenet5_mnist", "rehearsal", ["relevance"]),
        ("lenet5_mnist", "smoke", ["relevance", "l2"]),
        ("transformer_taskmaster1", "paper", ["relevance", "l2", "l1", "magnitude"]),
    ],
)
def test_without_a_choice_relevance_is_run_with_its_controls(experiment: str, scale: str, expected: list[str]):
    options = reproduce.parser().parse_args(["run", "--experiments", experiment])
    assert [job.settings.pruner.name for job in reproduce.list_jobs(options, scale)] == expected


def test_a_failed_run_stops_no_other_and_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    calls = calls_to_train(monkeypatch, lambda command: int("seed=0" in command))
    assert reproduce.main(["run", "--scale", "smoke", *ONE, "--seeds", "0,1"]) == 1
    assert len(calls) == 2
    assert "failed: lenet5_mnist" in capsys.readouterr().err


def test_runs_are_spread_over_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch):
    at_once, used = Barrier(2), []

    def run(self: Children, command: list[str], environment: Any = None) -> int:
        used.append(environment["CUDA_VISIBLE_DEVICES"])
        at_once.wait(timeout=30)
        return 0

    monkeypatch.setattr(Children, "run", run)
    monkeypatch.setattr(driver, "ask_driver", lambda: driver.Report(num_gpus=2))
    monkeypatch.setattr(driver, "obstacle", lambda: "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert reproduce.main(["run", "--scale", "smoke", *ONE, "--seeds", "0,1"]) == 0
    assert sorted(used) == ["4", "6"]


def test_what_cannot_run_is_said_first_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    calls = calls_to_train(monkeypatch, lambda command: 0)
    monkeypatch.setattr(driver, "obstacle", lambda: "the card is too old: take another")
    settings = config.compose(["scale=paper", "paper.needs_gpu=true"])
    jobs = [reproduce.Job((), settings), reproduce.Job(("seed=1",), config.compose(["scale=paper"]))]
    assert reproduce.run(jobs) == 1
    assert len(calls) == 1 and "seed=1" in calls[0]
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("cannot run: lenet5_mnist") and "GPU (the card is too old: take another);" in first
    assert last.startswith("not run: lenet5_mnist")


def test_gpus_that_cannot_be_used_are_no_places_to_run_side_by_side(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(driver, "ask_driver", lambda: driver.Report(num_gpus=2))
    monkeypatch.setattr(driver, "obstacle", lambda: "the card is too old: take another")
    assert reproduce.device_environments() == [{}]


def test_an_unknown_experiment_is_one_sentence(capsys: pytest.CaptureFixture[str]):
    assert reproduce.main(["run", "--scale", "smoke", "--experiments", "lenet6"]) == 2
    assert "lenet5_mnist" in capsys.readouterr().err


def test_asking_after_runs_never_imports_torch():
    code = (
        "import sys; from scripts import reproduce; reproduce.main(['status', '--scale', 'smoke']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_every_experiment_file_is_reproduced():
    files = {path.stem for path in (REPOSITORY / "conf" / "experiment").glob("*.yaml")}
    assert files == set(EXPERIMENTS)
