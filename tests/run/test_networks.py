"""The networks that a run hands on: those that its rows were scored with, and a card that counts them."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sparsity import provenance
from sparsity.report.reading import load_summary
from sparsity.run import pipeline
from sparsity.run.networks import leave_networks
from sparsity.settings import ProtocolSettings
from sparsity.weights.checkpoints import CheckpointError, load_checkpoint
from sparsity.weights.export import load_header, load_sparse
from tests.tiny_runs import NUM_WEIGHTS, TinyNet, TinyRun, tiny_experiment
from tests.tiny_runs import tiny_run as run_tiny


def network(run: TinyRun, start: str) -> Path:
    return run.directory / "networks" / f"{start}.safetensors"


def test_each_row_leaves_the_network_that_it_was_scored_with(tiny_run: TinyRun) -> None:
    for row in tiny_run.summary["rows"]:
        kept = load_checkpoint(tiny_run.directory / f"checkpoints/finetune/{row['start']}/best.pt")["weights"]
        handed_on = load_sparse(network(tiny_run, row["start"]))
        assert list(handed_on) == list(kept)
        assert all(torch.equal(handed_on[name], value) for name, value in kept.items())


def test_the_best_of_all_is_the_checkpoint_that_its_row_names(tmp_path: Path) -> None:
    run = run_tiny(tmp_path, protocol=ProtocolSettings(report="any_phase"))
    (row,) = (row for row in run.summary["rows"] if row["start"] == "best_of_all")
    kept = load_checkpoint(run.directory / f"checkpoints/{row['checkpoint']}.pt")["weights"]
    handed_on = load_sparse(network(run, "best_of_all"))
    assert all(torch.equal(handed_on[name], value) for name, value in kept.items())
    assert sum(int(value.count_nonzero()) for value in handed_on.values()) == row["kept"]


def test_a_network_says_of_which_run_and_row_it_is(tiny_run: TinyRun) -> None:
    summary, (row, _) = tiny_run.summary, tiny_run.summary["rows"]
    header = load_header(network(tiny_run, row["start"]))
    for key in ("experiment", "fingerprint", "seed", "splits"):
        assert header[key] == summary[key]
    for key in ("commit", "versions", "data_checksums"):
        assert header[key] == summary["provenance"][key]
    for key in ("start", "sparsity", "kept", "total"):
        assert header[key] == row[key]
    assert header["metric"] == {"name": "accuracy", "val": row["val"], "test": row["test"], "extra_tests": {}}


def test_the_card_counts_what_the_files_hold(tiny_run: TinyRun) -> None:
    card = json.loads((tiny_run.directory / "card.json").read_text())
    for entry, row in zip(card["networks"], tiny_run.summary["rows"], strict=True):
        content = (tiny_run.directory / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert (entry["start"], entry["kept"], entry["total"]) == (row["start"], row["kept"], row["total"])
        assert sum(layer["kept"] for layer in entry["layers"].values()) == row["kept"]


class Frozen(TinyNet):
    """With factors that are not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.scale.requires_grad_(False)


def test_what_is_frozen_is_handed_on_and_not_counted(tmp_path: Path) -> None:
    experiment = replace(tiny_experiment(tmp_path), build_model=Frozen)
    run = TinyRun(provenance.run_directory(experiment.settings))
    pipeline.run(experiment)
    (entry, _), (row, _) = json.loads((run.directory / "card.json").read_text())["networks"], run.summary["rows"]
    assert (entry["kept"], entry["total"]) == (row["kept"], row["total"]) and row["total"] == NUM_WEIGHTS - 4
    assert torch.equal(load_sparse(network(run, row["start"]))["scale"], torch.ones(4))


def test_a_finished_run_of_earlier_code_leaves_the_same_networks(tiny_run: TinyRun) -> None:
    before = {row["start"]: network(tiny_run, row["start"]).read_bytes() for row in tiny_run.summary["rows"]}
    summary = load_summary(tiny_run.directory)
    rows = tuple(replace(row, checkpoint=None) for row in summary.rows)
    leave_networks(tiny_run.directory, replace(summary, rows=rows), TinyNet, None)
    assert {start: network(tiny_run, start).read_bytes() for start in before} == before


def test_a_row_without_its_checkpoint_is_said(tiny_run: TinyRun, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        leave_networks(tmp_path, load_summary(tiny_run.directory), TinyNet, None)
