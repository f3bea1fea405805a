"""Does a captured step compute what an eager one does? On a GPU as CUDA graphs, elsewhere as recorded operations."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsity import config
from sparsity.pruning import selection
from sparsity.pruning.summary import IrrelevanceProbe
from sparsity.run import pipeline
from sparsity.run.experiment import Setup
from sparsity.run.manifest import Manifest
from sparsity.run.phase import Interrupted
from sparsity.run.plan import make_plan
from sparsity.run.workspace import Workspace
from sparsity.settings import (
    LrScheduleSettings,
    MachineSettings,
    OptimizerSettings,
    PhaseSettings,
    PrunerSettings,
)
from sparsity.tracking.record import JsonlWriter
from sparsity.tracking.writers import Mirrors
from sparsity.training import loop
from sparsity.training.execution import Execution
from tests.pruners import GATES, NOISE, own, pruner
from tests.recorded_graph import RecordedGraph, Recorder
from tests.tiny_runs import tiny_run

COSINE = LrScheduleSettings("cosine")
PHASE: dict[str, Any] = {"num_epochs": 3, "batch_size": 5, "evaluate_every_steps": 8, "lr_schedule": COSINE}
ADAM, MOMENTUM = OptimizerSettings("adam", 1e-2), OptimizerSettings("sgd", 1e-1, momentum=0.9)
EXACT = ("machine=cpu", "machine.precision=fp32")
FinalNetwork = Callable[..., dict[str, Tensor]]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def final_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FinalNetwork:
    """Run something tiny to its end, `capture` or not, and give its weights."""
    device: str = request.param
    if device == "cpu":
        replace_graphs(monkeypatch)

    def run(results: Path, capture: bool = True, **changes: Any) -> dict[str, Tensor]:
        machine = MachineSettings(device, checkpoint_every_seconds=0.0, capture=capture)
        return tiny_run(results, machine=machine, **changes).weights

    return run


def replace_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have runs on a CPU captured too, by the stand-in; what skips work on a CPU alone must not."""

    def execution(self: Setup) -> Execution:
        return Execution(capture=self.settings.machine.capture)

    monkeypatch.setattr(Setup, "execution", property(execution))
    monkeypatch.setattr(loop, "Replay", RecordedGraph)
    monkeypatch.setattr("sparsity.run.experiment.Replay", RecordedGraph)
    monkeypatch.setattr(selection, "QUICK_DEVICES", ())


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(
    ("optimizer", "method"),
    [
        pytest.param(ADAM, pruner("relevance", 1e-2), id="relevance-adam"),
        pytest.param(MOMENTUM, pruner("relevance", 1e-2, decoupled=True), id="decoupled-momentum"),
        pytest.param(MOMENTUM, pruner("lobster", 1e-2), id="lobster-momentum"),
        pytest.param(ADAM, own("targeted_dropout", gamma=0.5, alpha=0.5), id="targeted-dropout"),
        pytest.param(ADAM, own("targeted_dropout", gamma=0.5, alpha=0.5, ramps=True), id="ramping-targeted-dropout"),
        pytest.param(MOMENTUM, own("dns"), id="dns-momentum"),
        pytest.param(MOMENTUM, pruner("sensitivity", 1e-2), id="sensitivity-momentum"),
        pytest.param(ADAM, own("movement"), id="movement-adam"),
        pytest.param(ADAM, own("sws", tau=1e-2, precision_rate=0.1), id="sws-adam"),
        pytest.param(ADAM, GATES, id="l0"),
        pytest.param(MOMENTUM, NOISE, id="sparse-vd"),
    ],
)
def test_a_captured_run_equals_an_eager_one_bit_for_bit(
    final_network: FinalNetwork, tmp_path: Path, optimizer: OptimizerSettings, method: PrunerSettings
) -> None:
    changes = {
        "regularise": PhaseSettings(**PHASE, optimizer=optimizer),
        "pruner": method,
    }
    captured = final_network(tmp_path / "captured", **changes)
    assert_same(captured, final_network(tmp_path / "eager", capture=False, **changes))
    assert any((weight == 0).any() for weight in captured.values())


def test_a_run_that_was_cut_ends_like_one_that_was_not(
    final_network: FinalNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = final_network(tmp_path / "whole", regularise=PhaseSettings(**PHASE))
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(pipeline, "run", partial(pipeline.run, interrupt_after=2))
        final_network(tmp_path / "cut", regularise=PhaseSettings(**PHASE))
    assert_same(whole, final_network(tmp_path / "cut", regularise=PhaseSettings(**PHASE)))


def test_accumulation_can_be_captured(final_network: FinalNetwork, tmp_path: Path) -> None:
    accumulated = PhaseSettings(**(PHASE | {"batch_size": 10, "micro_batches": 2}))
    captured = final_network(tmp_path / "captured", regularise=accumulated)
    assert_same(captured, final_network(tmp_path / "eager", capture=False, regularise=accumulated))


def test_the_steps_before_evaluations_are_replayed_too_and_observe_what_eager_ones_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace_graphs(monkeypatch)
    observe, num_observed = IrrelevanceProbe.observe, 0

    def counted(self: IrrelevanceProbe, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        nonlocal num_observed
        num_observed += 1
        observe(self, parameters, gradients)

    monkeypatch.setattr(IrrelevanceProbe, "observe", counted)
    figures = {}
    for capture in (False, True):
        num_observed = 0
        run = tiny_run(tmp_path / str(capture), machine=MachineSettings("cpu", capture=capture))
        figures[capture] = [irrelevances(row) for row in run.rows("evaluation")]
    # of the first phase's 8: three before the graph and the one of its recording; the final ones are evaluated once
    assert (len(figures[True]), num_observed) == (8 + 1 + 1, 4 + 1 + 1)
    assert figures[True] == figures[False] and all(figures[True])


def irrelevances(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.startswith("irrelevance/")}


@pytest.mark.parametrize("experiment", ["lenet5_mnist", "resnet32_cifar10"])
def test_neither_a_step_nor_an_evaluation_takes_anything_from_the_host(
    monkeypatch: pytest.MonkeyPatch, experiment: str, tmp_path: Path
) -> None:
    """Tensors on `meta` have no values to ask for, and what crosses between it and the CPU would cross to a GPU."""

    def plain_sgd(settings: OptimizerSettings, parameters: list[Tensor], *others: Any) -> Optimizer:
        return torch.optim.SGD(parameters, lr=settings.lr)  # the fused ones are not made for `meta`

    monkeypatch.setattr(loop, "build_optimizer", plain_sgd)
    settings = config.compose([f"experiment={experiment}", "scale=smoke", f"results_dir={tmp_path}", *EXACT])
    built, device = config.build(settings), torch.device("meta")
    data = built.load(device)
    plan = make_plan(settings, len(data.train))
    with JsonlWriter(tmp_path / "metrics.jsonl", 1) as log:
        work = Workspace(built, device, data, tmp_path, {}, Manifest(tmp_path, "", ""), {}, plan, log, Mirrors())
        phase = work.phase("regularise", settings.regularise, 0, is_regularised=True)
        train_step, observed_step = phase.trainer.train_step, partial(phase.trainer.train_step, observe=True)
        for act in (train_step, observed_step, partial(work.evaluate, phase.model, data.val)):
            act()
            with Recorder() as recorder:
                act()
            assert recorder.operations
