"""Sweeps: their runs are found again, none hides or stops another, and the best is best by validation."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import train
from sparsity import config, provenance, sweeps
from sparsity.files import write_json
from sparsity.report.sweep import render_sweep
from sparsity.run import pipeline
from sparsity.settings import BaselineSettings, Settings, leaves
from tests.report.fake_results import REPOSITORY, row, summary, write_run
from tests.tiny_runs import TINY_OVERRIDES

SWEEPS = sorted(path.stem for path in (config.CONF / "sweep").glob("*.yaml"))


def settings_of(tmp_path: Path, **changes: Any) -> Settings:
    return Settings(experiment="tiny", results_dir=str(tmp_path), sweep_name="mine", **changes)


def add_run(results: Path, status: str = "done", **changes: Any) -> Path:
    """A run of the sweep `mine` with the summary of fake_results.py, and its manifest."""
    directory = write_run(results / "runs", summary(**changes))
    write_json(directory / "manifest.json", {"status": status, "reason": "ValueError: no space"})
    place = directory.relative_to(results / "runs")
    write_json(sweeps.folder(results, "mine") / f"{place.as_posix().replace('/', '--')}.json",
                          {"directory": place.as_posix()})  # fmt: skip
    return directory


def lines(table: str, *words: str) -> list[str]:
    return [line for line in table.splitlines() if all(word in line for word in words)]


def multirun(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "scripts" / "train.py"), "-m", *TINY_OVERRIDES, *overrides]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_sweep_finds_the_runs_that_registered_in_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    sweeps.register(settings)
    sweeps.register(settings)
    assert list(sweeps.members(tmp_path, "mine")) == [provenance.run_directory(settings)]


def test_an_unknown_sweep_is_named_beside_those_there_are(tmp_path: Path) -> None:
    sweeps.register(settings_of(tmp_path))
    with pytest.raises(ValueError, match="There is no sweep other; there are: mine"):
        sweeps.members(tmp_path, "other")


def test_the_sweep_is_no_part_of_a_runs_identity(tmp_path: Path) -> None:
    assert provenance.run_directory(settings_of(tmp_path)) == provenance.run_directory(
        Settings(experiment="tiny", results_dir=str(tmp_path))
    )


@pytest.mark.parametrize("name", ["a/b", "", "..", "a b"])
def test_a_sweep_name_must_be_able_to_name_a_folder(name: str) -> None:
    with pytest.raises(ValueError, match="names a folder"):
        config.compose(["scale=smoke", f"sweep_name='{name}'"])


def test_the_best_run_is_best_by_validation_and_not_by_test(tmp_path: Path) -> None:
    add_run(tmp_path, fingerprint="aaaa", rows=[row(test=90.0) | {"val": 99.0}], settings={"gate.bound": 98.0})
    add_run(tmp_path, fingerprint="bbbb", rows=[row(test=95.0) | {"val": 98.0}], settings={"gate.bound": 98.5})
    table = render_sweep(tmp_path, "mine")
    (best,) = lines(table, "best ", "lenet5_mnist")
    assert best.split()[4:8] == ["98.0", "1", "99.00", "90.00"]


def test_runs_that_differ_by_their_seed_are_one_line(tmp_path: Path) -> None:
    for seed, val in enumerate((98.0, 99.0)):
        add_run(tmp_path, seed=seed, rows=[row() | {"val": val}])
    (line,) = lines(render_sweep(tmp_path, "mine"), "relevance")
    assert " 2  98.50 ± 0.71 " in line


def test_only_settings_in_which_runs_differ_have_a_column(tmp_path: Path) -> None:
    for fingerprint, alpha in (("aaaa", {}), ("bbbb", {"pruner.penalty.alpha": 0.1})):
        add_run(tmp_path, fingerprint=fingerprint, settings={"gate.bound": 98.0, **alpha})
    table = render_sweep(tmp_path, "mine")
    assert "pruner.penalty.alpha" in table and "gate.bound" not in table
    assert lines(table, " default ") and lines(table, " 0.1 ")


def test_arguments_of_network_data_and_method_are_settings_too(tmp_path: Path) -> None:
    def of(rate: int, width: int, method: str = "Mine", **more: int) -> dict[str, Any]:
        knobs = {"_target_": f"mine.{method}", "rate": rate, **more}
        return {"pruner.method": knobs, "model": {"_target_": "mine.Net", "width": width, "depth": 2}}

    for fingerprint, settings in (("aaaa", of(1, 10)), ("bbbb", of(2, 10)), ("cccc", of(1, 20, "Other", tau=3))):
        add_run(tmp_path, fingerprint=fingerprint, settings=settings)
    table = render_sweep(tmp_path, "mine")
    assert table.splitlines()[1].split()[2:5] == ["pruner", "pruner.method.rate", "model.width"]
    assert sorted(line.split("relevance")[1].split()[:2] for line in lines(table, "relevance")) == [
        *(["1", "10"], ["1", "20"], ["2", "10"])
    ]


def test_a_run_that_never_reached_the_papers_sparsity_is_not_the_best(tmp_path: Path) -> None:
    add_run(tmp_path, fingerprint="aaaa", rows=[row("last", test=99.9)])
    add_run(tmp_path, fingerprint="bbbb", rows=[row(test=90.0)])
    table = render_sweep(tmp_path, "mine")
    assert len(lines(table, "best ", "relevance")) == len(lines(table, "never reached")) == 1
    assert not lines(table, "best ", "never reached")


def test_runs_that_failed_stand_below_with_their_reason(tmp_path: Path) -> None:
    add_run(tmp_path, seed=0)
    failed = add_run(tmp_path, seed=1, status="failed")
    place = failed.relative_to(tmp_path / "runs")
    assert f"failed: {place}: ValueError: no space" in render_sweep(tmp_path, "mine").splitlines()


def test_a_run_that_is_not_finished_is_known_by_the_words_that_asked_for_it(tmp_path: Path) -> None:
    sweeps.register(settings_of(tmp_path), "pruner=l2 seed=0")
    place = provenance.run_directory(settings_of(tmp_path)).relative_to(tmp_path / "runs")
    assert render_sweep(tmp_path, "mine").splitlines()[1:] == [f"missing: {place}, pruner=l2 seed=0"]


def finish(settings: Settings, *rows: dict[str, Any]) -> None:
    """Leave the summary of a finished run where the run is."""
    directory = provenance.run_directory(settings)
    directory.mkdir(parents=True)
    whose = {"experiment": settings.experiment, "fingerprint": provenance.fingerprint(settings), "seed": settings.seed}
    (directory / "summary.json").write_text(json.dumps(summary(**whose, rows=rows)))


def test_a_sweep_maximises_the_validation_metric_at_the_papers_sparsity(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    finish(settings, row(test=99.0), row("last", test=98.0))
    assert train.objective(settings, provenance.run_directory(settings)) == pytest.approx(99.1)


def test_a_run_that_never_reached_the_papers_sparsity_is_worth_nothing_to_a_sweep(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    finish(settings, row("last", test=98.0))
    assert train.objective(settings, provenance.run_directory(settings)) == 0.0


def test_a_finished_run_is_found_though_the_file_that_it_started_from_is_gone_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    path.touch()

    def run(settings: Settings, anew: bool) -> None:
        finish(settings, row(test=99.0))
        path.unlink()

    monkeypatch.setattr(config, "build", lambda settings: settings)
    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(train, "render_runs", lambda directories: "")
    start = BaselineSettings(source="file", path=str(path))
    assert train.main(settings_of(tmp_path, baseline=start)) == pytest.approx(99.1)


def test_several_runs_keep_apart_and_a_failed_one_stops_and_hides_no_other(tmp_path: Path) -> None:
    done = multirun(tmp_path, "sweep_name=mine", "gate.bound=99", "gate.policy=error,printed", "seed=0,1")
    assert done.returncode == 1
    assert len(lines(done.stdout, "failed: ", "Nothing would ever be pruned")) == 2
    (line,) = lines(done.stdout, "best  lenet5_mnist")
    assert line.split()[4] == "2"
    assert len(sweeps.members(tmp_path / "results", "mine")) == 4
    assert done.stderr.splitlines()[-1].startswith("error: Nothing would ever be pruned")


def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Callable[[Settings], float], *words: str) -> str:
    """The table that ends the sweep `mine` of `task`, run in this process."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the command sets it for Hydra
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", f"results_dir={tmp_path}", "sweep_name=mine", *words])
    monkeypatch.setattr(config.SweepStarted, "sweep", None)
    tables: list[str] = []
    with contextlib.suppress(SystemExit):
        config.command(task, lambda results, name: tables.append(render_sweep(results, name)))
    return tables[0]


