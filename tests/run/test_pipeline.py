"""Where a run starts, and that runs with the same start share it: a baseline trained, from a file, or none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsity import provenance
from sparsity.data.images.batches import ImageSplit
from sparsity.data.vision import ImageData
from sparsity.hardware import machine
from sparsity.report.reading import load_summary
from sparsity.run import pipeline
from sparsity.run.experiment import Setup
from sparsity.run.phase import Interrupted
from sparsity.settings import BaselineSettings, FinetuneSettings, GateSettings
from sparsity.weights.checkpoints import CheckpointError, load_checkpoint
from tests.pruners import pruner
from tests.tiny_runs import TinyNet, TinyRun, tiny_data, tiny_experiment, tiny_run, tiny_settings

TRAINED = BaselineSettings(source="train", num_epochs=2, batch_size=5, evaluate_every_steps=4)
L2 = pruner("l2", 1e-1)


def baseline_of(results: Path, **changes: Any) -> Path:
    return provenance.baseline_directory(tiny_settings(results, **changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run that trained its baseline; for reading only."""
    return tiny_run(tmp_path_factory.mktemp("trained"), baseline=TRAINED)


@pytest.fixture(scope="module")
def scored(trained: TinyRun) -> Path:
    """The checkpoint of that baseline."""
    return baseline_of(trained.directory.parents[3], baseline=TRAINED) / "checkpoints" / "baseline" / "scored.pt"


def from_file(results: Path, path: Path, **changes: Any) -> TinyRun:
    return tiny_run(results, baseline=BaselineSettings(source="file", path=str(path), **changes))


def test_a_trained_baseline_is_measured_and_says_what_it_saw(trained: TinyRun, scored: Path) -> None:
    baseline = trained.summary["baseline"]
    assert (baseline["source"], baseline["num_epochs"], baseline["saw"]) == ("train", 2, ["tiny/train"])
    assert baseline["val"] == load_checkpoint(scored.parent / "last.pt")["progress"]["best_metric"]
    assert 0 <= baseline["test"] <= 100
    assert [row["global_step"] for row in trained.rows("step")] == list(range(17, 49)), "behind those of the baseline"


def test_a_baseline_is_trained_without_the_penalty(scored: Path) -> None:
    lines = (scored.parents[2] / "metrics.jsonl").read_text().splitlines()
    assert lines and not any("penalty/" in name for line in lines for name in json.loads(line))


def test_pruners_share_the_baseline_and_train_it_once(tmp_path: Path) -> None:
    first = tiny_run(tmp_path, baseline=TRAINED)
    folder = baseline_of(tmp_path, baseline=TRAINED)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    second = tiny_run(tmp_path, baseline=TRAINED, pruner=L2)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before
    assert first.directory != second.directory
    assert first.summary["baseline"] == second.summary["baseline"]
    assert list((tmp_path / "runs" / "baselines").iterdir()) == [folder.parent]


def test_a_baseline_that_was_trained_on_other_data_of_the_same_name_starts_no_run(tmp_path: Path) -> None:
    tiny_run(tmp_path, baseline=TRAINED)

    def changed() -> ImageData:
        data = tiny_data()
        return replace(data, val=replace(data.val, labels=1 - data.val.labels))

    with pytest.raises(CheckpointError, match=r"val are other examples now; .*, or remove \S+/baselines/\S+/seed0 to"):
        pipeline.run(replace(tiny_experiment(tmp_path, baseline=TRAINED, pruner=L2), build_data=changed))


def test_the_regularised_phase_starts_from_the_baseline(scored: Path, tmp_path: Path) -> None:
    still = replace(tiny_settings(tmp_path).regularise, num_epochs=0)
    none = replace(tiny_settings(tmp_path).finetune, num_epochs=0)
    start = BaselineSettings(source="file", path=str(scored))
    run = tiny_run(tmp_path, baseline=start, regularise=still, finetune=none)
    there = load_checkpoint(scored)["weights"]
    here = load_checkpoint(run.directory / "checkpoints" / "regularise" / "last_network.pt")["weights"]
    assert all(torch.equal(there[name], here[name]) for name in there)
    assert [(row["epoch"], row["num_epochs"]) for row in run.summary["rows"]] == [(0, 0)], "none was trained"


