"""The page of this repository: its numbers are those of the summaries beside it, computed anew by other means."""

import json
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.report.fake_results import REPOSITORY, render_page

RESULTS = REPOSITORY / "results"
STARTS = {"paper_sparsity": "from the paper's sparsity", "last": "from the last state"}


def by_fingerprint() -> dict[str, list[dict[str, Any]]]:
    """The published summaries as plain JSON, seeds of one configuration together."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(RESULTS.glob("*/*/seed*/summary.json")):
        summary = json.loads(path.read_text())
        commits = {process["commit"] for process in summary["provenance"].get("history", [])}
        mark = f"; {len(commits)} commits" if len(commits) > 1 else ""  # such a run has a row of its own
        found[f"{summary['pruner']} {summary['fingerprint'][:8]}{mark}"].append(summary)
    return found


def ours(name: str, start: str) -> list[str]:
    """The rows of a configuration from one start of the final phase, each in the table of its experiment."""
    configuration, _, mark = name.partition("; ")
    return [
        line
        for line in (RESULTS / "README.md").read_text().splitlines()
        if line.startswith(f"| Ours: {configuration}") and STARTS[start] in line
        if bool(mark) == bool(re.search(r"\b\d+ commits\b", line))
    ]


def printed(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def starts_of(summary: dict[str, Any]) -> list[str]:
    return [row["start"] for row in summary["rows"]]


def layers_left(summary: dict[str, Any], name: str, start: str) -> float:
    """Percent of the weights left in the layers whose names begin so, counted in layers.csv by hand."""
    (path,) = RESULTS.glob(f"{summary['experiment']}/*-{summary['fingerprint']}/seed{summary['seed']}/layers.csv")
    rows = [line.split(",") for line in path.read_text().splitlines()]
    mine = [row for row in rows if row[0] == start and row[1].startswith(name)]
    return 100 * sum(int(row[4]) for row in mine) / sum(int(row[3]) for row in mine)


def is_at_budget(summary: dict[str, Any]) -> bool:
    """Whether a run is one of the leaderboard, which has a section of its own: 60 epochs, and the last state alone."""
    settings = summary.get("settings") or {}
    lengths = [settings.get(f"{phase}.num_epochs", 0) for phase in ("regularise", "finetune")]
    if summary["experiment"] == "lenet5_mnist":  # which has no dense start of its own
        lengths.append(summary["baseline"]["num_epochs"])
    return settings.get("finetune.start_from") == ["last"] and sum(lengths) == 60


ALL_RUNS = by_fingerprint()
TRIES = {name: found for name, found in ALL_RUNS.items() if is_at_budget(found[0])}
RUNS = {name: found for name, found in ALL_RUNS.items() if name not in TRIES}


def test_the_page_is_up_to_date() -> None:
    assert (RESULTS / "README.md").read_text() == render_page(RESULTS), "run `make report` and commit what it writes"


def test_both_renderings_have_the_same_numbers() -> None:
    html = re.sub(r"<[^>]*>", " ", (RESULTS / "index.html").read_text())
    tables = [line for line in (RESULTS / "README.md").read_text().splitlines() if line.startswith("| ")]
    numbers = {number for line in tables for number in re.findall(r"(?<![\w.])[-+±]?\d+\.\d+(?![\w.])", line)}
    assert numbers and numbers <= set(re.findall(r"(?<![\w.])[-+±]?\d+\.\d+(?![\w.])", html))


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("start", STARTS)
def test_metric_and_sparsity_of_every_published_configuration_are_its_summaries(name: str, start: str) -> None:
    rows = [row for summary in RUNS[name] for row in summary["rows"] if row["start"] == start]
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in ours(name, start)]
    assert len(lines) == bool(rows)
    for cells in lines:
        assert printed([row["test"] for row in rows]) in cells
        assert printed([100 * (1 - row["kept"] / row["total"]) for row in rows]) in cells
        assert str(len(rows)) in cells


@pytest.mark.parametrize("name", TRIES)
def test_every_try_of_the_leaderboard_has_the_numbers_of_its_summaries(name: str) -> None:
    rows = [row for summary in TRIES[name] for row in summary["rows"]]
    lines = (RESULTS / "README.md").read_text().splitlines()
    configuration = name.partition("; ")[0]
    (line,) = [line for line in lines if line.startswith(f"| {configuration}") and "`python scripts/train.py" in line]
    left = [100 * row["kept"] / row["total"] for row in rows]
    assert f"| {printed([row['test'] for row in rows])} | {printed(left)} |" in line


LENETS = [name for name, found in RUNS.items() if found[0]["model"] == "lenet5"]


@pytest.mark.parametrize("name", LENETS)
def test_residual_weights_of_every_lenet_are_those_of_its_layers(name: str) -> None:
    starts = {start for summary in RUNS[name] for start in starts_of(summary)} & set(STARTS)
    assert starts
    for start in starts:
        (line,) = ours(name, start)
        for layer in ("conv1.", "conv2.", "fc1.", "fc2."):
            left = [layers_left(summary, layer, start) for summary in RUNS[name] if start in starts_of(summary)]
            assert f"| {printed(left)} |" in line


def test_every_figure_of_the_page_is_there_as_svg_and_png() -> None:
    names = set(re.findall(r"\(figures/(.*)\.svg\)", (RESULTS / "README.md").read_text()))
    for suffix in ("svg", "png"):
        found = {path.relative_to(RESULTS / "figures").with_suffix("").as_posix() for path in _figures(f"*/*.{suffix}")}
        assert found == names


def _figures(pattern: str) -> list[Path]:
    return list((RESULTS / "figures").glob(pattern))
