"""The checks of a GPU find what they are made for: on a CPU, with recorded and with failing graphs."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from sparsity import config, selfcheck
from sparsity.data.texts import seq2seq
from sparsity.hardware import driver, gpu
from sparsity.run.experiment import on_machine
from sparsity.run.phase import Phase
from sparsity.run.workspace import Workspace
from sparsity.settings import OptimizerSettings, PhaseSettings
from sparsity.training import loop, translation
from sparsity.training.beam_search import Search, beam_search
from sparsity.training.loop import Trainer
from tests.recorded_graph import RecordedGraph
from tests.test_capture import assert_same, replace_graphs
from tests.tiny_runs import TINY_OVERRIDES, TinyNet, tiny_experiment

TWICE = "eight steps with a prune give the same bits twice"
CAPTURED = "eight captured steps with a prune give the bits of eager ones"
EVALUATED = "an evaluation gives what it gave eagerly, before and after a change of weights"
RESUMED = "a run that was saved goes on with the same bits, whatever layout its file has"
STOPPED = "a loss that is not a number stops every update"
SEARCHED = "a batch of the beam search fits in which no sentence ends"

Check = Callable[..., None]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Check a tiny experiment on this machine, with recorded operations as its graphs."""
    replace_graphs(monkeypatch)

    def run(eagerly: bool, build_model: Callable[[], nn.Module] = TinyNet) -> None:
        regularise = PhaseSettings(batch_size=5, evaluate_every_steps=2, optimizer=OptimizerSettings("adam", 1e-2))
        experiment = tiny_experiment(tmp_path, regularise=regularise)
        selfcheck.check(*on_machine(replace(experiment, build_model=build_model)), eagerly)

    return run


class Refused(RecordedGraph[Any]):
    """A capture that fails."""

    def __call__(self) -> Any:
        if self._num_eager == 0:
            raise RuntimeError("operation not permitted when stream is capturing\nand a long story")
        return super().__call__()


class Stale(RecordedGraph[Any]):
    """A graph that misses every change since its capture."""

    def __call__(self) -> Any:
        if self._recorder is not None:
            return self._result
        return super().__call__()


class StaleWhereObserved(RecordedGraph[Any]):
    """A graph that fails where a step is observed, which is the second of a trainer's two."""

    numbers = count()

    def __init__(self, act: Callable[[], Any], *num_eager: int) -> None:
        super().__init__(act, *num_eager)
        self._is_stale = next(self.numbers) % 2 == 1

    def __call__(self) -> Any:
        return self._result if self._is_stale and self._recorder is not None else super().__call__()


def test_where_all_is_well_each_check_is_named_and_none_fails(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    check(eagerly=False)
    captured = capsys.readouterr().out.splitlines()
    check(eagerly=True)
    eager = capsys.readouterr().out.splitlines()
    assert {TWICE, CAPTURED, EVALUATED, RESUMED, STOPPED, SEARCHED} <= set(captured)
    assert eager == [line for line in captured if line != CAPTURED]


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (Refused, "RuntimeError: operation not permitted when stream is capturing"),
        (Stale, "ArithmeticError: weights .* differs"),
        (StaleWhereObserved, "ArithmeticError: .* differs"),
    ],
)
def test_a_capture_that_fails_or_computes_something_else_is_found_and_eager_steps_are_not_blamed(
    check: Check, monkeypatch: pytest.MonkeyPatch, graph: type[RecordedGraph[Any]], reason: str
) -> None:
    monkeypatch.setattr(loop, "Replay", graph)
    with pytest.raises(ValueError, match=rf'the check "{CAPTURED}" failed \({reason}\)'):
        check(eagerly=False)
    check(eagerly=True)


@pytest.mark.parametrize("graph", [Refused, Stale])
def test_an_evaluation_that_misses_a_change_of_weights_is_found(
    check: Check, monkeypatch: pytest.MonkeyPatch, graph: type[RecordedGraph[Any]]
) -> None:
    monkeypatch.setattr("sparsity.run.experiment.Replay", graph)
    with pytest.raises(ValueError, match=EVALUATED):
        check(eagerly=False)
    check(eagerly=True)


class Unsteady(TinyNet):
    """Gives other values at every call."""

    calls = count()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (1 + 1e-3 * next(self.calls))


def test_steps_that_are_not_the_same_twice_are_found(check: Check) -> None:
    with pytest.raises(ValueError, match=TWICE):
        check(eagerly=True, build_model=Unsteady)


@pytest.mark.parametrize("eagerly", [False, True])
def test_training_that_goes_on_with_nan_is_found(check: Check, monkeypatch: pytest.MonkeyPatch, eagerly: bool) -> None:
    monkeypatch.setattr(Trainer, "_watch", lambda trainer, loss: None)
    with pytest.raises(ValueError, match=STOPPED):
        check(eagerly)


