"""Does the Makefile explain itself, hand its variables on, and refuse a Python that is too old?"""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEED_ENVIRONMENT = [
    "env",
    "data",
    "test",
    "test-slow",
    "test-portable",
    "lint",
    "reproduce-all",
    "reproduce-EXPERIMENT",
    "plan",
    "report",
    "verify",
    "sync",
    "bench",
    "status",
]
VARIABLES = ["SCALE=auto", "SEEDS=0", "PRUNERS=auto", "TRACKING=auto", "MACHINE=auto", "ALL=0"]


def make(*arguments: str, cwd: Path = ROOT, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run make as from a fresh shell: not as a child of the make that runs this suite, with its variables."""
    environment = {"PATH": os.environ["PATH"]}
    return subprocess.run(["make", *arguments], cwd=cwd, env=environment, input=typed, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with no environment yet, and what the Makefile needs to make one."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("target", [*NEED_ENVIRONMENT, "clean-runs"])
def test_help_explains_each_target(target: str) -> None:
    assert f"  {target} " in make("help").stdout


@pytest.mark.parametrize("variable", VARIABLES)
def test_help_names_each_variable_with_its_default(variable: str) -> None:
    assert f"  {variable} " in make("help").stdout


def test_make_alone_shows_the_help() -> None:
    assert make().stdout == make("help").stdout


def test_reproducing_one_experiment_passes_its_name_and_every_variable() -> None:
    chosen = ["SCALE=smoke", "SEEDS=0,1", "PRUNERS=l2", "TRACKING=none", "MACHINE=cpu"]
    command = make("-n", "reproduce-lenet5_mnist", *chosen).stdout.splitlines()[-1]
    assert command.endswith(
        'scripts/reproduce.py run --scale "smoke" --seeds "0,1" --pruners "l2" --tracking "none" --machine "cpu"'
        " --experiments lenet5_mnist"
    )


def test_reproducing_all_names_no_experiment() -> None:
    command = make("-n", "reproduce-all").stdout
    assert "scripts/reproduce.py run" in command
    assert "--experiments" not in command


@pytest.mark.parametrize("target", NEED_ENVIRONMENT)
def test_each_target_makes_the_environment_where_there_is_none(checkout: Path, target: str) -> None:
    assert "pip install -c constraints.txt" in make("-n", target, cwd=checkout).stdout


def test_a_python_that_is_too_old_is_refused_in_one_sentence(checkout: Path) -> None:
    old_python = checkout / "old_python"
    old_python.write_text("#!/bin/sh\ntest \"$1\" = --version && echo 'Python 3.8.10'\n")
    old_python.chmod(0o755)
    refusal = make("env", f"PYTHON={old_python}", cwd=checkout)
    assert refusal.returncode != 0
    assert f"{old_python} is Python 3.8.10, but 3.11 or newer is needed" in refusal.stderr


def test_a_missing_python_is_named(checkout: Path) -> None:
    refusal = make("env", "PYTHON=no_such_python", cwd=checkout)
    assert refusal.returncode != 0
    assert "There is no command no_such_python" in refusal.stderr


def test_a_python_without_venv_is_refused_in_one_sentence(checkout: Path) -> None:
    bare_python = checkout / "bare_python"
    bare_python.write_text('#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\n')
    bare_python.chmod(0o755)
    refusal = make("env", f"PYTHON={bare_python}", cwd=checkout)
    assert refusal.returncode != 0
    assert "lacks the module venv" in refusal.stderr


@pytest.mark.parametrize(("typed", "kept"), [("yes\n", False), ("no\n", True), ("", True)])
def test_runs_are_shown_and_removed_only_on_a_typed_yes(checkout: Path, typed: str, kept: bool) -> None:
    run = checkout / "results" / "runs" / "lenet5_mnist"
    run.mkdir(parents=True)
    answer = make("clean-runs", cwd=checkout, typed=typed)
    assert "results/runs/lenet5_mnist" in answer.stdout
    assert run.exists() == kept


def test_the_suite_is_tried_as_on_other_processors_with_each_number_of_threads(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shown = "$OMP_NUM_THREADS ${ATEN_CPU_CAPABILITY-all} ${ONEDNN_MAX_CPU_ISA-all} ${SPARSITY_DATA_MIRROR-none}"
    python.write_text(f'#!/bin/sh\necho "$@" "{shown}"\ntest "$OMP_NUM_THREADS" != 2\n')
    python.chmod(0o755)
    (python.parents[1] / ".installed").touch()
    made = make("test-portable", "SPARSITY_DATA_MIRROR=/data", cwd=checkout)
    assert made.returncode != 0  # as one of them failed; the others were tried all the same
    tried = [line.partition(" -n ")[2] for line in made.stdout.splitlines() if " -n " in line]
    processors = ("all all", "avx2 AVX2", "default SSE41")
    assert tried == [f"{2 // n} {n} {processor} none" for processor in processors for n in (1, 2)]
