"""scripts/study.py: every method at equal settings, seed by seed, and again from where it was stopped."""

from types import SimpleNamespace
from typing import Any

import pytest

from scripts import study
from sparsity import config
from sparsity.provenance import identity
from sparsity.report.configurations import Configuration
from sparsity.run.stopping import Children


def jobs(*arguments: str) -> list[tuple[str, ...]]:
    return study.list_jobs(study.parser().parse_intermixed_args(arguments))


def test_each_method_runs_on_both_data_sets_and_the_first_seed_comes_first() -> None:
    found = jobs("--seeds", "0,1")
    assert len(set(found)) == 2 * 2 * 7
    assert all("seed=0" in job for job in found[:14]) and all("seed=1" in job for job in found[14:])


def test_overrides_hold_for_all_runs() -> None:
    assert all(job[-1] == "regularise.num_epochs=3" for job in jobs("regularise.num_epochs=3"))


def test_all_runs_share_every_setting_but_the_method() -> None:
    found = jobs("--seeds", "0", "--experiments", "lenet5_mnist", "--scale", "smoke")
    settings = [identity(config.compose(list(job))) for job in found]
    summaries = [SimpleNamespace(settings=each) for each in settings]
    shared = {Configuration((SimpleNamespace(summary=summary),), ()).shared_settings for summary in summaries}
    assert len(shared) == 1
    assert len({str(each) for each in settings}) == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--experiments", "foo"], "error: experiment=foo is unknown; choose one of "),
        (["gate.bund=1"], "error: gate.bund is not a setting; did you mean gate.bound?"),
    ],
)
def test_what_is_wrong_in_all_runs_is_said_once_and_none_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(Children, "run", lambda *_: pytest.fail("a run began"))
    assert study.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


@pytest.mark.parametrize("number", ["0", "x", "-1"])
def test_there_is_at_least_one_run_at_a_time(capsys: pytest.CaptureFixture[str], number: str) -> None:
    with pytest.raises(SystemExit):
        study.main([f"--processes={number}"])
    assert f"{number} is no number of runs; give a whole one from 1 on." in capsys.readouterr().err


@pytest.mark.parametrize(("fails", "status"), [("l2", 1), ("nothing", 0)])
def test_a_failed_run_stops_no_other_and_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str, status: int
) -> None:
    calls: list[list[str]] = []

    def fake(self: Children, command: list[str], environment: Any = None) -> int:
        calls.append(command)
        return int(f"pruner={fails}" in command)

    monkeypatch.setattr(Children, "run", fake)
    assert study.main(["scale=smoke", "--seeds", "0", "tracking=none", "--processes", "2"]) == status
    assert len(calls) == 14 and all(call[-2:] == ["scale=smoke", "tracking=none"] for call in calls)
    assert ("failed, see its message above: experiment=" in capsys.readouterr().err) == bool(status)
