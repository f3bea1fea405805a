"""`python scripts/report.py` as a user calls it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.fake_results import REPOSITORY, AddRun, add_networks, row, summary, write_run


def report(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(REPOSITORY / "scripts" / "report.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(script, capture_output=True, text=True, env=environment, check=False)


def test_the_script_publishes_and_writes_the_page(mnist_alone: Path, add_finished: AddRun) -> None:
    directory = add_finished()
    add_networks(directory, {"paper_sparsity": 1})
    (directory / "networks" / "paper_sparsity.safetensors").write_bytes(b"0")
    done = report("--results", str(mnist_alone))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "wrote 1 model cards, each beside the networks of its run"
    assert "networks/README.md" not in done.stdout
    assert (mnist_alone / "lenet5_mnist" / "paper-relevance-ab12cd34ef56" / "seed0" / "summary.json").is_file()
    assert "relevance ab12cd34" in (mnist_alone / "README.md").read_text()


def test_a_run_of_an_unsound_protocol_is_printed_with_it(results: Path, add_finished: AddRun) -> None:
    add_finished(protocol="authors", rows=[row("last", test=97.5)])
    done = report("--results", str(results), "--runs")
    assert "  relevance (protocol: authors)  " in done.stdout


def test_runs_of_one_scale_are_printed_as_a_plain_table(results: Path, add_finished: AddRun) -> None:
    add_finished(scale="smoke", data_source="embedded", data_name="digits", rows=[row("last", test=97.5)])
    add_finished(seed=3)
    done = report("--results", str(results), "--runs", "--scale", "smoke")
    header, line = done.stdout.splitlines()
    assert header.split() == [
        *("scale", "experiment", "data", "pruner", "seed", "from"),
        *("baseline", "val", "test", "sparsity", "%", "compression", "time"),
    ]
    assert line.split() == [
        *("smoke", "lenet5_mnist", "digits", "(stand-in)", "relevance", "0", "last"),
        *("-", "97.60", "97.50", "99.72", "355.1x", "40", "min"),
    ]
    assert not (results / "README.md").exists()


def test_without_finished_runs_the_table_says_so(results: Path) -> None:
    done = report("--results", str(results), "--runs", "--scale", "smoke")
    assert (done.returncode, done.stdout) == (0, "No finished runs of scale smoke.\n")


def test_a_damaged_run_ends_the_script_with_one_sentence(results: Path, add_finished: AddRun) -> None:
    (add_finished() / "summary.json").write_text("{")
    done = report("--results", str(results))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "summary.json cannot be used" in done.stderr


@pytest.mark.parametrize("what", [(), ("--runs",), ("--sweep", "lambda")])
def test_a_results_folder_that_is_not_there_is_refused_and_not_made(tmp_path: Path, what: tuple[str, ...]) -> None:
    done = report("--results", str(tmp_path / "typo"), *what)
    sentence = f"There is no folder {tmp_path}/typo; name the results folder, by default the repository's.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_records_gets_no_page(results: Path) -> None:
    done = report("--results", str(results))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{results} holds no finished run to report; make one first")
    assert [path.name for path in results.iterdir()] == ["paper"]


def test_a_folder_without_the_papers_numbers_gets_no_page(tmp_path: Path) -> None:
    write_run(tmp_path, summary())
    done = report("--results", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path} holds no paper/*.yaml to compare with; name the results folder")
    assert [path.name for path in tmp_path.iterdir()] == ["lenet5_mnist"]


def test_a_full_disk_ends_the_script_with_one_sentence(mnist_alone: Path, add_finished: AddRun) -> None:
    add_finished()
    script = [sys.executable, str(REPOSITORY / "scripts" / "report.py"), "--results", str(mnist_alone)]
    nearly_full = f"ulimit -f 0; exec {shlex.join(script)}"  # no file may grow
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(nearly_full, shell=True, capture_output=True, text=True, env=environment, check=False)
    (sentence,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert sentence.startswith(f"error: {mnist_alone}/lenet5_mnist/") and "File too large; free some space" in sentence


def test_a_scale_without_runs_is_an_error(results: Path) -> None:
    done = report("--results", str(results), "--scale", "smoke")
    assert done.returncode == 2
    assert "add --runs" in done.stderr


def test_reports_import_neither_torch_nor_hydra_nor_wandb() -> None:
    code = (
        "import sys, pkgutil, importlib, sparsity.report as room\n"
        "for module in pkgutil.walk_packages(room.__path__, 'sparsity.report.'): importlib.import_module(module.name)\n"
        "sys.exit(', '.join({'torch', 'hydra', 'omegaconf', 'wandb'} & set(sys.modules)) or None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_is_written_where_torch_cannot_be_imported(
    mnist_alone: Path, add_finished: AddRun, tmp_path: Path
) -> None:
    add_finished()
    (tmp_path / "none").mkdir()
    for name in ("torch", "torchvision", "transformers", "hydra", "wandb"):
        (tmp_path / "none" / f"{name}.py").write_text("raise ImportError('not installed')\n")
    command = [sys.executable, str(REPOSITORY / "scripts" / "report.py"), "--results", str(mnist_alone)]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'none'}{os.pathsep}{REPOSITORY}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert (mnist_alone / "index.html").is_file()
