"""Which processor this is and what it can multiply, as Linux says; free of torch."""

import os
import platform
from contextlib import suppress
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BF16_UNITS = {"amx_bf16", "avx512_bf16"}  # the second alone: 0.56 (ResNet-32) to 0.8 of a step in fp32, on an EPYC


def name() -> str:
    """The processor's name, for the record."""
    return _field("model name") or platform.processor() or platform.machine()


def num_cores() -> int:
    """Cores that this process may use: in a container, or a job of a cluster, fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def has_bf16_units() -> bool:
    """Whether products in bf16 are faster here than in fp32: on others autocast takes several times as long."""
    return not BF16_UNITS.isdisjoint(instructions())


def instructions() -> list[str]:
    """The first processor's own list of what it can do, sorted; empty elsewhere than on Linux."""
    return sorted(_field("flags", "Features", "features").split())


def _field(*keys: str) -> str:
    """What the first processor says under one of these keys; nothing elsewhere than on Linux."""
    with suppress(OSError), CPUINFO.open() as file:
        for line in file:
            if line.startswith(keys):
                return line.partition(":")[2].strip()
    return ""
