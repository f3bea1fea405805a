"""scripts/run_queue.py: what is committed is passed over, the rest is run in order, and the state is said."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from scripts import run_queue
from sparsity import config, provenance
from sparsity.report.audit import REPORT, load_audit
from sparsity.report.parsing import decode, load_yaml
from sparsity.run.stopping import Children
from tests.report.fake_results import REPOSITORY

LIST = """
common: [scale=smoke, tracking=none]
runs:
  - {settings: [experiment=lenet5_mnist], seeds: [0, 1]}
  - {settings: [experiment=lenet5_mnist, pruner=l2], seeds: [0]}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of three runs, of which the first is committed with its networks and the second without."""
    monkeypatch.setattr(run_queue, "RESULTS", tmp_path / "results")
    for seed, files in enumerate((("summary.json", "card.json"), ("summary.json",))):
        settings = config.compose(["scale=smoke", f"seed={seed}"])
        folder = tmp_path.joinpath("results", *provenance.run_directory(settings).parts[-3:])
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).write_text("{}")
    (tmp_path / "list.yaml").write_text(LIST)
    return tmp_path / "list.yaml"


def test_what_is_not_committed_with_its_networks_is_run_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def fake(self: Children, command: list[str], environment: Any = None) -> int:
        calls.append(command[2:])
        return 0

    monkeypatch.setattr(Children, "run", fake)
    elsewhere = f"results_dir={path.parent / 'elsewhere'}"
    assert run_queue.main([str(path), elsewhere]) == 0
    common = ["scale=smoke", "tracking=none", "experiment=lenet5_mnist"]
    assert calls == [[*common, "seed=1", elsewhere], [*common, "pruner=l2", "seed=0", elsewhere]]


def test_the_status_begins_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_queue.main([str(path), "--status", f"results_dir={path.parent / 'elsewhere'}"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["committed", "missing", "missing"]
    assert total == "1 committed, 2 missing"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "There is no list"),
        ("common: []\n", "runs is missing"),
        ("common: []\nruns: [{settings: [experiment=lenet6], seeds: [0]}]\n", "lenet6"),
    ],
)
def test_a_list_that_cannot_be_worked_off_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, problem: str
) -> None:
    path = tmp_path / "list.yaml"
    if content is not None:
        path.write_text(content)
    assert run_queue.main([str(path), "--status"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and problem in err


OWN = load_yaml(REPOSITORY / "results" / "queue.yaml", lambda document: decode(run_queue.Queue, document, ""))


def test_the_projects_own_list_begins_with_the_headline_runs() -> None:
    jobs = OWN.jobs([])
    assert len(set(jobs)) == len(jobs)
    first = [(job[-2], job[-1]) for job in jobs[:6]]
    names = ["experiment=lenet5_mnist"] * 3 + ["experiment=lenet5_fashion_mnist"] * 3
    assert first == list(zip(names, ["seed=0", "seed=1", "seed=2"] * 2, strict=True))


@pytest.mark.parametrize("entry", OWN.runs, ids=lambda entry: " ".join(entry.settings))
def test_every_entry_of_the_projects_own_list_is_a_run(entry: run_queue.Entry) -> None:
    settings = config.compose([*OWN.common, *entry.settings])
    assert settings.scale == "paper" and provenance.run_directory(settings).name == "seed0"


def test_the_list_has_each_run_that_the_audit_adds_up() -> None:
    audit = load_audit(REPOSITORY / "results" / "audit.yaml")
    listed = {(entry.settings, seed) for entry in OWN.runs for seed in entry.seeds}
    for name in {experiment for step in audit.steps for experiment in step.experiments}:
        overrides = [step.override for step in audit.of(name) if step.key != REPORT]
        needed = [(f"experiment={name}", *overrides[:count]) for count in range(1, len(overrides))]
        for settings in [(f"experiment={name}",), *needed, (f"experiment={name}", "protocol=authors")]:
            assert {(settings, seed) for seed in audit.seeds} <= listed


@pytest.mark.parametrize("name", ["lenet5_mnist", "lenet5_fashion_mnist"])
def test_the_audits_keys_are_set_as_the_authors_protocol_sets_them(name: str) -> None:
    steps = load_audit(REPOSITORY / "results" / "audit.yaml").of(name)
    whole, added = (
        asdict(config.compose(["scale=paper", f"experiment={name}", *overrides]).protocol)
        for overrides in (["protocol=authors"], [step.override for step in steps])
    )
    assert {step.name: whole[step.name] for step in steps} == {step.name: added[step.name] for step in steps}
