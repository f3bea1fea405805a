"""Which run is this: what its identity depends on, who may work in its directory, and what is done."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from sparsity import config, provenance
from sparsity.files import write_json
from sparsity.provenance import baseline_fingerprint, fingerprint
from sparsity.settings import (
    BaselineSettings,
    GateSettings,
    MachineSettings,
    PaperSettings,
    Settings,
    TrackingSettings,
)
from tests.pruners import pruner

COMMITTED = sorted(path for path in (Path(__file__).parent.parent / "results").glob("*/paper-*") if path.is_dir())

BASE = Settings(
    model={"_target_": "LeNet5"},
    dataset={"_target_": "mnist", "source": "real"},
    baseline=BaselineSettings(source="train", num_epochs=21),
    pruner=pruner("relevance", 1e-3),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3},
        {"scale": "smoke"},
        {"experiment": "other"},
        {"machine": MachineSettings("cuda", 7, 0.0)},
        {"tracking": TrackingSettings("online", "elsewhere", "me", 10)},
        {"paper": PaperSettings(99.0, 0.9, 98.0, 12)},
        {"data_dir": "elsewhere", "results_dir": "there", "force": True},
    ],
)
def test_what_is_not_science_stays_out_of_the_fingerprint(changes: dict[str, Any]) -> None:
    assert fingerprint(replace(BASE, **changes)) == fingerprint(BASE)


@pytest.mark.parametrize("lock", [None, "another's"])
def test_asking_how_a_run_stands_leaves_no_trace_as_in_a_read_only_archive(tmp_path: Path, lock: str | None) -> None:
    write_json(tmp_path / "manifest.json", {"status": "failed", "reason": "no space"})
    if lock is not None:
        (tmp_path / "lock").write_text(lock)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("the archive is read-only"))
        assert provenance.state_of(tmp_path) == ("failed", "no space")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": GateSettings(bound=1.0)},
        {"pruner": pruner("l2", 1e-3)},
        {"dataset": {"_target_": "mnist", "source": "embedded"}},
        {"metric": "loss"},
    ],
)
def test_what_is_science_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert fingerprint(replace(BASE, **changes)) != fingerprint(BASE)


def started_from(path: Path) -> Settings:
    return replace(BASE, baseline=BaselineSettings(source="file", path=str(path)))


def test_another_content_of_the_file_that_is_started_from_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"one network")
    before = provenance.run_directory(started_from(path))
    path.write_bytes(b"two network")  # as large as the one before, in the same place
    os.utime(path, ns=(1, 1))
    assert provenance.run_directory(started_from(path)) != before


def test_the_same_file_elsewhere_is_the_same_start(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"one network")
    (tmp_path / "b.pt").write_bytes(b"one network")
    first, second = (provenance.identity(started_from(tmp_path / name)) for name in ("a.pt", "b.pt"))
    assert first == second
    assert first["baseline.sha256"] == hashlib.sha256(b"one network").hexdigest() and "baseline.path" not in first


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.pt", "There is no checkpoint at {0}/none.pt; check baseline.path."),
        ("", "baseline.path={0} is a folder; name the checkpoint in it."),
    ],
)
def test_a_file_that_is_not_there_is_said_before_anything_begins(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        provenance.run_directory(started_from(tmp_path / name))
    assert str(caught.value) == sentence.format(tmp_path)


def test_a_new_setting_with_its_default_leaves_the_fingerprint_unchanged() -> None:
    @dataclass
    class LaterGate(GateSettings):
        patience: int = 3

    @dataclass
    class Later(Settings):
        gate: LaterGate = field(default_factory=LaterGate)
        clip: float | None = None

    def later(gate: LaterGate) -> Later:
        return Later(model=BASE.model, dataset=BASE.dataset, baseline=BASE.baseline, pruner=BASE.pruner, gate=gate)

    provenance_of_later = pytest.MonkeyPatch()
    with provenance_of_later.context() as patch:
        patch.setattr(provenance, "Settings", Later)
        assert fingerprint(later(LaterGate())) == fingerprint(BASE)
        assert fingerprint(later(LaterGate(patience=4))) != fingerprint(BASE)


@pytest.mark.parametrize("run", COMMITTED, ids=lambda run: run.name)
def test_the_fingerprint_of_every_published_run_is_that_of_its_command_today(run: Path) -> None:
    summaries = [json.loads(path.read_text()) for path in run.glob("seed*/summary.json")]
    commands = {tuple(seedless(summary["provenance"]["command"])) for summary in summaries}
    (settings,) = [config.compose(list(command)) for command in commands]
    assert {summary["fingerprint"] for summary in summaries} == {fingerprint(settings)}
    assert provenance.run_directory(settings) == Path("results/runs") / run.parent.name / run.name / "seed0"


def seedless(command: str) -> list[str]:
    """The settings of a recorded command line, all but the seed."""
    return [word for word in shlex.split(command)[2:] if not word.startswith("seed=")]


@pytest.mark.parametrize(
    "changes",
    [
        {"pruner": pruner("l2", 1.0)},
        {"gate": GateSettings(bound=1.0)},
        {"experiment": "other"},
    ],
)
def test_runs_that_differ_in_the_method_share_their_baseline(changes: dict[str, Any]) -> None:
    assert provenance.baseline_directory(replace(BASE, **changes)) == provenance.baseline_directory(BASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"_target_": "Other"}},
        {"dataset": {"_target_": "fashion_mnist"}},
        {"baseline": replace(BASE.baseline, num_epochs=20)},
        {"baseline": replace(BASE.baseline, optimizer=replace(BASE.baseline.optimizer, lr=0.1))},
    ],
)
def test_another_network_data_set_or_recipe_is_another_baseline(changes: dict[str, Any]) -> None:
    assert baseline_fingerprint(replace(BASE, **changes)) != baseline_fingerprint(BASE)


OF_THE_METHOD = {
    *("start_before_cut", "report", "count_before_use", "constant_lambda_of_controls", "count_tied_as_listed"),
}
VALUES = {"report": "any_phase", "baseline_evaluate_every_steps": 250}


@pytest.mark.parametrize("key", [key.name for key in fields(BASE.protocol)])
def test_a_key_of_the_protocol_is_another_run_and_where_it_touches_the_baseline_another_one(key: str) -> None:
    changed = replace(BASE, protocol=replace(BASE.protocol, **{key: VALUES.get(key, True)}))
    assert fingerprint(changed) != fingerprint(BASE)
    assert (baseline_fingerprint(changed) == baseline_fingerprint(BASE)) == (key in OF_THE_METHOD)
    assert changed.departures == [f"protocol.{key}"] and changed.protocol_name == "mixed"


def test_another_seed_is_another_baseline() -> None:
    assert provenance.baseline_directory(replace(BASE, seed=1)) != provenance.baseline_directory(BASE)


def test_the_seeds_of_runs_are_found_by_their_numbers_alone_and_copies_are_none(tmp_path: Path) -> None:
    for name in ("seed0", "seed12", "seed0_backup", "seed0 copy", "seed1.tar", "seeds", "seed01"):
        (tmp_path / "tiny" / "smoke-l2-0123456789" / name).mkdir(parents=True)
    (tmp_path / "tiny" / "smoke-l2-0123456789" / "seed3").touch()
    (tmp_path / "other" / "smoke-l2-0123456789" / "seed2").mkdir(parents=True)
    assert [path.name for path in provenance.seed_folders(tmp_path)] == ["seed2", "seed0", "seed12"]
    assert [path.name for path in provenance.seed_folders(tmp_path, "tiny")] == ["seed0", "seed12"]


def leave(directory: Path, manifest: str, has_summary: bool) -> Path:
    (directory / "manifest.json").write_text(manifest)
    if has_summary:
        (directory / "summary.json").write_text("{}")
    return directory


@pytest.mark.parametrize(
    ("manifest", "has_summary", "is_done"),
    [
        ('{"status": "done"}', True, True),
        ('{"status": "done"}', False, False),
        ('{"status": "running"}', True, False),
        ('{"status": "do', True, False),
        ("[]", True, False),
        ("", True, False),
    ],
)
def test_a_run_is_done_with_a_sound_manifest_that_says_so_and_a_summary(
    tmp_path: Path, manifest: str, has_summary: bool, is_done: bool
) -> None:
    assert provenance.is_done(leave(tmp_path, manifest, has_summary)) == is_done


@pytest.mark.parametrize(
    ("manifest", "state"),
    [
        ('{"status": "done"}', ("done", "")),
        ('{"status": "failed", "reason": "ValueError: no"}', ("failed", "ValueError: no")),
        ('{"status": "running"}', ("interrupted", "")),
        ("", ("missing", "")),
    ],
)
def test_the_state_of_a_run_is_read_from_its_directory(tmp_path: Path, manifest: str, state: tuple[str, str]) -> None:
    assert provenance.state_of(leave(tmp_path, manifest, has_summary=True)) == state


def test_a_run_whose_process_lives_is_running(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    assert provenance.state_of(leave(tmp_path / "run", '{"status": "running"}', False)) == ("running", "")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in which the package pretends to lie."""
    for name in ("sparsity/provenance.py", "conf/config.yaml", "results/README.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("one")
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    monkeypatch.delenv("GIT_DIR", raising=False)
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "--no-gpg-sign", "-m", "one"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "sparsity" / "provenance.py"))
    return tmp_path


