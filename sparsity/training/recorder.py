"""A buffer of the rows of each step, on the device, copied to the host at logging cadence only."""

from collections.abc import Sequence

import torch
from torch import Tensor


class StepRecorder:
    """Keeps up to `capacity` rows of per-step values on the device.

    Args:
        names: one per column, as they appear in the log.
        capacity: rows it holds; the loop must drain it before more are written.
        device: where the values live.
    """

    def __init__(self, names: Sequence[str], capacity: int, device: torch.device) -> None:
        self.names = tuple(names)
        self._rows = torch.zeros(capacity, len(self.names), device=device)
        self._places = torch.arange(capacity, device=device).unsqueeze(1)
        self._slot = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def capacity(self) -> int:
        """Rows it holds."""
        return len(self._rows)

    def write(self, values: Sequence[Tensor]) -> None:
        """Append one row of 0-dim tensors; all of it happens on the device, so that it can stand in a CUDA graph."""
        row = torch.stack([value.detach().to(self._rows) for value in values])
        # where, unlike index_copy_, is one kernel under deterministic algorithms
        torch.where(self._places == self._slot, row, self._rows, out=self._rows)
        self._slot.add_(1)

    def drain(self, num_rows: int) -> list[dict[str, float]]:
        """The `num_rows` rows written since the last call, oldest first; one copy from the device."""
        rows = self._rows[:num_rows].tolist()
        self._slot.zero_()
        return [dict(zip(self.names, row, strict=True)) for row in rows]
