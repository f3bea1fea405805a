"""The most memory that something takes while it runs, as the system counts it, whoever asks for it."""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # written to CLEAR: the peak is what is resident now (man 5 proc)


def peak_bytes(act: Callable[[], object]) -> int | None:
    """Resident bytes at the peak of `act` beyond those before it; None where the system does not count so (not Linux).

    What is free before is given back to the system, so that taking it again counts.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        CLEAR.write_text(RESET_PEAK)
        before = _resident("VmRSS")
    except OSError:
        return None
    result = act()
    peak = _resident("VmHWM")
    del result
    return max(0, peak - before)


def _resident(key: str) -> int:
    """Bytes; the system writes kB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])
