"""What the zeros of a network are worth: where its weights lead, what it computes, and how small it can be made."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsity.files import TEMPORARY
from sparsity.pruning.paths import traced
from sparsity.records import Worth
from sparsity.weights.checkpoints import plain_weights
from sparsity.weights.compaction import compact
from sparsity.weights.disk_sizes import COMPRESSORS, compressed_length

WORD_BYTES = 4  # of a weight and of an index


def worth(build_model: Callable[[], nn.Module], weights: Mapping[str, Tensor], shape: tuple[int, ...] | None) -> Worth:
    """Count, compact and trace a network; what cannot be done with one of its kind is None.

    Args:
        build_model: makes another of its kind, on the CPU.
        weights: its state_dict, pruned weights zero.
        shape: of an input image; None of other inputs, of which no operations are counted and no paths traced.
    """
    with torch.random.fork_rng(devices=()):
        model = build_model()
    model.load_state_dict(weights)
    model.eval()
    on_path = traced(build_model, weights, shape) if shape else None
    dense, kept = operations(model, shape) if shape else (None, None)
    named = dict(model.named_parameters())
    csr_bytes = sum(map(bytes_as_csr, named.values()))
    units = {name: len(named[f"{name}.weight"]) for name, _ in model.named_modules() if f"{name}.weight" in named}
    left: dict[str, int] | None = None
    with suppress(ValueError):  # no chain of its layers is known
        left = compact(model)
    return Worth(
        num_weights=sum(int(value.count_nonzero()) for name, value in weights_of(weights, named)),
        num_on_path=None if on_path is None else sum(int(mask.sum()) for mask in on_path.values()),
        operations=dense,
        operations_kept=kept,
        operations_compact=operations(model, shape)[0] if left is not None and shape else None,
        units={name: {"total": units[name], "left": number} for name, number in (left or {}).items()},
        num_compact=sum(value.numel() for value in model.parameters()) if left is not None else None,
        csr_bytes=csr_bytes,
        gzip_bytes=gzip_bytes(weights),
    )


def weights_of(weights: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The parameters that a path may lead through: all but biases."""
    return [(name, weights[name]) for name in parameters if not name.endswith("bias")]


@torch.no_grad()
def operations(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-accumulates of layers for one input: of all weights, and of those that are not zero."""
    counted: list[tuple[int, int]] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        times = output.numel() // len(layer.weight)  # that each weight is used
        counted.append((times * layer.weight.numel(), times * int(layer.weight.count_nonzero())))

    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    model(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return sum(dense for dense, _ in counted), sum(kept for _, kept in counted)


def gzip_bytes(weights: Mapping[str, Tensor]) -> int:
    """Bytes of a dense file of the weights, their zeros in it, through gzip -9."""
    with tempfile.NamedTemporaryFile(suffix=TEMPORARY) as file:
        torch.save(plain_weights(weights), file)
        file.flush()
        return compressed_length(Path(file.name), COMPRESSORS["gzip_9"]())


def bytes_as_csr(weight: Tensor) -> int:
    """Bytes of a matrix as compressed sparse rows of 32-bit values and indices; of a vector as it is."""
    if weight.dim() < 2:
        return WORD_BYTES * weight.numel()
    return WORD_BYTES * (2 * int(weight.count_nonzero()) + len(weight) + 1)
