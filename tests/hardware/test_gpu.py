"""What a run asks of its GPU: checked in another process, once for each kind of run, with and without CUDA graphs."""

import importlib.metadata
import logging
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import Any

import pytest
import torch

from sparsity import provenance
from sparsity.data.vision import ImageData
from sparsity.hardware import gpu, machine
from sparsity.hardware.gpu import Finding
from sparsity.provenance import read_manifest, run_directory
from sparsity.run.workspace import opened
from sparsity.settings import MachineSettings, Settings
from tests.tiny_runs import tiny_experiment, tiny_settings

GPU = "cuda: a card"
ON_GPU = MachineSettings("cuda", "fp32", compile="none")


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], str]:
    """What the checks find, by their options; all is well where nothing stands."""
    found: dict[tuple[str, ...], str] = {}
    monkeypatch.setattr(gpu, "failure", lambda directory, *options: found.get(options, ""))
    return found


def test_where_captured_steps_pass_nothing_else_is_asked(failures: dict[tuple[str, ...], str], tmp_path: Path) -> None:
    failures["--eagerly",] = "never asked"
    assert gpu.examine(tmp_path, capture=True) == Finding(capture=True)


def test_where_only_the_capture_fails_steps_run_eagerly_and_the_reason_is_kept(
    failures: dict[tuple[str, ...], str], tmp_path: Path
) -> None:
    failures[()] = "no capture"
    assert gpu.examine(tmp_path, capture=True) == Finding(capture=False, reason="no capture")


def test_what_fails_eagerly_too_is_refused(failures: dict[tuple[str, ...], str], tmp_path: Path) -> None:
    failures |= {(): "no kernel", ("--eagerly",): "no kernel"}
    with pytest.raises(ValueError, match="This GPU cannot be used for the run: no kernel; "):
        gpu.examine(tmp_path, capture=True)


def test_who_wants_no_graphs_is_not_checked_with_them(failures: dict[tuple[str, ...], str], tmp_path: Path) -> None:
    failures[()] = "never asked"
    assert gpu.examine(tmp_path, capture=False) == Finding(capture=False)


def done(code: int, out: str, err: str) -> Callable[..., Any]:
    return lambda command, **how: CompletedProcess(command, code, out, err)


def hanging(command: list[str], **how: Any) -> Any:
    raise TimeoutExpired(command, 900, b"a kernel runs\ncaptured steps\n")


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (done(0, "a kernel runs\n", "a warning of torch\n"), ""),
        (
            done(1, "a kernel runs\n", "error: the check failed (no image).\na late warning\n"),
            "the check failed (no image)",
        ),
        (
            done(-11, "a kernel runs\ncaptured steps\n", ""),
            'the check "captured steps" ended its process with status -11 (nothing was said)',
        ),
        (hanging, 'the check "captured steps" was not done after 900 seconds'),
    ],
)
def test_a_check_fails_by_its_own_word_by_the_end_of_its_process_or_by_hanging(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Callable[..., Any], reason: str
) -> None:
    monkeypatch.setattr(subprocess, "run", run)
    assert gpu.failure(tmp_path) == reason


def with_machine(settings: Settings, **changes: Any) -> Settings:
    return replace(settings, machine=replace(settings.machine, **changes))