def started(settings: Settings) -> float:
    sweeps.register(settings)
    return 0.0


def test_a_job_with_wrong_settings_stands_in_the_table_as_failed_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = sweep(tmp_path, monkeypatch, started, "seed=abc,0").splitlines()
    assert first == "sweep mine: 2 runs"
    assert len(others) == 2 and others[0].startswith("missing: lenet5_mnist/")
    assert others[1] == "failed: seed=abc: seed: Value 'abc' of type 'str' could not be converted to Integer."


def test_each_run_of_a_sweep_records_the_command_that_repeats_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    def noting(settings: Settings) -> float:
        commands.append(provenance.origin()["command"])
        return started(settings)

    sweep(tmp_path, monkeypatch, noting, "sweep=bound", "gate.bound=98,99", "seed=1")
    expected = [f"gate.bound={bound} seed=1" for bound in (98, 99)]
    assert [command.partition("train.py ")[2] for command in commands] == expected


def test_a_job_that_fails_before_its_run_says_so_stands_in_the_table_once_and_until_it_has_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(settings: Settings) -> float:
        sweeps.register(settings)
        raise ValueError("There is no GPU.")

    table = sweep(tmp_path, monkeypatch, refusing, "seed=3")
    assert table.splitlines() == ["sweep mine: 1 runs", "failed: seed=3: There is no GPU."]
    (directory,) = sweeps.members(tmp_path, "mine")
    write_json(directory / "manifest.json", {"status": "failed", "reason": "no space"})
    assert render_sweep(tmp_path, "mine").splitlines()[1:] == [
        f"failed: {directory.relative_to(tmp_path / 'runs')}: no space"
    ]


