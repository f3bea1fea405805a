"""The Hub's model card beside published networks: its head, its figures, and lines that really load them."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sparsity.models.lenet import LeNet5
from sparsity.report.model_card import model_cards
from sparsity.report.page import load_sections
from sparsity.weights.export import save_sparse
from tests.report.fake_results import PHASES, AddRun, add_networks, row

MODEL = {"model": {"_target_": "sparsity.models.lenet.LeNet5", "num_classes": 10}}


@pytest.fixture
def card(mnist_alone: Path, add_run: AddRun) -> Path:
    """The card of seed 0 of three."""
    settings: dict[str, Any] = PHASES | MODEL
    for seed, test in enumerate((98.9, 99.0, 99.1)):
        directory = add_run(seed=seed, settings=settings, rows=[row(test=test)])
        add_networks(directory, {"paper_sparsity": 61_752, "last": 6_000_001})
    ((paper, (ours,)),) = load_sections(mnist_alone)
    for path, text in model_cards(paper, ours, {}).items():
        path.write_text(text)
    return mnist_alone / "lenet5_mnist" / directory.parent.name / "seed0" / "networks" / "README.md"


def test_the_head_holds_what_the_hub_reads(card: Path) -> None:
    _, head, _ = card.read_text().split("---\n", 2)
    found = yaml.safe_load(head)
    assert (found["license"], found["datasets"], found["metrics"]) == ("mit", ["mnist"], ["accuracy"])
    (result,) = found["model-index"][0]["results"]
    assert result["task"] == {"type": "image-classification"}
    assert result["metrics"] == [{"type": "accuracy", "value": 98.9, "name": "accuracy at 99.72 % sparsity"}]


def test_figures_stand_with_n_and_interval_and_large_networks_are_left_out(card: Path) -> None:
    (line,) = [line for line in card.read_text().splitlines() if line.startswith("| `")]
    assert line == (
        "| `paper_sparsity.safetensors`, from the paper's sparsity | 1,214 (99.72 % sparse) | 99.00 | 98.90 | "
        "99.00 ± 0.10 | 98.75 to 99.25 | 3 |"
    )


def test_its_lines_load_the_network(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = LeNet5()
    save_sparse(card.with_name("paper_sparsity.safetensors"), network.state_dict())
    code = card.read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(card.parent)
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(code.splitlines()) == 3
    assert torch.equal(names["model"].fc1.weight, network.fc1.weight)
