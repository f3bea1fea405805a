"""The benchmark compares equals: both recipes compute the same update, and an unequal pair stops it."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scripts import bench
from sparsity.benchmark import equality, floor, measurements, recorded, shares, straightforward, whole_runs
from sparsity.benchmark.straightforward import PilImages, StraightforwardRecipe
from sparsity.benchmark.timing import Contestant, spread, time_block, time_in_turns
from sparsity.report.benchmarks import load_benchmarks
from sparsity.run.workspace import Workspace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def work() -> Iterator[Workspace]:
    """The paper's configuration on the small embedded data set."""
    with bench.workspace("lenet5_mnist", "cpu", 1, source="embedded") as workspace:
        yield workspace


@pytest.mark.parametrize(("optimizer", "momentum"), [("adam", 0.0), ("sgd", 0.9)])
def test_our_step_and_the_straightforward_recipe_compute_the_same_update(
    work: Workspace, monkeypatch: pytest.MonkeyPatch, optimizer: str, momentum: float
) -> None:
    monkeypatch.setattr(work.settings.regularise.optimizer, "name", optimizer)
    monkeypatch.setattr(work.settings.regularise.optimizer, "momentum", momentum)
    assert equality.check_same_update(work) <= 1e-6


def test_both_loaders_give_the_same_inputs(work: Workspace) -> None:
    assert equality.check_same_inputs(work) <= 1e-6


def test_both_loaders_crop_where_the_experiment_does_and_are_compared_without() -> None:
    with bench.workspace("resnet32_cifar10", "cpu", 1, source="embedded") as work:
        assert equality.check_same_inputs(work) <= 1e-6
        images = PilImages(equality.image_data(work))
    assert len({images[0][0].numpy().tobytes() for _ in range(9)}) > 1


def test_the_compared_steps_run_under_the_masks_of_one_prune(work: Workspace) -> None:
    ours, recipe = equality.pruned_pair(work)
    assert ours.pruner.sparsity == pytest.approx(0.04, abs=1e-4)
    pruned = {name: weight == 0 for name, weight in recipe.weights().items()}
    assert all(torch.equal(pruned[name], ~keep) for name, keep in ours.pruner.masks.kept.items())


