"""Do two networks say the same? Inputs drawn for them, of the form that they take, and what is rounding of scores.

A network takes images or, if it is one of transformers' own, pairs of sentences.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Of the largest score. Two programs add the same products in float32, in another order: a sum of n of them moves by
# some sqrt(n) / 2**24 of its size, 1e-5 in the widest layer here (25,088 inputs), and a dozen such layers stay below
# 1e-4. A weight or an operator that is another moves scores by their own size.
TOLERANCE = 1e-4

SENTENCE = 32  # tokens of a drawn source; its target is a little shorter


@dataclass(frozen=True)
class Inputs:
    """One batch of all that a network takes, by name.

    varying: the dimensions of each that may have any length, and what that is called.
    """

    tensors: dict[str, Tensor]
    varying: dict[str, dict[int, str]]


def drawn_inputs(model: nn.Module, shape: tuple[int, ...] | None, size: int, length: int = SENTENCE) -> Inputs:
    """A batch of `size` examples, the same for the same arguments.

    Args:
        shape: of an input image; None of a network of texts.
        length: tokens of a source, where the network takes texts.

    Raises:
        ValueError: if nobody knows what the network takes.
    """
    generator = torch.Generator().manual_seed(size)
    if shape is not None:
        return Inputs({"images": torch.randn(size, *shape, generator=generator)}, {"images": {0: "batch"}})
    if not takes_text(model):
        raise ValueError(
            f"What {type(model).__name__} takes is not known: inputs are drawn for the data sets of this package alone."
        )
    vocabulary = int(model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    source = torch.randint(vocabulary, (size, length), generator=generator)
    mask = torch.ones_like(source)
    mask[::2, length - length // 4 :] = 0  # every other source is shorter
    target = torch.randint(vocabulary, (size, length - 3), generator=generator)
    of_source, of_target = {0: "batch", 1: "source_length"}, {0: "batch", 1: "target_length"}
    varying = {"source": of_source, "mask": of_source, "target": of_target}
    return Inputs({"source": source, "mask": mask, "target": target}, varying)


def check_same(found: Tensor, expected: Tensor, what: str) -> float:
    """The largest difference of two networks' scores.

    Raises:
        ValueError: if it is more than rounding, naming `what` was found.
    """
    largest, allowed = float((found - expected).abs().max()), TOLERANCE * float(expected.abs().max())
    if not largest <= allowed:  # not a number, too
        raise ValueError(
            f"{what} says something else than the network in torch: scores differ by up to {largest:.1e}, and "
            f"{allowed:.1e} is allowed."
        )
    return largest


def takes_text(model: nn.Module) -> bool:
    """Whether it is an encoder-decoder of transformers."""
    return hasattr(model, "save_pretrained")


def scorer(model: nn.Module) -> nn.Module:
    """A module that turns the tensors of `drawn_inputs`, in their order, into scores."""
    return _TextScores(model).eval() if takes_text(model) else model.eval()


class _TextScores(nn.Module):
    """Scores [batch, target_length, vocabulary] of the next token of each target so far."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        scores: Tensor = self.model(
            input_ids=source, attention_mask=mask, decoder_input_ids=target, use_cache=False
        ).logits
        return scores