def test_no_more_than_two_phases_are_held_at_a_time(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, made, alive = selfcheck.begun, list[weakref.ref[Phase]](), list[int]()

    def counted(work: Workspace) -> Phase:
        alive.append(sum(phase() is not None for phase in made))
        phase = begun(work)
        made.append(weakref.ref(phase))
        return phase

    monkeypatch.setattr(selfcheck, "begun", counted)
    gc.disable()  # what frees cycles, on a GPU too late
    try:
        check(eagerly=True)
    finally:
        gc.enable()
    assert len(alive) == 5 and max(alive) == 1


class Convolving(nn.Module):
    """A convolution whose weights lie in two ways in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(1, 3, 2), nn.Conv2d(3, 4, 2), nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv2(torch.relu(self.conv1(images))).flatten(1))
        return scores


def test_moments_that_keep_the_layout_of_another_machine_are_found(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(eagerly=True, build_model=Convolving)
    monkeypatch.setattr(Trainer, "_lay_out_moments", lambda trainer: None)
    with pytest.raises(ValueError, match=RESUMED):
        check(eagerly=True, build_model=Convolving)


TRANSLATION = (
    *("experiment=transformer_wmt14", "scale=smoke", "machine=cpu", "tracking=none", "task.max_length=6"),
    *("model.width=16", "model.ffn_width=16", "model.num_heads=2", "model.vocabulary_size=512"),
)


@pytest.fixture(scope="module")
def translating(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tiny Transformer on the embedded texts."""
    experiment, device = on_machine(config.build(config.compose(list(TRANSLATION))))
    return selfcheck.workspace(experiment, device, tmp_path_factory.mktemp("translating"))


def test_the_beam_search_that_has_to_fit_is_of_the_largest_batch_and_never_ends_early(
    translating: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Tensor] = []

    def searched(*arguments: Any) -> Tensor:
        found.append(beam_search(*arguments))
        return found[-1]

    monkeypatch.setattr(translation, "beam_search", searched)
    monkeypatch.setattr(seq2seq, "EVALUATION_TOKENS", 256)  # so that there are batches of several sizes
    phase = selfcheck.begun(translating)
    phase.model.final_logits_bias[:, 2] = 1e3  # type: ignore[operator]
    before = {name: value.clone() for name, value in phase.model.state_dict().items()}
    selfcheck.search_to_the_end(translating, phase)
    data = translating.data
    sizes = [len(places) for places, *_ in data.evaluation_batches(data.test)]
    (texts,) = found
    assert texts.shape == (max(sizes), 6) and min(sizes) < max(sizes) and not (texts[:, 1:-1] == 2).any()
    assert_same(before, phase.model.state_dict())


def test_a_beam_search_that_does_not_fit_is_a_sentence(translating: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(weights: Any, encoded: Tensor, mask: Tensor, search: Search) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(translation, "beam_search", full)
    phase = selfcheck.begun(translating)
    sentence = r"fits .* failed \(OutOfMemoryError: CUDA out of memory"
    with pytest.raises(ValueError, match=sentence), selfcheck.checking(SEARCHED):
        selfcheck.search_to_the_end(translating, phase)


def test_the_checks_of_a_run_read_its_settings_and_need_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config.compose(["experiment=lenet5_mnist", *TINY_OVERRIDES, f"results_dir={tmp_path}"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(asdict(settings)))
    selfcheck.main(["--run", str(tmp_path), "--eagerly"])
    assert STOPPED in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.parametrize("experiment", ["lenet5_mnist", "transformer_wmt14"])
def test_this_gpu_passes_its_checks_with_captured_steps(tmp_path: Path, experiment: str) -> None:
    settings = config.compose([f"experiment={experiment}", "scale=smoke", "machine=cuda"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(asdict(settings)))
    assert gpu.examine(tmp_path, capture=True) == gpu.Finding(capture=True)


def test_our_own_data_are_generated_for_the_checks_and_foreign_ones_are_taken_as_they_are(tmp_path: Path) -> None:
    ours = config.compose(["experiment=vgg16_imagenet", "scale=paper"])
    foreign = tiny_experiment(tmp_path).settings
    assert selfcheck.generated(ours).dataset == {**ours.dataset, "source": "generated"}
    assert selfcheck.generated(foreign).dataset == foreign.dataset


def test_a_machine_without_a_gpu_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "obstacle", lambda: driver.ABSENT)
    with pytest.raises(SystemExit) as caught:
        selfcheck.main([])
    assert caught.value.code == "error: No GPU can be checked: there is no CUDA GPU."


def test_each_experiment_gets_its_line_and_one_that_cannot_be_run_counts(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"a": gpu.Finding(True), "b": gpu.Finding(False, "no capture")}

    def examined(name: str) -> gpu.Finding:
        if name not in found:
            raise ValueError("no kernel")
        return found[name]

    assert selfcheck.check_experiments(["a", "b", "c"], examined) == 1
    assert capsys.readouterr().out.splitlines() == [
        "a: all checks passed",
        "b: steps run eagerly instead of as CUDA graphs: no capture",
        "c: cannot be run: no kernel",
    ]
