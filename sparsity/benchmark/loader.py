"""The loader alone, images a second with nothing to train: it must exceed what the network consumes."""

from collections.abc import Iterator
from typing import Any

import torch

from sparsity.benchmark.timing import clock, spread
from sparsity.data.images.streaming import StreamedData
from sparsity.hardware import machine

NUM_UNTIMED = 5  # batches, while the loader fills its queue


def loader_measurements(
    data: StreamedData, batch_size: int, num_blocks: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Training batches as a run of `data` would see them, in blocks of equal size over one epoch.

    Raises:
        ValueError: if an epoch has too few batches for so many blocks.
    """
    batches = data.training_batches(batch_size, seed=0, kind="regularise")
    per_block = (batches.steps_per_epoch - NUM_UNTIMED) // num_blocks
    if per_block < 1:
        raise ValueError(
            f"{data.train.identity} has {batches.steps_per_epoch} batches of {batch_size}, too few for {num_blocks} "
            f"rounds after {NUM_UNTIMED} untimed ones: lower --rounds or --batch-size."
        )
    batches.start_epoch(0)
    position = torch.zeros((), dtype=torch.int64, device=device)
    for step in range(NUM_UNTIMED):
        batches.at(position, step)
    rates = []
    for block in range(num_blocks):
        first, started = NUM_UNTIMED + block * per_block, clock(device)
        for step in range(first, first + per_block):
            batches.at(position, step)
        rates.append(per_block * batch_size / (clock(device) - started))
    yield {
        "measured": "loader",
        "data": data.name,
        "device": machine.describe(device),
        **spread(rates, "images_per_second"),
    }
