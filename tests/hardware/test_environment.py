"""How threads wait is bounded and compiled code belongs to one instruction set, before torch is imported."""

import ast
import getpass
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sparsity.hardware import cpu, environment
from sparsity.hardware.environment import CACHE, NUM_SPINS, SPINS, settle

ROOT = Path(__file__).parents[2]


def settled(**given: str) -> dict[str, str]:
    settle(given)
    return given


def test_waiting_threads_soon_sleep() -> None:
    assert settled()[SPINS] == NUM_SPINS


@pytest.mark.parametrize("name", [SPINS, "OMP_WAIT_POLICY", "KMP_BLOCKTIME"])
def test_who_chose_how_threads_wait_keeps_it(name: str) -> None:
    found = settled(**{name: "7"})
    del found[CACHE]
    assert found == {name: "7"}


def test_torch_finds_both_in_the_environment_when_it_is_imported() -> None:
    code = "import os, sys, sparsity.hardware.machine; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    bare = {name: value for name, value in os.environ.items() if name not in (*environment.WAITING, CACHE)}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", NUM_SPINS]


def test_no_script_imports_torch_before_the_package() -> None:
    for path in (ROOT / "scripts").glob("*.py"):
        names = [name for node in ast.parse(path.read_text()).body for name in imported(node)]
        assert "sparsity" in names or path.name == "__init__.py", path
        assert "torch" not in names[: names.index("sparsity") if "sparsity" in names else None], path


def imported(statement: ast.stmt) -> list[str]:
    """The packages that a statement imports."""
    if isinstance(statement, ast.Import):
        return [name.name.partition(".")[0] for name in statement.names]
    return [statement.module.partition(".")[0]] if isinstance(statement, ast.ImportFrom) and statement.module else []


@pytest.mark.parametrize("held_back", [{"ATEN_CPU_CAPABILITY": "avx2"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}])
def test_another_instruction_set_has_another_folder_of_compiled_code(held_back: dict[str, str]) -> None:
    assert settled()[CACHE] != settled(**held_back)[CACHE]
    assert settled(**held_back) == settled(**held_back)


@pytest.mark.parametrize("key", ["flags\t\t", "Features\t"])  # an x86 processor and an ARM one
def test_another_processor_has_another_folder_of_compiled_code(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")

    def processor(instructions: str) -> str:
        cpu.CPUINFO.write_text(f"processor : 0\n{key}: {instructions}\n\n")
        return settled()[CACHE]

    assert processor("avx avx2") == processor("avx2 avx") != processor("avx avx2 avx512f")


def test_a_system_that_does_not_list_its_instructions_is_known_by_its_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "example-9")
    one = settled()[CACHE]
    monkeypatch.setattr(platform, "processor", lambda: "example-10")
    assert one != settled()[CACHE]


def test_the_folder_lies_in_the_one_that_the_user_chose(tmp_path: Path) -> None:
    folder = Path(settled(**{CACHE: str(tmp_path)})[CACHE])
    assert folder.parent == tmp_path


def test_a_child_compiles_into_the_folder_of_its_parent(tmp_path: Path) -> None:
    parent = settled(**{CACHE: str(tmp_path)})
    assert settled(**parent) == parent


def test_without_a_choice_the_folder_lies_in_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    assert Path(settled()[CACHE]).parent == Path(default_cache_dir())
    monkeypatch.setattr(getpass, "getuser", lambda: {"root": 0}["nobody"])
    assert Path(settled()[CACHE]).parent == Path(default_cache_dir())


def test_the_suite_compiles_into_such_a_folder() -> None:
    assert Path(os.environ[CACHE]).name == environment.instruction_set(os.environ)
