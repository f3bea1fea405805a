"""What every test may rely on: one thread a worker unless the environment says otherwise, and no way to a network.

The environment is set when this file is imported, that is before torch, and children inherit it.
What stands in it is how `make test-portable` tries other processors and numbers of threads.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sparsity  # noqa: F401  # before torch: how threads wait, and the folder of compiled code

if TYPE_CHECKING:
    from tests.tiny_runs import TinyRun

LOOPBACK = ("localhost", "127.0.0.1", "::1")
CLOSED_PORT = "http://127.0.0.1:9"

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(
    WANDB_MODE="offline",
    NETRC=os.devnull,  # this and the key below: a developer's login must not turn `tracking=auto` into online
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    # Children are not covered by the fixture below: their HTTP clients meet a closed port, as without a network.
    HTTP_PROXY=CLOSED_PORT,
    HTTPS_PROXY=CLOSED_PORT,
    http_proxy=CLOSED_PORT,
    https_proxy=CLOSED_PORT,
    NO_PROXY=",".join(LOOPBACK),
    no_proxy=",".join(LOOPBACK),
)
os.environ.pop("WANDB_API_KEY", None)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection beyond this machine fails the test that tries it."""
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            pytest.fail(f"a test tried to reach {address[0]}: tests run without a network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A test that sets torch's number of threads, which is global, does so for itself alone."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> "TinyRun":
    """A run of tests/tiny_runs.py at its defaults, finished; for reading only."""
    from tests import tiny_runs  # imports torch, which many tests do without

    return tiny_runs.tiny_run(tmp_path_factory.mktemp("tiny"))


HOLD = """
import sys, pathlib
from sparsity import files
with files.locked(pathlib.Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the directory tmp_path / "run" until its input is closed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()
