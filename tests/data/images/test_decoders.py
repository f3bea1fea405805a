"""The processes that decode outlive every signal that a run outlives, and nothing that ends it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from sparsity.data.images.crops import EpochDraws
from sparsity.data.images.decoders import Decoders, _Decoder, _end
from sparsity.data.images.decoding import read
from tests.data.images.jpegs import write_folder

LONGEST_SECONDS = 60

PARENT = """
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from sparsity.data.images.decoders import Decoders
    decoders = Decoders(24)
    assert decoders.fill(([Path(sys.argv[1])], [0], None), np.empty((1, 24, 24, 3), np.uint8)) == b"\\1"
    print(decoders._started[0].process.pid, flush=True)
"""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    write_folder(tmp_path / "train", num_classes=1, per_class=3)
    return sorted(tmp_path.rglob("*.JPEG"))


def is_running(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_what_cannot_be_read_is_said_and_the_rest_is_there(files: list[Path]) -> None:
    files[1].write_bytes(b"no image")
    crop, pixels = EpochDraws(0, "regularise", 3, 0.08).crop, np.empty((3, 24, 24, 3), np.uint8)
    assert Decoders(24).fill((files, [7, 8, 9], crop), pixels) == b"\1\0\1"
    for place, index in ((0, 7), (2, 9)):
        assert np.array_equal(pixels[place], read(files[place], index, crop, 24))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_that_a_run_answers_in_order_ends_no_process(name: str, files: list[Path]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    decoder, pixels = _Decoder(24), np.empty((1, 24, 24, 3), np.uint8)
    for _ in range(3):  # the first comes while the process starts
        os.kill(decoder.process.pid, getattr(signal, name))
        assert decoder.fill((files[:1], [0], None), pixels) == b"\1"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    _end([decoder])


ENDS = {
    "by itself": ("", 0),
    "by an exception": ("raise KeyError", 1),
    "by exit": ("sys.exit(75)", 75),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
}


@pytest.mark.parametrize(("end", "status"), ENDS.values(), ids=ENDS)
def test_no_process_outlives_its_parent_however_that_ends(end: str, status: int, files: list[Path]) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PARENT) + end, str(files[0])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
    assert ended.returncode == status, ended.stderr
    deadline = time.monotonic() + LONGEST_SECONDS
    while is_running(int(ended.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_imports_no_torch() -> None:
    said = "import sys, sparsity.data.images.decoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said], timeout=LONGEST_SECONDS, check=False).returncode == 0
