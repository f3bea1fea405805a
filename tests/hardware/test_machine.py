"""Where a run computes, and that its random states derive from seed and purpose alone."""

import contextlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sparsity import config
from sparsity.hardware import cpu, driver, machine
from sparsity.settings import MachineSettings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The settings of torch, which are global, as they were."""
    debug_mode = torch.get_deterministic_debug_mode()
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.set_deterministic_debug_mode(debug_mode)


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "obstacle", lambda: driver.ABSENT)
    assert machine.prepare(MachineSettings("auto")) == torch.device("cpu")


@pytest.mark.parametrize("obstacle", ["", driver.ABSENT, "the card is too old: take another"])
def test_the_scale_and_the_device_are_chosen_by_one_answer(monkeypatch: pytest.MonkeyPatch, obstacle: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # which alone would take a GPU without kernels
    monkeypatch.setattr(driver, "obstacle", lambda: obstacle)
    on_gpu = machine.prepare(MachineSettings("auto")).type == "cuda"
    assert on_gpu == machine.has_cuda() == (config.concrete_scale("auto") == "paper") == (not obstacle)


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        (driver.ABSENT, "the CPU is taken: there is no CUDA GPU."),
        ("the card is too old: take another", "warning: the CPU is taken: the card is too old: take another."),
    ],
)
def test_why_the_cpu_is_taken_is_said_where_nobody_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, obstacle: str, said: str
) -> None:
    monkeypatch.setattr(driver, "obstacle", lambda: obstacle)
    with caplog.at_level("INFO"):
        machine.prepare(MachineSettings("cpu"))
        assert caplog.messages == []
        machine.prepare(MachineSettings("auto"))
    assert caplog.messages == [said]


@pytest.mark.parametrize(("device", "expected"), [("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_a_gpu_is_taken_unless_the_cpu_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, device: str, expected: str
) -> None:
    monkeypatch.setattr(driver, "obstacle", lambda: "")
    assert machine.prepare(MachineSettings(device)).type == expected


def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "obstacle", lambda: "the card is too old: take another")
    with pytest.raises(ValueError) as caught:
        machine.prepare(MachineSettings("cuda"))
    assert str(caught.value) == (
        "machine.device=cuda, but the card is too old: take another; machine=cpu computes without one."
    )


def test_a_run_is_deterministic_and_flushes_denormals() -> None:
    machine.prepare(MachineSettings("cpu"))
    assert torch.are_deterministic_algorithms_enabled()
    assert float(torch.tensor(1e-40) * 1) == 0.0


def test_the_number_of_threads_is_the_users() -> None:
    for num_threads, said in ((2, ", 2 threads"), (1, ", 1 thread")):
        machine.prepare(MachineSettings("cpu", num_threads=num_threads))
        assert torch.get_num_threads() == num_threads
        assert machine.describe(torch.device("cpu")).endswith(said)


def test_processors_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert machine.describe(torch.device("cpu")).startswith(f"cpu: {cpu.name()} with AVX2, ")


def test_a_seeded_block_depends_on_seed_and_purpose_and_leaves_no_trace() -> None:
    def draw(seed: int, purpose: str) -> float:
        with machine.seeded(seed, purpose, torch.device("cpu")):
            return float(torch.rand(()))

    before = torch.get_rng_state()
    assert draw(0, "initialisation") == draw(0, "initialisation")
    assert len({draw(0, "a"), draw(0, "b"), draw(1, "a")}) == 3
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "touched"), [("cuda:1", ["cuda:1"]), ("cpu", [])])
def test_of_many_gpus_a_seeded_block_touches_the_runs_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, touched: list[str]
) -> None:
    seen: dict[str, list[str]] = {"read": [], "written": [], "seeded": []}
    entered: list[str] = []

    @contextlib.contextmanager
    def on(gpu: torch.device) -> Iterator[None]:
        entered.append(str(gpu))
        yield

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda gpu: seen["read"].append(str(gpu)))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, gpu: seen["written"].append(str(gpu)))
    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seen["seeded"].append(entered[-1]))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("every GPU is seeded"))
    with machine.seeded(0, "initialisation", torch.device(name)):
        pass
    assert seen == dict.fromkeys(seen, touched)


def test_a_phase_starts_with_a_random_state_of_its_own() -> None:
    with torch.random.fork_rng():
        machine.seed_everything(0, "finetune")
        first = torch.rand(())
        machine.seed_everything(0, "finetune")
        assert torch.equal(torch.rand(()), first)
        machine.seed_everything(1, "finetune")
        assert not torch.equal(torch.rand(()), first)


@pytest.mark.parametrize(
    ("precision", "products", "convolutions"),
    [("fp32", "highest", False), ("tf32", "high", True), ("bf16", "high", True)],
)
def test_fp32_means_fp32_in_convolutions_too(precision: str, products: str, convolutions: bool) -> None:
    machine.round_products(precision)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (products, convolutions)


def test_a_precision_other_than_fp32_stands_in_the_record() -> None:
    device = torch.device("cpu")
    assert machine.describe(device, "bf16") == machine.describe(device) + ", bf16"


@pytest.mark.parametrize(("asked", "before"), [("bf16", None), ("auto", "bf16"), ("bf16", "bf16")])
def test_bf16_on_a_cpu_without_units_for_it_is_said_of_resumed_runs_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, asked: str, before: str | None
) -> None:
    monkeypatch.setattr(cpu, "has_bf16_units", lambda: False)
    assert machine.precision_on(MachineSettings(precision=asked), torch.device("cpu"), before)[0] == "bf16"
    assert len(caplog.messages) == 1 and caplog.messages[0].endswith("takes several times as long.")


def test_a_gpu_that_runs_out_of_memory_is_one_sentence_with_the_ways_out() -> None:
    said = r"^The GPU ran out of memory \(CUDA out of memory\): .* regularise\.micro_batches=2"
    with pytest.raises(ValueError, match=said), machine.enough_memory():
        raise torch.OutOfMemoryError("CUDA out of memory.\nAnd a long story.")


def test_a_machine_without_a_compiler_trains_without_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(function: object) -> object:
        raise RuntimeError("No working C++ compiler found\nand a long story")

    machine.can_compile.cache_clear()
    monkeypatch.setattr(torch, "compile", no_compiler)
    assert not machine.can_compile("cpu")
    assert caplog.messages == [
        "warning: machine.compile=none, because torch.compile does not work here (No working C++ compiler found)."
    ]
    machine.can_compile.cache_clear()


# frees 80 MiB, more than a C library keeps by itself, and counts the pages that taking them again maps anew
TAKES_MEMORY_TWICE = """
import resource
from sparsity.hardware import machine
from sparsity.settings import MachineSettings

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(10 << 20) for _ in range(8)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

machine.prepare(MachineSettings("cpu"))
new_pages()
print(new_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such switch")
def test_memory_that_a_step_frees_is_kept_for_the_next() -> None:
    command = [sys.executable, "-c", TAKES_MEMORY_TWICE]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 1_000  # of 20,480