def test_a_recipe_with_another_lambda_stops_the_benchmark(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    step = StraightforwardRecipe.step
    monkeypatch.setattr(StraightforwardRecipe, "step", lambda self, x, y, strength: step(self, x, y, 1.01 * strength))
    with pytest.raises(ValueError, match=r"differ by .* in the weights after step 1, and 1e-06 is allowed"):
        equality.check_same_update(work)


def test_a_pruned_weight_that_moves_stops_the_benchmark(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StraightforwardRecipe, "weights", lambda self: dict(self._model.named_parameters()))
    monkeypatch.setattr(StraightforwardRecipe, "mask", lambda self, kept: None)
    with pytest.raises(ValueError, match=r"A pruned weight of conv1\.weight is not zero"):
        equality.check_same_update(work)


def test_other_normalisation_of_the_inputs_stops_the_benchmark(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = straightforward.pil_batches
    monkeypatch.setattr(
        equality, "pil_batches", lambda data, *rest, **keys: load(replace(data, std=(0.3,)), *rest, **keys)
    )
    with pytest.raises(ValueError, match="in the first batch's pixels"):
        equality.check_same_inputs(work)


def test_a_block_of_our_steps_takes_batch_after_batch_and_leaves_the_recorder_empty(work: Workspace) -> None:
    trainer = measurements.plain_trainer(work)
    time_block(measurements.our_loop(trainer), 2, CPU)
    assert (trainer.step, trainer.drain()) == (3, [])  # one untimed step goes first


def test_streamed_images_are_timed_without_the_straightforward_recipe_and_that_is_said() -> None:
    narrow = ("regularise.batch_size=2", "dataset.image_size=56", "model.num_classes=1000")
    with bench.workspace("vgg16_imagenet", "cpu", 1, scale="smoke", more=narrow) as whole:
        data = whole.data
        work = replace(whole, data=replace(data, val=replace(data.val, num_images=4)))  # type: ignore[type-var]
        found = {measured["measured"]: measured for measured in measurements.step_measurements(work, 2, 1)}
    assert "is left out" in found["note"]["sentence"]
    assert "straightforward step" not in found and found["training"]["images_per_second"] > 0
    assert found["evaluation"]["images"] == 4


def test_an_evaluation_is_a_whole_pass_over_the_test_images(work: Workspace) -> None:
    measured = measurements.evaluation(work, equality.regularised(work))
    assert measured["images"] == len(work.data.test)
    seconds = measured["milliseconds"] / 1000
    assert measured["images_per_second"] == pytest.approx(measured["images"] / seconds, rel=0.2)


def test_the_precision_asked_for_is_the_one_that_runs() -> None:
    options = bench.parse_arguments(["step", "--experiment", "lenet5_mnist", "--precision", "bf16", "--machine", "cpu"])
    with bench.asked_workspace(options) as work:
        assert work.execution.bf16


def test_an_unequal_update_ends_the_command_with_one_sentence(
    work: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "workspace", lambda *_: nullcontext(work))
    monkeypatch.setattr(equality, "TOLERANCE", -1.0)  # not even a difference of nothing is within it
    with pytest.raises(SystemExit, match=r"^error: Our step and the straightforward recipe differ by [^\n]*$"):
        bench.main(["step", "--experiment", "lenet5_mnist", "--machine", "cpu", "--threads", "1"])
    assert [json.loads(line)["measured"] for line in capsys.readouterr().out.splitlines()] == ["environment"]


def test_an_unknown_experiment_ends_the_command_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match=r"experiment=lenet6 is unknown; choose one of .*lenet5_mnist"):
        bench.main(["step", "--experiment", "lenet6"])


@pytest.mark.parametrize("too_few", [("--rounds", "1"), ("--steps", "0")])
def test_too_few_rounds_or_steps_are_refused(too_few: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["step", "--experiment", "lenet5_mnist", *too_few])
    assert f"{too_few[0]} is {too_few[1]}, but" in capsys.readouterr().err


def test_contestants_take_turns_and_every_other_round_runs_backwards() -> None:
    calls: list[str] = []
    contestants = {name: Contestant(lambda name=name: calls.append(name)) for name in "ab"}  # type: ignore[misc]
    seconds = time_in_turns(contestants, num_rounds=2, num_steps=1, device=CPU)
    assert "".join(calls) == "aabb" + "bbaa"  # one untimed step goes before each block
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_ratios_are_taken_within_rounds_and_held_against_their_targets() -> None:
    measured = measurements.ratio("relevance", "plain", {"plain": [1.0, 10.0, 2.0], "relevance": [1.1, 10.3, 2.02]})
    assert (measured["measured"], measured["ratio"], measured["met"]) == ("relevance / plain", 1.03, True)


def test_a_missed_target_is_said() -> None:
    seconds = {"relevance": [1.05, 1.05], "plain": [1.0, 1.0], "straightforward": [2.0, 2.0]}
    assert not any(measurements.ratio("relevance", name, seconds)["met"] for name in ("plain", "straightforward"))


def test_other_methods_have_a_target_of_their_own() -> None:
    measured = measurements.ratio("dns", "plain", {"plain": [1.0, 1.0], "dns": [1.25, 1.25]})
    assert (measured["measured"], measured["at_most"], measured["met"]) == ("dns / plain", 1.3, True)


def test_the_floor_of_a_step_counts_its_operations_and_the_bytes_of_its_update(work: Workspace) -> None:
    ours = equality.regularised(work)
    found = floor.floor(work, ours.trainer, floor.operations_of_a_step(ours.trainer))
    # operations of LeNet-5 on 100 images: twice the products forward, and twice that backward but for the images'
    # own gradient, which nobody needs
    forward = 2 * 100 * (24 * 24 * 500 + 8 * 8 * 25_000 + 400_000 + 5_000)
    assert found["gigaflop"] == pytest.approx((3 * forward - 2 * 100 * 24 * 24 * 500) / 1e9)
    assert found["megabytes"] == pytest.approx(431_080 * 4 * 8 / 1e6), "three read and written, two read"
    seconds = found["gigaflop"] / found["peak_gigaflop_per_second"]
    seconds += found["megabytes"] / 1000 / found["peak_gigabytes_per_second"]
    assert found["seconds"] == pytest.approx(seconds, rel=0.02)


def test_the_shares_of_a_step_are_those_of_its_kinds_of_operation(work: Workspace) -> None:
    found = shares.shares(equality.regularised(work).trainer, 5)["of"]
    assert sum(found.values()) == pytest.approx(1.0, abs=0.01)
    assert found["convolutions"] > found["pooling"] > 0.0 < found["matrix products"]
    assert [*found.values()] == sorted(found.values(), reverse=True)


def test_a_whole_run_is_timed_until_it_is_ready_and_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys, time\nprint('plan:', sys.argv[1], flush=True)\ntime.sleep(0.2)\n")
    monkeypatch.setattr(whole_runs, "TRAIN", script)
    start, whole = whole_runs.run_measurements(["experiment=lenet5_mnist"], 2)
    assert whole["seconds"] >= start["seconds"] + 0.2
    script.write_text("print('plan:')\nraise SystemExit(1)\n")
    with pytest.raises(ValueError, match=r"The run that was to be timed failed: python .* experiment=lenet5_mnist"):
        whole_runs.run_measurements(["experiment=lenet5_mnist"], 2)


def test_what_was_measured_is_recorded_under_the_device_and_what_it_was(tmp_path: Path, work: Workspace) -> None:
    measured = {"measured": "prune", "seconds": 0.1, "quartiles": [0.1, 0.2]}
    path = recorded.record(tmp_path, "step", [measurements.environment(work), measured])
    assert path.name == "step-lenet5_mnist-relevance-fp32-1-threads.json"
    small = recorded.record(tmp_path, "step", [measurements.environment(work) | {"scale": "smoke"}, measured])
    assert small.name == "step-lenet5_mnist-smoke-relevance-fp32-1-threads.json"
    small.unlink()
    (found,) = load_benchmarks(tmp_path)
    assert found.named("prune") == measured and found.provenance["commit"]


def test_a_spread_is_the_median_with_its_quartiles() -> None:
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0], "seconds") == {"seconds": 3.0, "quartiles": [1.5, 4.5]}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data folder in which the embedded measurements, once drawn, stay."""
    return str(tmp_path_factory.mktemp("drawn"))


@pytest.mark.slow
def test_the_loader_is_timed_on_its_files(drawn: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--source", "embedded", "--batch-size", "50", "--rounds", "2", "--workers", "2", "--machine", "cpu")
    bench.main(["loader", *options, "--data-dir", drawn])
    measured = json.loads(capsys.readouterr().out)
    assert (measured["measured"], measured["data"]) == ("loader", "embedded-figures")
    assert measured["images_per_second"] > 0


@pytest.mark.slow
def test_an_epoch_too_short_to_be_timed_is_refused(drawn: str) -> None:
    with pytest.raises(SystemExit, match=r"embedded-figures/train has 6 batches of 100, too few for 2 rounds"):
        bench.main(["loader", "--source", "embedded", "--rounds", "2", "--machine", "cpu", "--data-dir", drawn])