def test_the_origin_names_the_commit_the_command_and_the_versions(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ["data_dir=/of/this/machine", "results_dir=/of/this/machine"]
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", "finetune.start_from=[last]", *places, "seed=1"])
    origin = provenance.origin()
    assert len(origin["commit"]) == 40 and origin["dirty"] is False
    assert origin["command"] == "python scripts/train.py 'finetune.start_from=[last]' seed=1"
    assert set(origin["versions"]) >= {"python", "torch", "numpy", "hydra-core"} and all(origin["versions"].values())


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (["++data_dir=/of/this/machine", "+results_dir=~/x", "hydra.run.dir=/tmp/x", "seed=1"], "seed=1"),
        (["--config-dir", "/of/jo/mine/conf", "pruner=lamp"], "--config-dir conf pruner=lamp"),
        (["--config-dir=/of/jo/mine/conf"], "--config-dir=conf"),
        (["--config-dir", "mine/conf"], "--config-dir mine/conf"),
        (["baseline.path=/of/jo e/m.pt", "baseline=file"], "baseline.path=m.pt baseline=file"),
        (["++baseline.path='/of/jo/m 1.pt'"], shlex.quote("++baseline.path='m 1.pt'")),
        (["baseline.path=networks/of/jo/m.pt"], "baseline.path=m.pt"),
        (["dataset.path=../jo/x.npz", "dataset.folder=~jo/a"], "dataset.path=x.npz dataset.folder=a"),
        (
            ["dataset.files=[/of/jo/a,/of/jo/b]", "hydra/launcher=local"],
            "'dataset.files=[a,b]' hydra/launcher=local",
        ),
        (["model.url=https://a.org/b/c", "task.ratio=1/2"], "model.url=https://a.org/b/c task.ratio=1/2"),
    ],
)
def test_a_recorded_command_names_no_folder_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/elsewhere/scripts/train.py", *typed])
    assert provenance.origin()["command"] == f"python train.py {shown}"


