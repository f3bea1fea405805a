"""What happened in each step? A buffer of rows on the device, copied to the host at logging cadence only."""

from collections.abc import Sequence

import torch
from torch import Tensor


class StepRecorder:
    """Keeps up to `capacity` rows of per-step figures on the device.

    Args:
        names: one per column, as they appear in the log.
        capacity: rows it holds; the loop must drain it when it is full.
        device: where the figures live.
    """

    def __init__(self, names: Sequence[str], capacity: int, device: torch.device) -> None:
        self.names = tuple(names)
        self._rows = torch.zeros(capacity, len(self.names), device=device)
        self._slot = torch.zeros(1, dtype=torch.int64, device=device)
        self._num_written = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more row."""
        return self._num_written == len(self._rows)

    def write(self, values: Sequence[Tensor]) -> None:
        """Append one row of 0-dim tensors without asking the device for a value."""
        row = torch.stack([value.detach().to(self._rows) for value in values])
        self._rows.index_copy_(0, self._slot, row.unsqueeze(0))
        self._slot.add_(1)
        self._num_written += 1

    def drain(self) -> list[dict[str, float]]:
        """The rows written since the last call, oldest first; one copy from the device."""
        rows = self._rows[: self._num_written].tolist()
        self._slot.zero_()
        self._num_written = 0
        return [dict(zip(self.names, row, strict=True)) for row in rows]
