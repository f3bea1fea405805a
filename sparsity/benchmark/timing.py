"""Times on a machine that may be busy: contestants take turns, and ratios are taken within a round."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import torch


@dataclass(frozen=True)
class Contestant:
    """A step to be timed in blocks: a few untimed ones first, then the block, then what is to be done after it."""

    step: Callable[[], object]
    num_untimed: int = 1
    after: Callable[[], object] = lambda: None


def time_in_turns(
    contestants: Mapping[str, Contestant], num_rounds: int, num_steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Name -> seconds a step in each round; in a round each contestant makes one block of `num_steps`.

    Every other round runs backwards, so that nobody always follows the same neighbour.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(num_rounds):
        names = list(contestants)[:: 1 if number % 2 == 0 else -1]
        for name in names:
            seconds[name].append(time_block(contestants[name], num_steps, device))
    return seconds


def time_block(contestant: Contestant, num_steps: int, device: torch.device) -> float:
    """Seconds a step over one block."""
    for _ in range(contestant.num_untimed):
        contestant.step()
    started = clock(device)
    for _ in range(num_steps):
        contestant.step()
    seconds = (clock(device) - started) / num_steps
    contestant.after()
    return seconds


def clock(device: torch.device) -> float:
    """The time in seconds when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def spread(values: list[float], unit: str) -> dict[str, Any]:
    """The median under the name of its unit, and the quartiles around it; four digits."""
    low, _, high = quantiles(values)
    return {unit: _rounded(median(values)), "quartiles": [_rounded(low), _rounded(high)]}


def speedup(name: str, theirs: list[float], ours: list[float], at_least: float, device: torch.device) -> dict[str, Any]:
    """How many times faster ours is, by the ratios within each round; the target is one of a GPU."""
    measured = spread([a / b for a, b in zip(theirs, ours, strict=True)], "ratio")
    target = {"at_least": at_least, "met": measured["ratio"] >= at_least} if device.type == "cuda" else {}
    return {"measured": name, **measured, **target}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