def test_settings_that_are_shown_name_the_file_to_start_from_and_no_folder() -> None:
    settings = Settings(
        dataset={"_target_": "mine.data", "files": ["/of/jo/a.npz"]},
        baseline=BaselineSettings(source="file", path="networks/jo/m.pt"),
        data_dir="/of/jo/data",
        results_dir="/of/jo/results",
    )
    shown = provenance.shown(settings)
    assert (shown["dataset"]["files"], shown["baseline"]["path"]) == (["a.npz"], "m.pt")
    assert "jo" not in str(shown) and "data_dir" not in shown and "results_dir" not in shown


def test_a_file_from_which_nothing_starts_is_no_part_of_an_identity() -> None:
    unread = Settings(baseline=BaselineSettings(source="none", path="/of/jo/m.pt"))
    assert provenance.identity(unread) == {}


@pytest.mark.parametrize(
    ("changed", "is_dirty"),
    [
        *(("sparsity/provenance.py", True), ("conf/config.yaml", True), ("results/README.md", False)),
        # no commit has these
        *(("conf/pruner/mine.yaml", True), ("sparsity/mine.py", True), ("results/new.md", False), ("notes.txt", False)),
    ],
)
def test_changed_code_and_settings_are_dirty_and_results_are_not(
    repository: Path, changed: str, is_dirty: bool
) -> None:
    (repository / changed).parent.mkdir(exist_ok=True)
    (repository / changed).write_text("two")
    assert provenance.origin()["dirty"] is is_dirty


def test_without_a_repository_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "sparsity" / "provenance.py"))
    monkeypatch.delenv("SPARSITY_COMMIT", raising=False)
    assert provenance.origin()["commit"] is None


def test_a_copy_without_git_takes_its_commit_from_the_environment_and_none_from_a_repository_around_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(repository / "copy" / "sparsity" / "provenance.py"))
    monkeypatch.setenv("SPARSITY_COMMIT", "0123abc")
    assert provenance.code() == {"commit": "0123abc", "dirty": False}


def test_a_repository_knows_its_commit_better_than_the_environment(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSITY_COMMIT", "0123abc")
    assert len(provenance.origin()["commit"]) == 40


@pytest.mark.parametrize("changed", ["model.conv_relu=false", "dataset.normalise=by_256"])
def test_what_a_constructor_asks_for_since_then_is_another_run_only_where_it_is_another_value(changed: str) -> None:
    as_published, other = config.compose(["scale=paper"]), config.compose(["scale=paper", changed])
    assert provenance.fingerprint(as_published) == "56e701b943" != provenance.fingerprint(other)