@pytest.fixture
def examinations(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The run directories that were examined."""
    asked: list[Path] = []

    def examine(directory: Path, capture: bool) -> Finding:
        asked.append(directory)
        return Finding(capture=True)

    monkeypatch.setattr(gpu, "examine", examine)
    return asked


def test_a_verdict_is_remembered_for_runs_of_the_same_kind(examinations: list[Path], tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    first = gpu.checked(settings, tmp_path / "a", GPU)
    assert gpu.checked(replace(settings, seed=5), tmp_path / "b", GPU) == first == Finding(capture=True)
    assert examinations == [tmp_path / "a"]


def test_graphs_that_failed_are_tried_again_by_the_next_run(
    failures: dict[tuple[str, ...], str], tmp_path: Path
) -> None:
    failures[()] = "no capture"
    assert gpu.checked(tiny_settings(tmp_path), tmp_path, GPU) == Finding(capture=False, reason="no capture")
    del failures[()]
    assert gpu.checked(tiny_settings(tmp_path), tmp_path, GPU) == Finding(capture=True)


@pytest.mark.parametrize(
    "what", ["torch", "driver", "gpu", "code", "network", "data", "precision", "capture", "damaged"]
)
def test_what_may_change_a_verdict_asks_again(
    examinations: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    monkeypatch.setattr(gpu, "DRIVER", tmp_path / "driver")
    (tmp_path / "driver").write_text("580.1")
    settings = tiny_settings(tmp_path)
    gpu.checked(settings, tmp_path, GPU)
    name = GPU
    match what:
        case "torch":
            monkeypatch.setattr(importlib.metadata, "version", lambda package: "9.9")
        case "driver":
            (tmp_path / "driver").write_text("590.2")
        case "gpu":
            name = "cuda: another"
        case "code":
            monkeypatch.setattr(provenance, "code", lambda: {"commit": "another", "dirty": False})
        case "data":
            settings = replace(settings, dataset={**settings.dataset, "image_size": 64})
        case "network":
            settings = replace(settings, model={"_target_": "tests.tiny_runs.Another"})
        case "precision":
            settings = with_machine(settings, precision="bf16")
        case "capture":
            settings = with_machine(settings, capture=False)
        case "damaged":
            for path in tmp_path.rglob("selfchecks/*.json"):
                path.write_text("{")
    gpu.checked(settings, tmp_path, name)
    assert len(examinations) == 2


def test_a_refusal_is_not_remembered(failures: dict[tuple[str, ...], str], tmp_path: Path) -> None:
    failures |= {(): "no kernel", ("--eagerly",): "no kernel"}
    with pytest.raises(ValueError, match="no kernel"):
        gpu.checked(tiny_settings(tmp_path), tmp_path, GPU)
    failures.clear()
    assert gpu.checked(tiny_settings(tmp_path), tmp_path, GPU) == Finding(capture=True)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is told that it is on a GPU; its data stay where they are."""
    monkeypatch.setattr(machine, "prepare", lambda settings: torch.device("cuda"))
    monkeypatch.setattr(machine, "describe", lambda device, precision="fp32": GPU)
    monkeypatch.setattr(ImageData, "to", lambda data, device: data)


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("verdict", [Finding(True), Finding(False, "no capture")])
def test_a_run_goes_on_eagerly_where_the_capture_failed_and_its_record_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, verdict: Finding
) -> None:
    monkeypatch.setattr(gpu, "checked", lambda *_: verdict)
    experiment = tiny_experiment(tmp_path, machine=ON_GPU)
    with caplog.at_level(logging.WARNING), opened(experiment) as work:
        manifest = read_manifest(work.directory)
        assert work.execution.capture == verdict.capture
    assert manifest["selfcheck"] == read_manifest(work.directory)["selfcheck"] == verdict.describe()
    assert [message for message in caplog.messages if "no capture" in message] == [
        f"warning: {verdict.describe()}; the next run checks again." for _ in range(not verdict.capture)
    ]


@pytest.mark.usefixtures("on_gpu")
def test_a_run_that_the_gpu_cannot_make_ends_before_its_data_are_read(
    failures: dict[tuple[str, ...], str], tmp_path: Path
) -> None:
    failures |= {(): "no kernel", ("--eagerly",): "no kernel"}
    experiment = replace(tiny_experiment(tmp_path, machine=ON_GPU), build_data=pytest.fail)
    with pytest.raises(ValueError, match="no kernel"), opened(experiment):
        pass
    assert "no kernel" in read_manifest(run_directory(experiment.settings))["reason"]


@pytest.mark.usefixtures("on_gpu")
def test_a_finished_run_outlives_a_gpu_that_is_to_redo_it_and_cannot(
    failures: dict[tuple[str, ...], str], tmp_path: Path
) -> None:
    failures |= {(): "no kernel", ("--eagerly",): "no kernel"}
    experiment = tiny_experiment(tmp_path, machine=ON_GPU)
    summary = run_directory(experiment.settings) / "summary.json"
    summary.parent.mkdir(parents=True)
    summary.touch()
    with pytest.raises(ValueError, match="no kernel"), opened(experiment, anew=True):
        pass
    assert summary.exists()


def test_a_run_on_a_cpu_is_not_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "checked", pytest.fail)
    with opened(tiny_experiment(tmp_path)) as work:
        assert "selfcheck" not in read_manifest(work.directory)
