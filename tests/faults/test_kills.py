"""However often a run is killed, it ends as one that was not: weights, masks, optimiser, records, bit for bit.

`SPARSITY_KILLS` is the number of kills of the slow test of smoke runs; a method has a twentieth of it.
"""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from sparsity import config
from tests.faults.killed import Chain, chains, differences, preload
from tests.tiny_runs import TINY_OVERRIDES

NUM_KILLS = int(os.environ.get("SPARSITY_KILLS", "200"))
NUM_KILLS_OF_EACH = max(1, NUM_KILLS // 20)  # of each method
PLAIN = (
    *("scale=smoke", "machine=cpu", "machine.num_threads=1", "machine.checkpoint_every_seconds=0", "tracking=none"),
    *("gate.bound=0", "finetune.max_steps=10"),
)
RUNS: dict[str, tuple[str, ...]] = {
    "lenet5_mnist": ("regularise.max_steps=280",),
    "resnet32_cifar10": ("baseline.num_epochs=2", "regularise.max_steps=60"),
    "transformer_taskmaster1": ("baseline.max_steps=30", "regularise.max_steps=60", "task.num_sentences=10"),
}


def killed(words: tuple[str, ...], folder: Path, number: int, most_steps: int, seed: int | str = 0) -> Counter[str]:
    """Where so many kills fell, drawn from a seed, each of a run that ended as the uninterrupted one."""
    whole = Chain(words, folder / "whole", random.Random(0))
    whole.finish()
    fell: Counter[str] = Counter()
    for chain in chains(words, folder, number, random.Random(seed), most_steps=most_steps):
        assert differences(chain.results, whole.results) == [], chain.said()
        fell += chain.kills
    return fell


@pytest.mark.slow  # tests/run/test_resume.py has a kill for the fast suite
def test_a_tiny_run_that_is_killed_ends_as_one_that_is_not(tmp_path: Path) -> None:
    preload()
    words = (*TINY_OVERRIDES, "machine.checkpoint_every_seconds=0", "regularise.max_steps=12")
    fell = killed(words, tmp_path, number=3, most_steps=4)
    assert fell["SIGKILL"] + fell["SIGTERM"] + fell["SIGTERM and SIGKILL"] == 3


@pytest.mark.slow
def test_smoke_runs_that_are_killed_200_times_end_as_those_that_are_not(tmp_path: Path) -> None:
    preload("sparsity.models.transformer", "sparsity.data.text", "datasets", "sklearn.datasets")
    fell: Counter[str] = Counter()
    for number, (experiment, shorter) in enumerate(RUNS.items()):
        share = (NUM_KILLS + number) // len(RUNS)
        words = (*PLAIN, *shorter, f"experiment={experiment}", f"data_dir={tmp_path / experiment}-data")
        fell += killed(words, tmp_path / experiment, share, most_steps=6, seed=experiment)
    print(dict(fell))
    assert 2 * fell["between two evaluations"] >= NUM_KILLS


@pytest.mark.slow
@pytest.mark.parametrize("pruner", sorted(path.stem for path in (config.CONF / "pruner").glob("*.yaml")))
def test_a_run_of_any_method_that_is_killed_ends_as_one_that_is_not(tmp_path: Path, pruner: str) -> None:
    preload("sklearn.datasets")
    words = (*PLAIN, "experiment=lenet5_mnist", f"pruner={pruner}", "regularise.max_steps=100")
    fell = killed((*words, f"data_dir={tmp_path}/data"), tmp_path, NUM_KILLS_OF_EACH, most_steps=10, seed=pruner)
    print(pruner, dict(fell))
