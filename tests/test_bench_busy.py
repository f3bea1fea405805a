"""The benchmark beside busy programs: each way to wait has a process of its own, and all have the same weights."""

import io
import os
import subprocess
import sys
from typing import Any

import pytest

from scripts import bench
from sparsity.benchmark import busy
from sparsity.benchmark.busy import MOST_BUSY, UNBOUNDED, busy_measurements, busy_programs, serve
from sparsity.hardware.environment import SPINS

# stands for `serve`: steps take as many milliseconds as this process may spin thousand times, twice as many when busy
FAKE = """
import os, sys
spins = int(os.environ.get("GOMP_SPINCOUNT", 1000)) / 1e6
print(DIGEST, flush=True)
for number, _ in enumerate(sys.stdin):
    print(spins * (1 + number % 2), flush=True)
"""


def measurements(digest: str = "'same'") -> list[dict[str, object]]:
    command = [sys.executable, "-c", FAKE.replace("DIGEST", digest)]
    return list(busy_measurements(command, ["project", UNBOUNDED], num_pairs=2, seconds=0.0, num_busy=0))


def test_each_policy_has_its_quiet_and_its_busy_step_and_both_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "REST_SECONDS", 0.0)
    monkeypatch.setenv(SPINS, "7")  # this process's own, which the project's policy must not inherit
    found = {(row["measured"], row.get("policy")): row for row in measurements()}
    assert found["same weights", None]["met"]
    assert found["quiet step", "project"]["seconds"] == pytest.approx(0.001)
    assert found["busy step", UNBOUNDED]["seconds"] == pytest.approx(0.6)
    ratio = found["busy / quiet", "project"]
    assert (ratio["ratio"], ratio["at_most"], ratio["met"]) == (pytest.approx(2.0), MOST_BUSY, True)
    assert found["quiet / unbounded quiet", "project"]["ratio"] == pytest.approx(1 / 300, rel=1e-3)


def test_other_weights_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "REST_SECONDS", 0.0)
    assert not measurements("os.environ.get('GOMP_SPINCOUNT')")[0]["met"]


def test_a_process_that_ends_ends_the_benchmark_with_one_sentence() -> None:
    with pytest.raises(ValueError, match="has ended"):
        list(busy_measurements([sys.executable, "-c", ""], [UNBOUNDED], 2, 0.0, 0))


def test_busy_programs_are_gone_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            started.append(self)

    monkeypatch.setattr(busy, "REST_SECONDS", 0.0)
    monkeypatch.setattr(subprocess, "Popen", Watched)
    with busy_programs(2):
        assert [program.poll() for program in started] == [None, None]
        assert len({os.getsid(program.pid) for program in started}) == 2
    assert all(program.returncode is not None for program in started)


def test_a_served_process_answers_with_its_weights_and_with_seconds_a_step() -> None:
    answers = io.StringIO()
    with bench.workspace("lenet5_mnist", "cpu", 1, "embedded", "smoke", ["regularise.batch_size=2"]) as work:
        serve(work, io.StringIO("0.01\n0.01\n"), answers)
    digest, *seconds = answers.getvalue().split()
    assert len(digest) == 64 and len(seconds) == 2 and all(float(value) > 0 for value in seconds)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match=r"^error: --policies: there is no idle; choose among project, unbounded, "):
        bench.main(["busy", "--policies", "project,idle"])


def test_a_single_pair_is_refused() -> None:
    with pytest.raises(SystemExit):
        bench.main(["busy", "--pairs", "1"])
