"""`torchrun scripts/train.py`: two processes make the run of one, also killed and resumed, and say things once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsity.pruning.masks import NEGATIVE
from sparsity.weights.checkpoints import load_checkpoint
from tests.rank_processes import free_port
from tests.tiny_runs import TINY_OVERRIDES

REPOSITORY = Path(__file__).resolve().parents[1]
SMOKE = ("scale=smoke", "machine=cpu", "tracking=none", "machine.checkpoint_every_seconds=0", "gate.bound=0")
PHASES = ("regularise.max_steps=48", "regularise.evaluate_every_steps=8", "finetune.max_steps=4")
EXPERIMENTS = {
    "lenet5_mnist": "lenet5",
    "vgg16_imagenet": "vgg",
    "transformer_taskmaster1": "double_transformer",
}

pytestmark = pytest.mark.slow


def words(results: Path, *overrides: str) -> list[str]:
    return ["scripts/train.py", *overrides, f"results_dir={results}"]


def alone(results: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *words(results, *overrides)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


@contextmanager
def torchrun(results: Path, *overrides: str) -> "Iterator[subprocess.Popen[str]]":
    """Two processes; what is left of them at the end of the block is killed."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command = [sys.executable, *launcher, *words(results, *overrides)]
    place: dict[str, Any] = {"cwd": REPOSITORY, "env": os.environ | {"PYTHONPATH": str(REPOSITORY)}}
    with subprocess.Popen(command, **place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as launched:
        try:
            yield launched
        finally:
            for process in (*workers(launched), launched.pid):
                if launched.poll() is None:
                    os.kill(process, signal.SIGKILL)


def workers(launched: "subprocess.Popen[str]") -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(launched.pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def wait_for(launched: "subprocess.Popen[str]", said: str) -> None:
    assert launched.stdout is not None
    assert any(said in line for line in launched.stdout), f"it never said {said}"


def run_of(results: Path) -> Path:
    (directory,) = (path for path in results.glob("runs/*/*/seed0") if path.parents[1].name != "baselines")
    return directory


def read(results: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run_of(results) / name).read_text())
    return content


def masks(results: Path) -> dict[str, Tensor]:
    """Without the signs of what is pruned: a bias whose gradient is zero but for rounding has any."""
    state = load_checkpoint(run_of(results) / "checkpoints/regularise/last.pt")["masks"]
    return {name: mask for name, mask in state.items() if not name.endswith(NEGATIVE)}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_two_processes_that_were_killed_and_one_that_went_on_have_the_masks_of_one(
    tmp_path: Path, experiment: str
) -> None:
    network = f"model._target_=tests.double_nets.{EXPERIMENTS[experiment]}"
    overrides = (f"experiment={experiment}", network, *SMOKE, *PHASES, "baseline.max_steps=16")
    assert alone(tmp_path / "whole", *overrides).returncode == 0
    with torchrun(tmp_path / "cut", *overrides) as launched:
        wait_for(launched, "prunes 2/")
    assert read(tmp_path / "cut", "manifest.json")["status"] == "running"
    assert alone(tmp_path / "cut", *overrides).returncode == 0
    places = tmp_path / "whole", tmp_path / "cut"
    whole, cut = (masks(place) for place in places)
    assert [name for name, mask in whole.items() if not torch.equal(cut[name], mask)] == []
    frontiers = [[point["step"] for point in read(place, "summary.json")["frontier"]] for place in places]
    assert frontiers[0] == frontiers[1] and len(frontiers[0]) > 3
    assert [process["ranks"] for process in read(tmp_path / "cut", "manifest.json")["history"]] == [2]


def test_a_signal_to_torchrun_leaves_a_checkpoint_of_the_step_in_flight(tmp_path: Path) -> None:
    with torchrun(tmp_path, *SMOKE) as launched:
        wait_for(launched, "prunes 1/")
        launched.send_signal(signal.SIGTERM)
        said, _ = launched.communicate(timeout=60)
    assert said.count("SIGTERM: regularise stopped at step ") == 1
    manifest = read(tmp_path, "manifest.json")
    assert (manifest["status"], manifest["reason"]) == ("interrupted", "SIGTERM")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("gate.bund=1", "error: gate.bund is not a setting; did you mean gate.bound?"),
        ("regularise.batch_size=1", "error: 2 processes cannot share a batch of 1 examples: "),
        ("baseline=file baseline.path=none.pt", "error: There is no checkpoint at none.pt; "),
    ],
)
def test_what_is_wrong_is_said_once(tmp_path: Path, override: str, sentence: str) -> None:
    with torchrun(tmp_path, *TINY_OVERRIDES, *override.split()) as launched:
        said, _ = launched.communicate(timeout=120)
    assert said.count("error: ") == 1 and sentence in said