def test_without_a_baseline_training_starts_from_the_seed_alone(tmp_path: Path) -> None:
    def start(**changes: Any) -> torch.Tensor:
        phase = replace(tiny_settings(tmp_path).regularise, num_epochs=0)
        run = tiny_run(tmp_path, regularise=phase, **changes)
        weights: dict[str, torch.Tensor] = load_checkpoint(
            run.directory / "checkpoints" / "regularise" / "last_network.pt"
        )["weights"]
        return weights["fc1.weight"]

    assert torch.equal(start(), start(pruner=L2))
    assert not torch.equal(start(), start(seed=1))


def test_a_checkpoint_of_ones_own_serves_as_baseline(trained: TinyRun, scored: Path, tmp_path: Path) -> None:
    baseline = from_file(tmp_path, scored).summary["baseline"]
    assert baseline == trained.summary["baseline"] | {
        "source": "file",
        "checkpoint": scored.name,
        "num_epochs": 0,
        "seconds": 0.0,
    }


@pytest.mark.parametrize("saw", [["tiny/train", "tiny/val"], ["another/train"], None])
def test_a_checkpoint_that_may_have_seen_the_validation_data_is_refused(
    scored: Path, tmp_path: Path, saw: list[str] | None
) -> None:
    path = tmp_path / "model.pt"
    torch.save(load_checkpoint(scored) | {"saw": saw}, path)
    with pytest.raises(ValueError) as caught:
        from_file(tmp_path, path)
    seen = ", ".join(saw or ["unknown data"])
    assert str(caught.value) == (
        f"{path} was trained on {seen}, so tiny/val may be contaminated and cannot gate it; "
        "it should have seen tiny/train only: set baseline.allow_contaminated=true to go on."
    )


def test_a_contaminated_checkpoint_is_taken_where_that_is_allowed(scored: Path, tmp_path: Path) -> None:
    torch.save(load_checkpoint(scored)["weights"], tmp_path / "weights.pt")
    baseline = from_file(tmp_path, tmp_path / "weights.pt", allow_contaminated=True).summary["baseline"]
    assert (baseline["source"], baseline["saw"]) == ("file", None)


