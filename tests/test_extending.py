"""EXTENDING.md works as written: its files are saved where it says, and its commands are run."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import train
from sparsity import config

ROOT = Path(__file__).parents[1]
SECTIONS = dict(
    (section.partition("\n")[0], section) for section in (ROOT / "EXTENDING.md").read_text().split("\n## ")[1:]
)
Run = Callable[[str], dict[str, Any]]

MOST_LINES = 40
SHORT = (
    *("scale=smoke", "machine=cpu", "tracking=none", "measure_sizes=false", "gate.bound=1"),
    *("regularise.num_epochs=1", "finetune.num_epochs=1", "schedule.fraction=0.5", "gate.target_sparsity=0.4"),
)


def files(section: str) -> dict[str, str]:
    """Path -> content of the files that a section shows."""
    return dict(re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)```", SECTIONS[section], re.M | re.S))


def command(section: str) -> list[str]:
    """The arguments of the section's command."""
    (line,) = re.findall(r"```bash\nPYTHONPATH=\. python scripts/train\.py (.*)\n```", SECTIONS[section])
    return shlex.split(line)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Save a section's files, run its command on few steps in this process, and return the summary."""

    def run_section(section: str) -> dict[str, Any]:
        for name, content in files(section).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        monkeypatch.setattr(sys, "argv", ["scripts/train.py", *command(section), *SHORT])
        config.command(train.main)
        (path,) = tmp_path.glob("results/runs/lenet5_mnist/*/seed0/summary.json")
        summary: dict[str, Any] = json.loads(path.read_text())
        return summary

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(".")  # PYTHONPATH=.
    yield run_section
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_has_at_most_forty_lines(section: str) -> None:
    assert 0 < sum(len(content.splitlines()) for content in files(section).values()) <= MOST_LINES


def test_the_pruner_runs_as_written_and_prunes_by_its_own_score(run: Run) -> None:
    summary = run("A pruner")
    assert (summary["pruner"], summary["rows"][0]["start"]) == ("lamp", "paper_sparsity")
    assert summary["rows"][0]["sparsity"] == pytest.approx(0.5, abs=1e-4)
    assert summary["settings"]["pruner.method"] == {"_target_": "mine.pruning.LogPenalty", "scale": 0.1}


def test_the_method_with_effective_weights_runs_as_written(run: Run) -> None:
    summary = run("A method with effective weights")
    assert (summary["pruner"], summary["rows"][0]["start"]) == ("flicker", "paper_sparsity")
    assert summary["settings"]["pruner.method"] == {"_target_": "mine.flicker.Flicker", "scale": 0.01}


def test_the_data_set_runs_as_written(run: Run) -> None:
    summary = run("A data set")
    assert (summary["dataset"], summary["data_name"], summary["data_source"]) == ("tiles", "tiles-embedded", "embedded")
    assert summary["rows"][0]["test"] > 50  # of ten classes: it has learnt


def test_the_network_runs_as_written(run: Run) -> None:
    summary = run("A network")
    assert (summary["model"], summary["rows"][0]["total"]) == ("mlp", 784 * 50 + 50 + 50 * 10 + 10)
