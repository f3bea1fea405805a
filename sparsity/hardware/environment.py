"""What must stand in the environment before torch is imported: how threads wait, where compiled code is kept.

`sparsity/__init__.py` sees to it, so that every script, every child and every library user has the same.
"""

import getpass
import hashlib
import os
import platform
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from sparsity.hardware import cpu

CACHE = "TORCHINDUCTOR_CACHE_DIR"
SPINS = "GOMP_SPINCOUNT"
# of GNU's OpenMP, of all, and of LLVM's and Intel's: whoever sets one of them has chosen how threads wait
WAITING = (SPINS, "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
# `bench.py busy`, medians of five pairs, twice, on two cores: after 1,500 spins a step takes 3.8 times its quiet time
# beside two busy programs (3.6 after 1,000, 5.3 after 2,000, 10 to 16 unbounded) and 1.03 and 1.13 of the unbounded
# quiet time (1.18 and 1.24 after 1,000); fewer put threads to sleep too often, more keep the cores from those awaited
NUM_SPINS = "1500"
_INSTRUCTIONS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")  # hold torch and oneDNN back from what the processor has


def settle(environment: MutableMapping[str, str]) -> None:
    """Bound how long waiting threads spin, unless the user chose; give each instruction set a cache of its own.

    The threads of GNU's OpenMP, which torch brings along, spin for some 3 ms before they sleep. Where other programs
    are busy the one that all wait for is not running, and it cannot before the spinning ends.
    """
    if not any(name in environment for name in WAITING):
        environment[SPINS] = NUM_SPINS
    environment[CACHE] = str(_cache_folder(environment))


def _cache_folder(environment: MutableMapping[str, str]) -> Path:
    """The user's folder for what torch.compile makes, or torch's own, and within it one of this instruction set.

    torch takes code that was compiled for another one, and then computes other updates without a word.
    """
    folder = Path(environment.get(CACHE) or Path(tempfile.gettempdir()) / f"torchinductor_{_user()}").absolute()
    own = instruction_set(environment)
    return folder if folder.name == own else folder / own  # a child inherits the folder


def instruction_set(environment: MutableMapping[str, str]) -> str:
    """A name for what the processor can do and torch may use of it: the machine's kind and a digest."""
    held_back = [f"{name}={environment.get(name, '').lower()}" for name in _INSTRUCTIONS]
    processor = " ".join(cpu.instructions()) or platform.processor()
    digest = hashlib.sha256("\n".join([processor, *held_back]).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:10]}"


def _user() -> str:
    """Whose torch's own folder is, in torch's words."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        return f"uid_{os.getuid()}"
