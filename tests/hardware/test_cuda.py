"""On a GPU: do a compiled step and a prune compute what they compute elsewhere? Captured steps: test_capture.py."""

from pathlib import Path

import pytest
import torch

from sparsity.pruning.selection import select_smallest
from sparsity.settings import MachineSettings, PhaseSettings
from tests.tiny_runs import tiny_run

pytestmark = pytest.mark.gpu


def test_a_compiled_step_computes_the_same_update(tmp_path: Path) -> None:
    short = PhaseSettings(num_epochs=1, batch_size=5)
    compiled, plain = (
        tiny_run(tmp_path / compile, regularise=short, machine=MachineSettings("cuda", "fp32", compile=compile)).weights
        for compile in ("all", "none")
    )
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
