"""What a finished run leaves behind: the files that reports read, in accord with each other and the checkpoints."""

import csv
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from sparsity import provenance
from sparsity.data.vision import ImageData
from sparsity.pruning.masks import NEGATIVE, unpack_bits
from sparsity.report.reading import load_run
from sparsity.run import pipeline
from sparsity.run.experiment import Setup
from sparsity.run.stopping import Stopped
from sparsity.settings import BaselineSettings, GateSettings, ProtocolSettings, ScheduleSettings
from sparsity.training.loop import Trainer
from sparsity.training.tasks import Batch, Classification
from sparsity.weights.checkpoints import load_checkpoint
from tests import tiny_runs
from tests.tiny_runs import NUM_WEIGHTS, TinyNet, TinyRun, tiny_data, tiny_experiment

SHAPES = {name: parameter.shape for name, parameter in TinyNet().named_parameters()}


def kept_in(path: Path) -> dict[str, torch.Tensor]:
    """The masks of a checkpoint, True = kept."""
    masks = load_checkpoint(path)["masks"]
    return {name: unpack_bits(bits, SHAPES[name]) for name, bits in masks.items() if not name.endswith(NEGATIVE)}


def layers(run: TinyRun) -> list[dict[str, str]]:
    with (run.directory / "layers.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_run_returns_is_what_reports_read(tmp_path: Path) -> None:
    experiment = tiny_experiment(tmp_path)
    returned = pipeline.run(experiment)
    assert returned == load_run(provenance.run_directory(experiment.settings)).summary


def test_the_report_room_reads_what_the_pipeline_writes(tiny_run: TinyRun) -> None:
    run = load_run(tiny_run.directory)
    assert [row.start for row in run.summary.rows] == ["paper_sparsity", "last"]
    assert len(run.layers) == 2 * len(SHAPES)
    assert [point.pruned for point in run.curve] == 8 * [True] + 2 * [False]


def test_the_summary_says_what_was_run_on_what(tiny_run: TinyRun) -> None:
    summary = tiny_run.summary
    keys = ("schema", "experiment", "data_name", "pruner", "protocol", "scale", "seed")
    assert [summary[key] for key in keys] == [1, "tiny", "tiny", "relevance", "mixed", "paper", 0]
    assert summary["departures"] == ["gate.policy"], "a bound that never falls back"
    assert summary["paper"] == {"metric": 99.0, "sparsity": 0.45, "baseline": 98.0}
    unknown = dict.fromkeys(("checkpoint", "val", "test"))
    started = {"source": "none", "num_epochs": 0, "saw": [], "chosen_on": [], "seconds": 0.0}
    assert summary["baseline"] == started | unknown
    assert (summary["plan"]["prunes_needed"], summary["plan"]["reachable"]) == (3, True)
    assert summary["provenance"]["data_checksums"] == {"images": "d41d8"}


def test_of_a_sound_run_the_summary_names_no_departure(tmp_path: Path) -> None:
    summary = tiny_runs.tiny_run(tmp_path, gate=GateSettings(bound=0.0)).summary
    assert (summary["protocol"], summary["departures"]) == ("sound", [])


def test_the_summary_holds_the_settings_that_its_fingerprint_digests(tiny_run: TinyRun) -> None:
    settings = tiny_run.summary["settings"]
    assert settings["pruner.penalty.strength"] == 1e-2
    assert settings["gate.target_sparsity"] == 0.45
    assert "machine.device" not in settings and "experiment" not in settings


def test_the_summary_averages_the_irrelevance_of_each_layer_over_the_regularised_phase(tiny_run: TinyRun) -> None:
    rows = [row for row in tiny_run.rows("evaluation") if row["phase"] == "regularise"]
    for figure in ("mean", "below_0.99"):
        key = f"irrelevance/layer/fc1.weight/{figure}"
        values = [row[key] for row in rows if key in row]
        expected = sum(values) / len(values)
        assert tiny_run.summary["irrelevance"]["fc1.weight"][figure] == pytest.approx(expected, abs=1e-6)


def test_a_row_counts_what_the_masks_of_its_checkpoint_keep(tiny_run: TinyRun) -> None:
    for row in tiny_run.summary["rows"]:
        kept = kept_in(tiny_run.directory / "checkpoints" / "finetune" / row["start"] / "best.pt")
        assert sum(int(mask.sum()) for mask in kept.values()) == row["kept"]
        assert row["total"] == NUM_WEIGHTS
        assert row["sparsity"] == pytest.approx(1 - row["kept"] / NUM_WEIGHTS)
        assert row["compression"] == pytest.approx(NUM_WEIGHTS / row["kept"])


def test_a_network_that_has_lost_every_weight_is_a_result_too(tmp_path: Path) -> None:
    row = tiny_runs.tiny_run(tmp_path, schedule=ScheduleSettings(1.0)).summary["rows"][-1]
    assert (row["kept"], row["sparsity"], row["compression"]) == (0, 1.0, NUM_WEIGHTS)


def test_further_test_sets_are_scored_beside_the_test_set(tmp_path: Path) -> None:
    def with_extra() -> ImageData:
        data = tiny_data()
        return replace(data, extra_tests={"again": data.test})

    summary = pipeline.run(replace(tiny_experiment(tmp_path), build_data=with_extra))
    assert [row.extra_tests for row in summary.rows] == [{"again": row.test} for row in summary.rows]


def test_the_files_that_a_network_cannot_be_used_without_stand_beside_it(tmp_path: Path) -> None:
    class Furnished(ImageData):
        artifacts: ClassVar = {"tokenizer.json": tmp_path / "cached.json"}

    (tmp_path / "cached.json").write_text("{}")
    data = tiny_data()
    parts: dict[str, Any] = {field.name: getattr(data, field.name) for field in fields(data)}
    furnished: Any = Furnished(**parts)
    experiment = replace(tiny_experiment(tmp_path), build_data=lambda: furnished)
    pipeline.run(experiment)
    assert (provenance.run_directory(experiment.settings) / "tokenizer.json").read_text() == "{}"


def test_the_layers_add_up_to_their_row(tiny_run: TinyRun) -> None:
    for row in tiny_run.summary["rows"]:
        lines = [line for line in layers(tiny_run) if line["start"] == row["start"]]
        kept = kept_in(tiny_run.directory / "checkpoints" / "finetune" / row["start"] / "best.pt")
        assert {line["parameter"]: int(line["kept"]) for line in lines} == {n: int(m.sum()) for n, m in kept.items()}
        for line in lines:
            assert float(line["sparsity"]) == pytest.approx(1 - int(line["kept"]) / int(line["total"]), abs=1e-6)


def test_shapes_are_written_with_a_cross(tiny_run: TinyRun) -> None:
    shapes = {line["parameter"]: line["shape"] for line in layers(tiny_run)}
    assert (shapes["fc1.weight"], shapes["fc1.bias"]) == ("2x16", "2")


def test_the_final_phase_leaves_the_masks_as_they_were(tiny_run: TinyRun) -> None:
    checkpoints = tiny_run.directory / "checkpoints"
    for start, name in (("last", "last_network"), ("paper_sparsity", "paper_sparsity")):
        before = kept_in(checkpoints / "regularise" / f"{name}.pt")
        after = kept_in(checkpoints / "finetune" / start / "best.pt")
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_masks_only_shrink_along_the_run(tiny_run: TinyRun) -> None:
    folder = tiny_run.directory / "checkpoints" / "regularise"
    names = ("paper_sparsity", "last_network")  # after prunes 3 and 8
    states = [kept_in(folder / f"{name}.pt") for name in names]
    for earlier, later in pairwise(states):
        assert all(bool((earlier[name] | ~later[name]).all()) for name in SHAPES)
        assert sum(int(later[name].sum()) for name in SHAPES) < sum(int(earlier[name].sum()) for name in SHAPES)


@pytest.mark.parametrize("name", ["finetune/last/best", "finetune/paper_sparsity/best", "regularise/last_network"])
def test_pruned_weights_are_plain_zeros_in_the_file(tiny_run: TinyRun, name: str) -> None:
    path = tiny_run.directory / "checkpoints" / f"{name}.pt"
    weights = load_checkpoint(path)["weights"]
    for parameter, kept in kept_in(path).items():
        pruned = weights[parameter][~kept]
        assert bool((pruned == 0).all()) and not bool(pruned.signbit().any()), parameter


def test_the_record_has_each_step_and_each_evaluation_once(tiny_run: TinyRun) -> None:
    evaluations = [(row["phase"], row["step"]) for row in tiny_run.rows("evaluation")]
    finals = [("finetune/paper_sparsity", 8), ("finetune/last", 8)]
    assert evaluations == [("regularise", step) for step in range(2, 17, 2)] + finals
    assert [row["global_step"] for row in tiny_run.rows("step")] == list(range(1, 33))


def test_each_step_has_its_loss_its_penalty_and_its_rate(tiny_run: TinyRun) -> None:
    first = tiny_run.rows("step")[0]
    assert first["penalty/lambda"] == pytest.approx(1e-2)
    assert first["train/learning_rate"] == pytest.approx(1e-3)
    assert first["train/loss"] > 0
    assert tiny_run.rows("evaluation")[0]["penalty/value"] > 0


def test_the_final_phase_trains_without_the_penalty(tiny_run: TinyRun) -> None:
    with_penalty = {row["phase"] for row in tiny_run.rows("step") if any("penalty/" in name for name in row)}
    assert with_penalty == {"regularise"}


def test_each_evaluation_has_the_sparsity_and_the_irrelevance_of_each_parameter(tiny_run: TinyRun) -> None:
    row = tiny_run.rows("evaluation")[0]
    assert row["sparsity/total"] == pytest.approx(0.2)
    for name in SHAPES:
        assert 0 <= row[f"sparsity/layer/{name}"] <= 1
        assert 0 < row[f"irrelevance/layer/{name}/mean"] <= 1
    assert row["prune/reason"].endswith("is above the bound 0.00")


def test_the_curve_holds_the_mean_irrelevance_of_the_layer_where_it_is_lowest(tiny_run: TinyRun) -> None:
    row, point = tiny_run.rows("evaluation")[0], tiny_run.curve("regularise")[0]
    means = [row[f"irrelevance/layer/{name}/mean"] for name in SHAPES]
    assert point["lowest_mean_irrelevance"] == pytest.approx(min(means), abs=1e-6)
    assert max(means) > min(means) + 1e-3, "else nothing is told"


@pytest.mark.parametrize("interrupted_after", [None, 10, 11])  # steps: an evaluation, and none
def test_steps_evaluations_and_all_phases_are_timed_each_for_itself(
    interrupted_after: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, learnt = [0.0], [0]

    def learn(self: Trainer, observe: bool) -> None:
        _learn(self, observe)
        learnt[0] += 1
        if learnt[0] == interrupted_after:
            os.kill(os.getpid(), signal.SIGTERM)

    def taking(seconds: float, act: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            now[0] += seconds
            return act(*arguments)

        return timed

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    _learn = Trainer._learn
    monkeypatch.setattr(Trainer, "_learn", taking(1.0, learn))
    monkeypatch.setattr(Setup, "evaluate", taking(100.0, Setup.evaluate))
    baseline = BaselineSettings(source="train", num_epochs=1, batch_size=5)
    cut = replace(tiny_runs.tiny_settings(tmp_path).regularise, max_steps=12)  # of 16 steps
    experiment = tiny_experiment(tmp_path, baseline=baseline, regularise=cut)
    if interrupted_after:
        with pytest.raises(Stopped):
            pipeline.run(experiment)
        now[0] += 1e6  # until somebody sees it
    summary = pipeline.run(experiment)
    assert summary.cost is not None
    assert (summary.cost.step_seconds, summary.cost.evaluation_seconds) == (1.0, 100.0)
    steps, evaluations = 8 + 12 + 2 * 8, 1 + 6 + 2
    assert summary.cost.projected_hours == pytest.approx((steps + 4 + (evaluations + 2) * 100) / 3600)
    assert summary.provenance.wall_seconds == steps * 1.0 + evaluations * 100.0


def test_the_peak_of_memory_is_told_in_bytes(tiny_run: TinyRun) -> None:
    assert 5e7 < tiny_run.summary["cost"]["peak_memory_bytes"] < 1e12, "torch alone takes hundreds of millions"


def test_the_manifest_says_what_made_the_run(tiny_run: TinyRun) -> None:
    manifest = provenance.read_manifest(tiny_run.directory)
    of_code = {"commit", "dirty", "command", "versions"}
    of_machine = {"device", "precision", "ranks"}
    assert set(manifest) == of_code | of_machine | {"started", "ended", "status", "first_step", "history"}
    assert manifest["status"] == "done"
    assert manifest["device"].startswith("cpu: ") and manifest["precision"] == "fp32"
    assert tiny_run.summary["provenance"]["precision"] == "fp32"


def test_the_origin_is_that_of_the_start_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = iter(["at the start", "made meanwhile"])
    origin = provenance.origin()
    monkeypatch.setattr(provenance, "origin", lambda: origin | {"commit": next(commits)})
    assert tiny_runs.tiny_run(tmp_path).summary["provenance"]["commit"] == "at the start"


def authors(results: Path, **changes: Any) -> TinyRun:
    return tiny_runs.tiny_run(results, protocol=ProtocolSettings(report="any_phase"), **changes)


def test_the_authors_protocol_adds_the_best_of_all_phases_and_sparsities(tmp_path: Path) -> None:
    run = authors(tmp_path)
    *rows, best = run.summary["rows"]
    everywhere = [row["val/accuracy"] for row in run.rows("evaluation")]
    assert best["start"] == "best_of_all"
    assert best["val"] == max(everywhere)
    assert [row["start"] for row in rows] == ["paper_sparsity", "last"]


def test_the_best_of_all_costs_no_time_of_its_own(tmp_path: Path) -> None:
    run = authors(tmp_path)
    phases = [load_checkpoint(path)["progress"]["seconds"] for path in run.directory.glob("checkpoints/**/last.pt")]
    assert run.summary["provenance"]["wall_seconds"] == pytest.approx(sum(phases))


def test_the_best_of_all_is_there_even_where_no_start_was_reached(tmp_path: Path) -> None:
    settings = tiny_runs.tiny_settings(tmp_path)
    run = authors(
        tmp_path,
        finetune=replace(settings.finetune, start_from=["paper_sparsity"]),
        gate=replace(settings.gate, target_sparsity=0.99),
    )
    assert [row["start"] for row in run.summary["rows"]] == ["best_of_all"]
    assert run.summary["missing_starts"] == ["paper_sparsity"]


class Scribe(Classification):
    """A classification that also writes something down."""

    def __init__(self) -> None:
        self.hypotheses: list[str] = []
        self.signatures = {"bleu": "tok:13a"}

    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        self.hypotheses = ["ein Satz", f"{len(list(batches))} Teile"]
        return {"accuracy": torch.tensor(50.0)}


def test_what_an_evaluation_writes_is_kept_line_by_line(tmp_path: Path) -> None:
    experiment = replace(tiny_experiment(tmp_path), task=Scribe())
    summary = pipeline.run(experiment)
    folder = provenance.run_directory(experiment.settings) / "hypotheses"
    names = {f"regularise-{step}.txt" for step in range(2, 17, 2)} | {"finetune-last-8.txt", "finetune-last-test.txt"}
    assert names <= {path.name for path in folder.iterdir()}
    assert (folder / "regularise-2.txt").read_text() == "ein Satz\n1 Teile\n"
    assert summary.metric_signatures == {"bleu": "tok:13a"}


class Definitions(Classification):
    """A classification whose metric has another definition."""

    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        return super().evaluate(model, batches) | {"accuracy_top5": torch.tensor(99.0)}


def test_other_definitions_of_the_metric_are_recorded_of_the_test_split(tmp_path: Path) -> None:
    summary = pipeline.run(replace(tiny_experiment(tmp_path), task=Definitions()))
    assert [row.test_metrics for row in summary.rows] == [{"accuracy_top5": 99.0}] * len(summary.rows)


def test_a_run_without_text_keeps_none(tiny_run: TinyRun) -> None:
    assert not (tiny_run.directory / "hypotheses").exists()
    assert tiny_run.summary["metric_signatures"] == {}
