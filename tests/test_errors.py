"""What a user sees when something is wrong: one sentence, a non-zero exit status, no traceback."""

import errno
import gzip
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from scripts import train
from sparsity import config, provenance
from sparsity.files import locked
from sparsity.hardware import driver
from tests.tiny_runs import TINY_OVERRIDES

REPOSITORY = Path(__file__).resolve().parents[1]
LENET = ("scale=smoke", "machine=cpu", "tracking=none", "regularise.evaluate_every_steps=2", "regularise.max_steps=2")

Fails = Callable[..., str]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fails:
    """The sentence with which `scripts/train.py OVERRIDES` ends; in this process, which spares the import of torch."""

    def sentence(*overrides: str) -> str:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the command sets it for Hydra
        monkeypatch.setattr(sys, "argv", ["scripts/train.py", f"results_dir={tmp_path}/results", *overrides])
        with pytest.raises(SystemExit) as caught:
            config.command(train.main)
        said = caught.value.code
        # `sys.exit` prints a text on stderr and makes the exit status 1
        assert isinstance(said, str) and said.startswith("error: ") and "\n" not in said
        return said.removeprefix("error: ")

    return sentence


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSITY_DATA_MIRROR", raising=False)


def test_a_misspelt_key_is_all_that_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/train.py", f"results_dir={tmp_path}", "+pruner.typo=1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["error: pruner.typo is not a setting; did you mean pruner.method?"]


def test_a_wrong_number_is_refused_before_anything_is_written(fails: Fails, tmp_path: Path) -> None:
    assert fails("gate.bound=101") == "gate.bound=101 is out of range; it must be between -1 and 100."
    assert not (tmp_path / "results").exists()


def test_a_finished_run_outlives_a_wrong_command_that_is_to_redo_it(fails: Fails, tmp_path: Path) -> None:
    settings = config.compose([*LENET, f"results_dir={tmp_path}/results", "metric=loss"])
    summary = provenance.run_directory(settings) / "summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text("{}")
    assert fails(*LENET, "metric=loss", "force=true").startswith("metric=loss cannot gate")
    assert summary.exists()


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        (("machine=cuda",), "machine.device=cuda, but there is no CUDA GPU; "),
        (("dataset.source=real",), "mnist/train-images-idx3-ubyte.gz could not be had; tried"),
    ],
)
def test_a_finished_run_outlives_a_command_that_is_to_redo_it_without_gpu_or_data(
    fails: Fails,
    no_mirror: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.setattr(driver, "obstacle", lambda: driver.ABSENT)
    words = (*LENET, *missing, f"data_dir={tmp_path}/data", f"results_dir={tmp_path}/results")
    directory = provenance.run_directory(config.compose(list(words)))
    directory.mkdir(parents=True)
    for name, content in (("summary.json", "{}"), ("manifest.json", '{"status": "done"}'), ("metrics.jsonl", "{}")):
        (directory / name).write_text(content)
    assert fails(*words, "force=true").startswith(sentence)
    assert provenance.is_done(directory) and (directory / "metrics.jsonl").read_text() == "{}"


def test_a_network_for_other_images_is_refused_before_anything_is_trained(fails: Fails) -> None:
    said = fails(*LENET, "model=resnet32")
    assert said.startswith("resnet32 cannot be trained on digits, images of 1 x 28 x 28 (")


def test_missing_data_without_a_network_are_named_with_the_place_to_put_them(
    fails: Fails, no_mirror: None, tmp_path: Path
) -> None:
    said = fails(*LENET, "dataset.source=real", f"data_dir={tmp_path}/data")
    assert said.startswith("mnist/train-images-idx3-ubyte.gz could not be had; tried SPARSITY_DATA_MIRROR (not set), ")
    assert said.endswith(f"put the file at {tmp_path}/data/mnist/train-images-idx3-ubyte.gz by hand and run again.")


def test_a_truncated_archive_is_named(fails: Fails, no_mirror: None, tmp_path: Path) -> None:
    path = tmp_path / "data" / "mnist" / "train-images-idx3-ubyte.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(bytes(range(256)) * 100)[:-20])
    said = fails(*LENET, "dataset.source=real", f"data_dir={tmp_path}/data")
    assert f"{path} (it is a truncated or damaged .gz of {path.stat().st_size} bytes" in said


def test_a_checkpoint_of_another_model_is_named_with_what_differs(fails: Fails, tmp_path: Path) -> None:
    torch.save({"weights": torch.nn.Linear(4, 2).state_dict()}, tmp_path / "other.pt")
    said = fails(*TINY_OVERRIDES, "baseline=file", f"baseline.path={tmp_path}/other.pt")
    assert said == (
        f"{tmp_path}/other.pt is a checkpoint of another model: fc1.bias, which TinyNet has, is missing (and 6 more "
        "do not fit); give a checkpoint of this model."
    )


def test_a_damaged_checkpoint_is_named(fails: Fails, tmp_path: Path) -> None:
    torch.save({"weights": {}}, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:100])
    said = fails(*TINY_OVERRIDES, "baseline=file", f"baseline.path={tmp_path}/cut.pt")
    assert said.startswith(f"The checkpoint {tmp_path}/cut.pt is damaged (")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond a megabyte, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_with_the_file_and_the_way_out(fails: Fails, small_files: None, tmp_path: Path) -> None:
    said = fails(*LENET)
    assert said.startswith(f"cannot write the checkpoint {tmp_path}/results/runs/lenet5_mnist/smoke-relevance-")
    assert said.endswith("; free some space and run the same command again.")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_is_what_is_reported_even_where_the_manifest_cannot_be_written_either(
    fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sparsity.run import manifest
    from sparsity.weights import beside

    def full(*arguments: object, **more: object) -> None:
        monkeypatch.setattr(manifest, "write_json", full_manifest)
        raise OSError(errno.ENOSPC, "No space left on device", "best.pt")

    def full_manifest(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "manifest.json")

    monkeypatch.setattr(beside, "save_checkpoint", full)
    assert fails(*TINY_OVERRIDES).startswith("best.pt: No space left on device; free some space")


def test_a_loss_that_is_not_finite_is_named_with_its_step(fails: Fails) -> None:
    said = fails(*TINY_OVERRIDES, "regularise.optimizer.lr=1e30")
    assert said.startswith("The loss became ")
    assert " at step 2 of the phase; nothing was updated from there on and the last checkpoint is kept: lower" in said


def test_a_second_process_in_the_same_run_directory_is_refused(fails: Fails, tmp_path: Path) -> None:
    settings = config.compose([*TINY_OVERRIDES, f"results_dir={tmp_path}/results"])
    directory = provenance.run_directory(settings)
    with locked(directory, wait=False):
        said = fails(*TINY_OVERRIDES, "force=true")
    assert said == (
        f"Process {os.getpid()} is already running in {directory}; wait for it, or change a setting or the seed."
    )
