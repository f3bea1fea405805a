"""Pruned networks timed in each form: which, in turns, after they were held against each other."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts import bench
from sparsity.benchmark import latency, memory
from sparsity.benchmark.latency import FORMS, Subject, form_of, latency_measurements
from sparsity.benchmark.recorded import record
from sparsity.models.lenet import LeNet5
from sparsity.weights import onnx_files
from sparsity.weights.export import save_sparse
from sparsity.weights.inputs import drawn_inputs
from tests.tiny_runs import TinyNet

PYTHON = [sys.executable, "-c", "print(12345)"]


@torch.no_grad()
def subject(**changes: Any) -> Subject:
    pruned = LeNet5().eval()
    for parameter in pruned.parameters():
        parameter[::2] = 0
    found = {"sha256": "ab" * 32, "experiment": "lenet5_mnist", "pruner": "relevance", "shape": (1, 28, 28)}
    return Subject(**{**found, "dense": LeNet5().eval(), "pruned": pruned, **changes})


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "has_extra", lambda: False)


@pytest.mark.usefixtures("without_extra")
def test_each_form_is_compared_timed_and_weighed() -> None:
    where, *found = latency_measurements(subject(), [1, 2], 2, 1, PYTHON)
    assert (where["measured"], where["network"], where["threads"]) == ("environment", "ab" * 32, 1)
    assert [each["form"] for each in found if each["measured"] == "same function"] == ["csr", "compact"]
    timed = {(each["form"], each["batch"]) for each in found if each["measured"] == "latency"}
    assert timed == {(form, batch) for form in ("dense", "masked", "csr", "compact") for batch in (1, 2)}
    over = {(each["form"], each["batch"]) for each in found if each["measured"] == "over dense"}
    assert over == {(form, batch) for form, batch in timed if form != "dense"}
    trained = {each["measured"]: each["batch"] for each in found if "units" in each["measured"]}
    assert trained == {"training of all units": 100, "live units / all": 100}
    memories = [each for each in found if each["measured"] == "memory"]
    assert [(each["form"], each["batch"], each["bytes"]) for each in memories] == [
        (form, 2, 12345) for form in ("dense", "masked", "csr", "compact")
    ]


@pytest.mark.usefixtures("without_extra")
def test_a_form_that_says_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "as_csr", lambda model: LeNet5().eval())
    with pytest.raises(ValueError, match="csr says something else than the network in torch"):
        list(latency_measurements(subject(), [1], 2, 1, PYTHON))


def test_a_network_that_cannot_be_compacted_is_timed_without_that() -> None:
    tiny = subject(dense=TinyNet(), pruned=TinyNet(), shape=(1, 4, 4))
    assert [name for name in FORMS if form_of(tiny, name, 1)] == ["dense", "masked", "csr"]


@pytest.mark.usefixtures("without_extra")
def test_a_process_that_fails_ends_the_benchmark_with_one_sentence() -> None:
    tiny = subject(dense=TinyNet(), pruned=TinyNet(), shape=(1, 4, 4))
    with pytest.raises(ValueError, match="A process that was to be measured has failed"):
        list(latency_measurements(tiny, [1], 2, 1, [sys.executable, "-c", "raise SystemExit(1)"]))


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="peaks are counted on Linux alone")
def test_memory_that_is_given_back_counts_and_what_was_there_before_does_not() -> None:
    before = torch.ones(1_000_000)
    peak = memory.peak_bytes(lambda: torch.ones(10_000_000).sum() + before.sum())
    assert peak is not None and 38e6 < peak < 60e6


def test_where_the_system_counts_no_peak_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "nowhere" / "clear_refs")
    assert memory.peak_bytes(lambda: None) is None


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with two networks of LeNet-5."""
    for start in ("last", "paper_sparsity"):
        header = {"start": start, "experiment": "lenet5_mnist", "scale": "paper", "pruner": "l2"}
        save_sparse(tmp_path / "networks" / f"{start}.safetensors", subject().pruned.state_dict(), header)
    return tmp_path


def test_each_network_of_a_run_is_timed_and_recorded_in_a_file_of_its_own(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(subject: Subject, batches: list[int], *_: object) -> Any:
        yield latency.environment(subject)
        yield {"measured": "latency", "form": "dense", "batch": batches[0], "milliseconds": 1.0}

    monkeypatch.setattr(bench, "latency_measurements", measure)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    assert bench.main(["latency", str(run), "--batches", "4", "--record"]) == 0
    files = sorted((tmp_path / "results").glob("benchmarks/*/latency-lenet5_mnist-l2-fp32-*.json"))
    written = [json.loads(path.read_text()) for path in files]
    assert len({each["environment"]["network"] for each in written}) == len(written) == 2
    assert all(each["measurements"][0]["batch"] == 4 for each in written)
    assert "recorded in" in capsys.readouterr().err


def test_the_process_whose_memory_is_counted_makes_one_form(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "networks" / "last.safetensors"
    assert bench.main(["latency", str(path), "--serve", "masked", "2"]) == 0
    assert int(capsys.readouterr().out) >= 0


def test_a_folder_without_networks_and_a_batch_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no networks/\*\.safetensors: name a finished run, or files\."):
        bench.main(["latency", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"--batches is 0,x: name sizes, such as 1,64\."):
        bench.main(["latency", str(tmp_path), "--batches", "0,x"])


def test_two_networks_of_an_experiment_do_not_share_a_record(tmp_path: Path) -> None:
    paths = {record(tmp_path, "latency", [latency.environment(subject(sha256=each * 64))]) for each in "ab"}
    assert len(paths) == 2 and all(path.is_file() for path in paths)


def test_inputs_are_the_same_for_the_same_arguments() -> None:
    first, second = (drawn_inputs(TinyNet(), (1, 4, 4), 3).tensors["images"] for _ in range(2))
    assert torch.equal(first, second) and first.shape == (3, 1, 4, 4)