def test_a_sweep_that_begins_again_forgets_what_it_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path, monkeypatch, started, "seed=abc")
    assert "failed" not in sweep(tmp_path, monkeypatch, started, "seed=0")


def test_of_a_sweep_that_never_began_no_more_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train.conclude(tmp_path, "mine")
    assert capsys.readouterr() == ("", "")


def test_what_a_mac_leaves_beside_an_entry_is_no_run(tmp_path: Path) -> None:
    sweeps.register(settings_of(tmp_path))
    (sweeps.folder(tmp_path, "mine") / "._tiny.json").write_bytes(b"\x00\x05\x16\x07")
    assert len(sweeps.members(tmp_path, "mine")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "plugin"), [("processes", "joblib"), ("local", "submitit")])
def test_launchers_run_two_pruners_and_two_seeds_into_directories_of_their_own(
    tmp_path: Path, launcher: str, plugin: str
) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")
    done = multirun(tmp_path, f"hydra/launcher={launcher}", "sweep_name=mine", "seed=0,1", "pruner=relevance,l2")
    assert done.returncode == 0, done.stderr
    found = sweeps.members(tmp_path / "results", "mine")
    assert len(set(found)) == 4
    assert all(provenance.is_done(path) for path in found)


@pytest.mark.parametrize("name", [name for name in SWEEPS if name != "none"])
def test_every_sweep_composes_under_its_own_name_over_settings_that_exist(name: str) -> None:
    tree = yaml.safe_load((config.CONF / "sweep" / f"{name}.yaml").read_text())
    params = tree["hydra"]["sweeper"]["params"]
    assert tree["sweep_name"] == name and params
    assert params.keys() <= dict(leaves(Settings())).keys()
    if name == "optuna" and importlib.util.find_spec("optuna") is None:
        pytest.skip("the extra `sweeps` is not installed")
    assert config.compose(["scale=smoke", f"sweep={name}"]).sweep_name == name


def test_the_wandb_sweep_maximises_what_a_run_reports_over_settings_that_exist() -> None:
    tree = yaml.safe_load((config.CONF / "wandb_sweep.yaml").read_text())
    assert tree["metric"] == {"name": "ours/paper_sparsity/val", "goal": "maximize"}
    known = {*dict(leaves(Settings())), "experiment", "tracking"}
    assert tree["parameters"].keys() <= known
    assert (REPOSITORY / tree["program"]).is_file()
