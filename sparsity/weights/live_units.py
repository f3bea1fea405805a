"""Training without the units that pruning has cut off: a step of a smaller dense network, the same but for rounding.

A unit is cut off if nothing leads to it, its own bias included, or nothing away from it. The first kind says 0, the
second is heard by nobody: what is kept of their weights has a gradient of exactly 0 in a whole step, too. Weights,
masks, optimiser and penalty keep their shapes: the network alone is called with parts of its weights, and autograd
fills the rest with zeros.

Where a unit's removal would change more than rounding it stays: batch normalisation follows its statistics, and
dropout draws another noise for another number of units.
"""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from sparsity.pruning.masks import unrolled
from sparsity.training.extensions import Masking
from sparsity.weights.compaction import Chain, Layer, chains_of

LANES = 8
"""Widths are rounded up to a multiple of it, a vector of AVX2: 41 maps take a convolution longer than 48 do."""

MOST_GATHERED = 0.4
"""Share of its weights up to which it pays to gather those of a layer that uses each once for an example, and to
scatter their gradient: at 0.46 of LeNet-5's first linear layer nothing is gained, in batches of 100."""


def live_units(model: nn.Module, masks: Masking) -> "LiveUnits | None":
    """The live units of a network; None of one without layers that are known to follow each other, nothing between."""
    with suppress(ValueError):
        chains = [chain for chain in chains_of(model) if chain.norm is None and not chain.dropout]
        return LiveUnits(model, masks, chains) if chains else None
    return None


class LiveUnits:
    """Gives of each weight the part between units that are not cut off, as the masks stand.

    Args:
        model: a network.
        masks: of its parameters.
        chains: of its layers.
    """

    def __init__(self, model: nn.Module, masks: Masking, chains: list[Chain]) -> None:
        self._masks, self._version, self._chains = masks, -1, chains
        self._layers = list(dict.fromkeys(layer for chain in chains for layer in (chain.first, chain.second)))
        parameters = {parameter for layer in self._layers for parameter in layer.parameters()}
        self._names: dict[Tensor, str] = {of: name for name, of in model.named_parameters() if of in parameters}
        self._places: dict[str, Tensor] = {}

    def part(self, name: str, weight: Tensor) -> Tensor:
        """The live part of what stands for the parameter called `name`, as that lies in memory; `weight` itself if all.

        Args:
            weight: of the parameter's shape and strides.
        """
        if self._masks.version != self._version:
            self._version, self._places = self._masks.version, self._find()
        places = self._places.get(name)
        if places is None:
            return weight
        part: Tensor = _Part.apply(weight, places)
        return part

    def _find(self) -> dict[str, Tensor]:
        """Name -> where in memory each weight of the live part lies; parameters without a dead unit have no entry."""
        live = _worthwhile(self._chains, _live(self._chains, self._kept()))
        found = {}
        for layer in self._layers:
            rows, columns = (torch.ones(size, dtype=torch.bool) for size in layer.weight.shape[:2])
            for chain, units in live.items():
                rows = units if chain.first is layer else rows
                columns = units.repeat_interleave(chain.spread) if chain.second is layer else columns
            if not (rows.all() and columns.all()):
                found[self._names[layer.weight]] = _places(layer.weight, rows, columns)
            if layer.bias is not None and not rows.all():
                found[self._names[layer.bias]] = rows.nonzero().flatten()
        return found

    def _kept(self) -> dict[Tensor, Tensor]:
        """Parameter of these layers -> which of its weights are kept, a copy."""
        held = self._masks.held
        return {
            parameter: held[name] != 0 if name in held else torch.ones_like(parameter, dtype=torch.bool)
            for parameter, name in self._names.items()
        }


def _live(chains: list[Chain], kept: Mapping[Tensor, Tensor]) -> dict[Chain, Tensor]:
    """Which units of each chain something leads to and away from; what is cut off may cut off others."""
    while True:
        live = {chain: _reached(chain.first, kept) & chain.used(kept[chain.second.weight]) for chain in chains}
        before = sum(int(mask.sum()) for mask in kept.values())
        for chain, units in live.items():
            kept[chain.first.weight][~units] = False
            chain.inputs(kept[chain.second.weight])[:, ~units] = False
        if sum(int(mask.sum()) for mask in kept.values()) == before:
            return live


def _reached(layer: Layer, kept: Mapping[Tensor, Tensor]) -> Tensor:
    weights = kept[layer.weight].flatten(1).any(1)
    return weights if layer.bias is None else weights | kept[layer.bias]


def _worthwhile(chains: list[Chain], live: Mapping[Chain, Tensor]) -> dict[Chain, Tensor]:
    """The units to compute, of the chains for which that is quicker than all of them."""
    chosen: dict[Chain, Tensor] = {}
    gathered: dict[Layer, float] = defaultdict(lambda: 1.0)  # the share of its weights that is left, as chosen so far
    for chain in reversed(chains):
        units, layers = _filled(live[chain]), (chain.first, chain.second)
        share = float(units.double().mean())
        used_once = [layer for layer in layers if isinstance(layer, nn.Linear) and not chain.is_per_token]
        if share < 1 and all(share * gathered[layer] <= MOST_GATHERED for layer in used_once):
            chosen[chain] = units
            gathered |= {layer: share * gathered[layer] for layer in layers}
    return chosen


def _filled(live: Tensor) -> Tensor:
    """The live units and so many of the others, which change nothing, that their number is one of whole vectors."""
    wanted = -(-max(int(live.sum()), 1) // LANES) * LANES
    return live.clone().index_fill_(0, live.int().argsort(descending=True, stable=True)[:wanted], True)


def _places(weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Where in memory the weights of these outputs and inputs lie, laid out as the weight is."""
    places = torch.arange(weight.numel()).as_strided(weight.shape, weight.stride())[rows][:, columns]
    is_last = weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if is_last else torch.contiguous_format
    return torch.empty(places.shape, dtype=places.dtype, memory_format=layout).copy_(places)


class _Part(torch.autograd.Function):
    """Some weights of a tensor, laid out as their places are; the gradient of the others is 0."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, places: Tensor) -> Tensor:
        ctx.weight, ctx.places = weight, places
        return unrolled(weight).index_select(0, unrolled(places)).as_strided(places.shape, places.stride())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gathered = torch.empty_like(ctx.places, dtype=gradient.dtype).copy_(gradient)
        whole = torch.zeros_like(ctx.weight)
        unrolled(whole).scatter_(0, unrolled(ctx.places), unrolled(gathered))
        return whole, None