@pytest.mark.parametrize(
    "content",
    [
        {"weights": torch.nn.Linear(16, 3).state_dict()},
        {"weights": TinyNet().state_dict() | {"fc1.weight": torch.zeros(3, 16)}},
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(
        CheckpointError, match=r"is a checkpoint of another model: .* give a checkpoint of this model\."
    ):
        from_file(tmp_path, path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        from_file(tmp_path, path)


def test_a_file_that_is_changed_while_a_run_begins_is_not_taken_for_the_one_it_was(
    scored: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(scored.read_bytes())
    experiment = tiny_experiment(tmp_path, baseline=BaselineSettings(source="file", path=str(path)))

    def slow_data() -> ImageData:
        """Meanwhile somebody exports another network under the same name."""
        torch.save(load_checkpoint(scored) | {"note": "another"}, path)
        return tiny_data()

    with pytest.raises(ValueError, match=r"model\.pt was changed while this run began; start it again"):
        pipeline.run(replace(experiment, build_data=slow_data))


def test_a_run_ends_as_the_one_it_began_as_even_if_the_file_it_started_from_is_gone_by_then(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(scored.read_bytes())
    regularise = pipeline.regularise_and_prune

    def without_file(*arguments: Any) -> Any:
        path.unlink()
        return regularise(*arguments)

    monkeypatch.setattr(pipeline, "regularise_and_prune", without_file)
    start = BaselineSettings(source="file", path=str(path))
    summary = pipeline.run(tiny_experiment(tmp_path, baseline=start))
    assert summary.settings and summary.settings["baseline.sha256"]
    assert summary.fingerprint == provenance.digest(summary.settings)


class NormedNet(TinyNet):
    """TinyNet with a batch norm before it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(self.norm(images))


def test_a_checkpoint_without_the_counters_of_its_batch_norms_serves(tmp_path: Path) -> None:
    weights = {name: value for name, value in NormedNet().state_dict().items() if "num_batches" not in name}
    torch.save({"weights": weights, "saw": ["tiny/train"]}, tmp_path / "model.pt")
    start = BaselineSettings(source="file", path=str(tmp_path / "model.pt"))
    summary = pipeline.run(replace(tiny_experiment(tmp_path, baseline=start), build_model=NormedNet))
    assert summary.baseline.checkpoint == "model.pt"


def test_a_baseline_below_the_bound_moves_the_gate(tmp_path: Path, scored: Path) -> None:
    gate = replace(tiny_settings(tmp_path).gate, bound=100.0, policy="fallback", margin=1.0)
    run = tiny_run(tmp_path, baseline=BaselineSettings(source="file", path=str(scored)), gate=gate)
    assert run.summary["gate"]["bound_used"] == run.summary["baseline"]["val"] - 1.0


def test_test_data_is_scored_once_for_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    evaluate = Setup.evaluate

    def watched(self: Setup, model: torch.nn.Module, split: ImageSplit) -> dict[str, torch.Tensor]:
        seen.append(split.identity)
        return evaluate(self, model, split)

    monkeypatch.setattr(Setup, "evaluate", watched)
    tiny_run(tmp_path, baseline=TRAINED)
    assert seen.count("tiny/test") == 3  # the baseline and two rows


def test_the_order_of_the_data_and_dropout_follow_the_seed_of_the_run_and_the_kind_of_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders, streams = [], []
    batches, seed_everything = ImageData.training_batches, machine.seed_everything

    def ordered(self: ImageData, batch_size: int, seed: int, kind: str) -> Any:
        orders.append((seed, kind))
        return batches(self, batch_size, seed, kind)

    def seeded(seed: int, purpose: str) -> None:
        streams.append((seed, purpose))
        seed_everything(seed, purpose)

    monkeypatch.setattr(ImageData, "training_batches", ordered)
    monkeypatch.setattr(machine, "seed_everything", seeded)
    tiny_run(
        tmp_path, seed=3, baseline=TRAINED, finetune=FinetuneSettings(num_epochs=1, batch_size=5, start_from=["last"])
    )
    phases = [(3, "baseline"), (3, "regularise"), (3, "finetune")]
    assert orders == streams == phases + phases, "each is put together before the first begins"


@pytest.mark.parametrize(
    "gate",
    [
        GateSettings(bound=0.0, target_sparsity=0.45, policy="printed"),
        GateSettings(bound=100.0, policy="fallback", margin=20.0),  # it falls back at the third evaluation
        GateSettings(bound=100.0, policy="printed"),  # by the fourth an alarm says that nothing goes
    ],
)
def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_been(gate: GateSettings, tmp_path: Path) -> None:
    experiment, whole = tiny_experiment(tmp_path, gate=gate), tiny_run(tmp_path / "whole", gate=gate)
    for number in (3, 5):
        with pytest.raises(Interrupted):
            pipeline.run(experiment, interrupt_after=number)
    summary, expected = pipeline.run(experiment), load_summary(whole.directory)
    assert replace(summary, cost=None, provenance=expected.provenance) == replace(expected, cost=None)


def test_a_run_that_failed_says_so_in_its_manifest(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, baseline=BaselineSettings(source="published"))
    with pytest.raises(ValueError):
        pipeline.run(tiny_experiment(tmp_path, baseline=settings.baseline))
    state, reason = provenance.state_of(provenance.run_directory(settings))
    assert state == "failed"
    assert reason.startswith("ValueError: No published checkpoint is known")
