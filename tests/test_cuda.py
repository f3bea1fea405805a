"""On a GPU: does a captured step compute what an eager one does, and does a run end the same however it is cut?"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsity import pipeline, provenance
from sparsity.phase import Interrupted
from sparsity.pruning.selection import select_smallest
from sparsity.settings import MachineSettings, OptimizerSettings, PenaltySettings, PhaseSettings, PrunerSettings
from sparsity.training.checkpoints import load_checkpoint
from tests.tiny_runs import tiny_experiment

pytestmark = pytest.mark.gpu

PHASE: dict[str, Any] = {"num_epochs": 6, "batch_size": 5, "evaluate_every_steps": 4}
OPTIMIZERS = [
    pytest.param(OptimizerSettings("adam", 1e-2), id="adam"),
    pytest.param(OptimizerSettings("sgd", 1e-1, momentum=0.9), id="momentum"),
]


def final_network(results: Path, **changes: Any) -> dict[str, Tensor]:
    """The weights at the end of a tiny run on the GPU."""
    machine = {"capture": changes.pop("capture", True), "compile": changes.pop("compile", "none")}
    settings = {"machine": MachineSettings("cuda", checkpoint_every_seconds=0.0, **machine)} | changes
    cut_after = settings.pop("cut_after", None)
    experiment = tiny_experiment(results, **settings)
    if cut_after is not None:
        with pytest.raises(Interrupted):
            pipeline.run(experiment, interrupt_after=cut_after)
    pipeline.run(experiment)
    directory = provenance.run_directory(experiment.settings)
    weights: dict[str, Tensor] = load_checkpoint(directory / "checkpoints/finetune/last/best.pt")["weights"]
    return weights


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("decoupled", [False, True])
def test_a_captured_run_equals_an_eager_one_bit_for_bit(
    tmp_path: Path, optimizer: OptimizerSettings, decoupled: bool
) -> None:
    changes = {
        "regularise": PhaseSettings(**PHASE, optimizer=optimizer),
        "pruner": PrunerSettings("relevance", True, PenaltySettings("relevance", 1e-2, decoupled=decoupled)),
    }
    captured = final_network(tmp_path / "captured", **changes)
    assert_same(captured, final_network(tmp_path / "eager", capture=False, **changes))
    assert any((weight == 0).any() for weight in captured.values())


def test_a_run_that_was_cut_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole = final_network(tmp_path / "whole", regularise=PhaseSettings(**PHASE))
    assert_same(whole, final_network(tmp_path / "cut", regularise=PhaseSettings(**PHASE), cut_after=3))


def test_accumulation_can_be_captured(tmp_path: Path) -> None:
    accumulated = PhaseSettings(**(PHASE | {"batch_size": 10, "micro_batches": 2}))
    captured = final_network(tmp_path / "captured", regularise=accumulated)
    assert_same(captured, final_network(tmp_path / "eager", capture=False, regularise=accumulated))


def test_a_compiled_step_computes_the_same_update(tmp_path: Path) -> None:
    short = PhaseSettings(**(PHASE | {"num_epochs": 1, "evaluate_every_steps": None}))
    compiled = final_network(tmp_path / "compiled", compile="all", regularise=short)
    plain = final_network(tmp_path / "plain", regularise=short)
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=1e-4, atol=1e-5)


def test_a_gpu_prunes_the_same_weights_as_a_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.randint(0, 50, (3000,), generator=generator).float() for name in ("a", "b")}
    kept = {name: torch.rand(3000, generator=generator) > 0.3 for name in scores}
    ours = select_smallest(
        {name: score.cuda() for name, score in scores.items()}, {n: k.cuda() for n, k in kept.items()}, 1234
    )
    for name, keep in select_smallest(scores, kept, 1234).items():
        assert torch.equal(ours[name].cpu(), keep)
