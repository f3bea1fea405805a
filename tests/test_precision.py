"""In what precision does a run compute? Decided once, for its device, kept when it is resumed, and said."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from sparsity import config, provenance
from sparsity.hardware import cpu, machine
from sparsity.run import pipeline, workspace
from sparsity.run.experiment import Setup, on_machine
from sparsity.run.phase import Interrupted
from sparsity.settings import BaselineSettings, MachineSettings
from tests.tiny_runs import tiny_data, tiny_experiment, tiny_settings

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BF16 = MachineSettings("cpu", "bf16", checkpoint_every_seconds=0.0)
AUTO = replace(BF16, precision="auto")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What torch rounds, which is global, as it was."""
    yield
    machine.round_products("fp32")


@pytest.fixture
def bf16_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that multiplies bf16 by itself, whatever this one does: no run is warned of it."""
    monkeypatch.setattr(cpu, "has_bf16_units", lambda: True)


def on_gpu(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    return GPU


@pytest.mark.parametrize(
    ("capability", "gpu_precision", "precision"),
    [
        ((9, 0), "bf16", "bf16"),
        ((8, 0), "bf16", "bf16"),
        ((8, 6), "tf32", "tf32"),
        ((12, 0), "tf32", "tf32"),
        ((7, 5), "bf16", "fp32"),
        ((7, 0), "tf32", "fp32"),
    ],
)
def test_auto_is_what_the_model_wants_on_a_gpu_that_can_and_fp32_on_an_older_one(
    capability: tuple[int, int], gpu_precision: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = MachineSettings("auto", gpu_precision=gpu_precision)
    device = on_gpu(capability, monkeypatch)
    assert machine.precision_on(settings, device, None)[0] == precision


@pytest.mark.parametrize("gpu_precision", ["tf32", "bf16"])
def test_auto_is_fp32_on_every_cpu(gpu_precision: str) -> None:
    settings = MachineSettings("auto", gpu_precision=gpu_precision)
    assert machine.precision_on(settings, CPU, None) == ("fp32", "auto, on a CPU")


@pytest.mark.parametrize(
    ("flags", "has_units"), [("avx2 amx_bf16 amx_tile", True), ("avx2 avx512_bf16", True), ("avx2 avx512f", False)]
)
def test_bf16_on_a_cpu_without_units_for_it_is_warned_of(
    flags: str, has_units: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: Example 9\nflags\t\t: {flags}\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    assert (cpu.name(), cpu.has_bf16_units()) == ("Example 9", has_units)
    assert machine.precision_on(MachineSettings("cpu", "bf16"), CPU, None)[0] == "bf16"
    assert ("takes several times as long" in caplog.text) is not has_units


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_is_asked_for_is_taken_everywhere(precision: str, device: torch.device) -> None:
    assert machine.precision_on(MachineSettings(precision=precision), device, None) == (precision, "as asked for")


def test_a_resumed_run_keeps_its_precision_unless_another_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    device = on_gpu((9, 0), monkeypatch)
    kept = machine.precision_on(MachineSettings(), device, "fp32")
    assert kept == ("fp32", "of the run that is resumed; machine.precision changes it")
    changed = machine.precision_on(MachineSettings(precision="bf16"), device, "fp32")
    assert changed == ("bf16", "as asked for; the run had fp32")
    assert machine.precision_on(MachineSettings(precision="bf16"), device, "bf16") == ("bf16", "as asked for")


@pytest.mark.parametrize(
    ("experiment", "expected"),
    [
        ("lenet5_mnist", "tf32"),
        ("lenet5_fashion_mnist", "tf32"),
        ("resnet32_cifar10", "tf32"),
        ("vgg16_imagenet", "bf16"),
        ("transformer_wmt14", "bf16"),
        ("transformer_taskmaster1", "bf16"),
    ],
)
def test_vgg16_and_the_transformers_want_bf16(experiment: str, expected: str) -> None:
    settings = config.compose([f"experiment={experiment}", "scale=paper"]).machine
    assert (settings.precision, settings.gpu_precision) == ("auto", expected)


def test_what_a_model_wants_goes_with_the_model() -> None:
    settings = config.compose(["experiment=vgg16_imagenet", "scale=paper", "model=lenet5"])
    assert settings.machine.gpu_precision == "tf32"


def test_the_precision_is_said_at_the_start_and_stands_in_the_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tiny_experiment(tmp_path, machine=AUTO)
    with caplog.at_level(logging.INFO), workspace.opened(experiment) as work:
        assert work.settings.machine.precision == "fp32"
        manifest = provenance.read_manifest(work.directory)
        recorded = yaml.safe_load((work.directory / "config.yaml").read_text())
    assert caplog.messages[0] == "precision: fp32 (auto, on a CPU)"
    assert (manifest["precision"], recorded["machine"]["precision"]) == ("fp32", "fp32")


def interrupted(results: Path, settings: MachineSettings) -> None:
    with suppress(Interrupted):
        pipeline.run(tiny_experiment(results, machine=settings), interrupt_after=1)


@pytest.mark.usefixtures("bf16_units")
def test_a_run_begun_in_bf16_is_resumed_in_it_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupted(tmp_path, BF16)
    with caplog.at_level(logging.INFO):
        summary = pipeline.run(tiny_experiment(tmp_path, machine=AUTO))
    assert caplog.messages[0] == "precision: bf16 (of the run that is resumed; machine.precision changes it)"
    assert summary.provenance.device.endswith(", bf16")
    (manifest,) = tmp_path.glob("runs/tiny/*/seed0/manifest.json")
    assert json.loads(manifest.read_text())["precision"] == "bf16"


@pytest.mark.usefixtures("bf16_units")
def test_a_run_of_which_nothing_was_kept_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with workspace.opened(tiny_experiment(tmp_path, machine=BF16)):
        pass  # before its first checkpoint
    with caplog.at_level(logging.INFO), workspace.opened(tiny_experiment(tmp_path, machine=AUTO)):
        pass
    assert caplog.messages[0] == "precision: fp32 (auto, on a CPU)"


@pytest.mark.usefixtures("bf16_units")
def test_a_run_that_begins_anew_has_the_precision_of_a_new_one(tmp_path: Path) -> None:
    interrupted(tmp_path, BF16)
    with workspace.opened(tiny_experiment(tmp_path, machine=AUTO), anew=True) as work:
        assert work.settings.machine.precision == "fp32"


def test_a_run_that_was_stopped_in_its_baseline_keeps_its_precision_too(tmp_path: Path) -> None:
    baseline = BaselineSettings(num_epochs=1, batch_size=5, source="train")
    settings = tiny_settings(tmp_path, machine=BF16, baseline=baseline)
    with workspace.opened(tiny_experiment(tmp_path, machine=BF16, baseline=baseline)) as work:
        pipeline.train_baseline(work)
    assert workspace._precision_before(settings, provenance.run_directory(settings)) == "bf16"


def test_the_precision_of_a_run_whose_records_are_damaged_is_asked_for(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, machine=AUTO)
    directory = provenance.run_directory(settings)
    (directory / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "manifest.json", "checkpoints/last.pt"):
        (directory / name).write_text("{")
    with pytest.raises(ValueError, match=r"are damaged: say the run's precision, as machine\.precision=fp32\.$"):
        workspace._precision_before(settings, directory)
    assert workspace._precision_before(replace(settings, machine=BF16), directory) is None


def test_whatever_computes_has_its_precision_decided(tmp_path: Path) -> None:
    experiment = tiny_experiment(tmp_path, machine=AUTO)
    with pytest.raises(AssertionError, match="on_machine comes first"):
        Setup(experiment, CPU, tiny_data())
    decided, device = on_machine(experiment)
    assert not Setup(decided, device, tiny_data()).execution.bf16


@pytest.mark.parametrize(("precision", "products"), [("fp32", "highest"), ("tf32", "high")])
def test_what_is_decided_is_what_runs(tmp_path: Path, precision: str, products: str) -> None:
    decided, _ = on_machine(tiny_experiment(tmp_path, machine=MachineSettings("cpu", precision, compile="auto")))
    assert torch.get_float32_matmul_precision() == products
    assert (decided.settings.machine.precision, decided.settings.machine.compile) == (precision, "edits")


@pytest.mark.parametrize(
    ("asked", "device", "fused"),
    [
        ("auto", CPU, "edits"),
        ("auto", GPU, "none"),
        ("edits", CPU, "edits"),
        ("all", CPU, "all"),
        ("all", GPU, "all"),
        ("none", GPU, "none"),
    ],
)
def test_edits_are_compiled_on_a_cpu_only(
    asked: str, device: torch.device, fused: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert machine.fusion_on(asked, device) == fused
    assert not caplog.messages


def test_who_asks_for_compiled_edits_on_a_gpu_is_told_that_they_are_not(caplog: pytest.LogCaptureFixture) -> None:
    assert machine.fusion_on("edits", GPU) == "none"
    assert caplog.messages == [
        "warning: machine.compile=edits is for CPUs and does nothing on a GPU; machine.compile=all fuses there."
    ]


def test_at_the_papers_scale_the_machine_decides_what_is_compiled() -> None:
    assert config.compose(["experiment=resnet32_cifar10", "scale=paper"]).machine.compile == "auto"
