"""Masks of a network, one per parameter, True = kept; the weights that they prune are exactly zero.

Masks only shrink, unless a method lets weights return: then it alone says what a pruned weight is in the forward pass.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

NEGATIVE = "::negative"  # behind a parameter's name: which of its pruned weights were negative when they went


class Masks:
    """The masks of a network: they zero what they prune, and the loop, for which they are a `Masking`, keeps it zero.

    Masks live as 0/1 multipliers in the parameters' own dtype and layout. The zero of a weight that was negative when
    it was pruned is -0.0: its sign, which the optimiser's later steps may turn, is kept there for the sizes on disk.

    Attributes:
        version: another one after each change.

    Args:
        parameters: name -> trainable parameter, each tensor once, in the order of `named_parameters()`.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = dict(parameters)
        self._multipliers = {name: torch.ones_like(p).detach() for name, p in self._parameters.items()}
        self._knows_signs = True
        self._may_return = False
        self.version = 0

    def let_return(self) -> None:
        """Leave pruned weights as they are, so that they go on training and may be kept again (`replace`).

        Their method must then show the network effective weights in which they are zero.
        """
        self._may_return = True

    @property
    def kept(self) -> dict[str, Tensor]:
        """Name -> boolean mask, True = kept."""
        return {name: multiplier != 0 for name, multiplier in self._multipliers.items()}

    @property
    def multipliers(self) -> dict[str, Tensor]:
        """Name -> 0/1 mask in the parameter's dtype and layout (not a copy)."""
        return self._multipliers

    @property
    def held(self) -> dict[str, Tensor]:
        """The multipliers of weights that stay zero once they are pruned; none where they may return."""
        return {} if self._may_return else self._multipliers

    def count_kept(self) -> dict[str, int]:
        """Name -> number of weights kept."""
        counts = torch.stack([torch.count_nonzero(multiplier) for multiplier in self._multipliers.values()])
        return dict(zip(self._multipliers, counts.tolist(), strict=True))  # in one transfer

    def shrink(self, kept: Mapping[str, Tensor]) -> None:
        """Remove what `kept` does not hold, in place, and zero those weights.

        Args:
            kept: name -> boolean mask; what is already pruned stays pruned, whatever it says.
        """
        for name, keep in kept.items():
            multiplier = self._multipliers[name]
            leaving = ~keep & (multiplier != 0)  # what left before has its zero already
            multiplier.masked_fill_(leaving, 0.0)
            multiplier.masked_fill_(leaving.logical_and_(torch.signbit(self._parameters[name])), -0.0)
        self._changed()

    def replace(self, kept: Mapping[str, Tensor]) -> None:
        """Keep what `kept` holds and nothing else, in place, whatever was kept before; weights are left alone.

        Raises:
            ValueError: if they only shrink.
        """
        if not self._may_return:
            raise ValueError(
                "A method that says itself which weights are kept lets them return: it asks for `masks`, calls "
                "masks.let_return(), and shows pruned ones as zero by `effective`."
            )
        for name, keep in kept.items():
            self._multipliers[name].copy_(keep)

    @torch.no_grad()
    def _changed(self) -> None:
        """Zero what is pruned now, where it is to stay zero."""
        self.version += 1
        for name, multiplier in self.held.items():
            self._parameters[name].mul_(multiplier)

    def state_dict(self) -> dict[str, Any]:
        """Masks as bits, eight weights to a byte, in row-major order; the shapes are the parameters'.

        Beside them, under names that end in `NEGATIVE`, the signs of what was pruned, if they are known.
        """
        masks = {name: pack_bits(multiplier != 0) for name, multiplier in self._multipliers.items()}
        signs = {name + NEGATIVE: pack_bits(torch.signbit(value)) for name, value in self._multipliers.items()}
        return masks | signs if self._knows_signs else masks

    def digest(self) -> str:
        """Of all bits: another one for other masks."""
        content = hashlib.sha256()
        for bits in self.state_dict().values():
            content.update(bits.numpy().data)
        return content.hexdigest()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the bits and zero the weights they prune; early checkpoints do not know the signs of these."""
        signs = signs_of(state)
        for name in (name for name in state if not name.endswith(NEGATIVE)):
            multiplier = self._multipliers[name]
            multiplier.copy_(unpack_bits(state[name], multiplier.shape))
            if signs:
                multiplier.masked_fill_(unpack_bits(signs[name], multiplier.shape).to(multiplier.device), -0.0)
        self._knows_signs = bool(signs) or all(bool(multiplier.all()) for multiplier in self._multipliers.values())
        self._changed()


def signs_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name -> bits of the pruned weights that were negative, of a state of `Masks`; empty if nobody knows."""
    return {name.removesuffix(NEGATIVE): bits for name, bits in state.items() if name.endswith(NEGATIVE)}


def unrolled(tensor: Tensor) -> Tensor:
    """A 1-D view in memory order; a dense tensor has one in any memory format."""
    return tensor.as_strided((tensor.numel(),), (1,))


def pack_bits(keep: Tensor) -> Tensor:
    """A boolean tensor as uint8 [ceil(n / 8)] on the CPU, first weight in the highest bit."""
    flat = keep.flatten().to("cpu")
    bits = torch.empty(-(-len(flat) // 8), dtype=torch.uint8)
    for packed, part in zip(bits.split(CHUNK_BYTES), flat.split(8 * CHUNK_BYTES), strict=True):
        padded = torch.nn.functional.pad(part.byte(), (0, -len(part) % 8)).view(-1, 8)
        torch.sum(padded << _SHIFTS, 1, dtype=torch.uint8, out=packed)
    return bits


def unpack_bits(bits: Tensor, shape: torch.Size) -> Tensor:
    """The boolean tensor of `shape` that `pack_bits` packed."""
    flat = torch.empty(8 * len(bits), dtype=torch.bool)
    for part, packed in zip(flat.split(8 * CHUNK_BYTES), bits.split(CHUNK_BYTES), strict=True):
        part.copy_(((packed.unsqueeze(1) >> _SHIFTS) & 1).flatten())
    return flat[: shape.numel()].view(shape)


CHUNK_BYTES = 1 << 16  # of bits that are packed or unpacked together: eight bytes are held for each
_SHIFTS = torch.arange(7, -1, -1, dtype=torch.uint8)
