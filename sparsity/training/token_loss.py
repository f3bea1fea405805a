"""The loss of a sequence model, without holding all its scores at once.

With 32,000 tokens the scores of a batch are its largest tensor by far, held three times over by plain autograd (scores,
log-probabilities, gradient). Here the projection and the cross-entropy go chunk by chunk, and each chunk's gradient is
taken at once, while its scores are still there: no more than [chunk, V] lives at a time and nothing is computed twice.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsity.special_tokens import IGNORED

CHUNK_TOKENS = 2048


def token_cross_entropy(
    hidden: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor,
    label_smoothing: float = 0.0,
    chunk_tokens: int = CHUNK_TOKENS,
) -> Tensor:
    """Sum of the cross-entropies over all positions whose label is not `IGNORED`, in fp32.

    Products run in the precision of the surrounding autocast, the cross-entropy and all sums in fp32. The gradient may
    be taken once, not twice over (no double backward).

    Args:
        hidden: the decoder's output, [N, width].
        labels: the right tokens, [N].
        weight: of the projection, [V, width].
        bias: of the projection, [V]; takes part as a constant.
        label_smoothing: share of the target that is spread over all tokens, in [0, 1].
        chunk_tokens: positions at a time.
    """
    wants_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    arguments = (hidden, labels, weight, bias, label_smoothing, chunk_tokens, wants_gradient)
    total: Tensor = _ChunkedCrossEntropy.apply(*arguments)
    return total


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        labels: Tensor,
        weight: Tensor,
        bias: Tensor,
        smoothing: float,
        chunk_tokens: int,
        wants_gradient: bool,
    ) -> Tensor:
        dtype = _product_dtype(hidden)
        sum_dtype = torch.promote_types(hidden.dtype, torch.float32)
        total = hidden.new_zeros((), dtype=sum_dtype)
        hidden_gradients, weight_gradient = [hidden[:0]], torch.zeros_like(weight) if wants_gradient else weight
        with torch.autocast(hidden.device.type, enabled=False):
            projection = weight.to(dtype)
            for states, targets in zip(hidden.split(chunk_tokens), labels.split(chunk_tokens), strict=True):
                states = states.to(dtype)
                scores = F.linear(states, projection).to(sum_dtype) + bias
                total += F.cross_entropy(scores, targets, reduction="sum", label_smoothing=smoothing)
                if wants_gradient:
                    gradient = _gradient_of_sum(scores, targets, smoothing).to(dtype)
                    hidden_gradients.append((gradient @ projection).to(hidden.dtype))
                    weight_gradient += gradient.t() @ states
        if wants_gradient:
            ctx.save_for_backward(torch.cat(hidden_gradients), weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        nothing = (None,) * 4
        return hidden_gradient * outer[0], None, weight_gradient * outer[0], *nothing


def _gradient_of_sum(scores: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Probabilities minus the target distribution, 0 at ignored positions; overwrites `scores`."""
    is_counted = (targets != IGNORED)[:, None]
    gradient = torch.softmax(scores, 1, out=scores)
    gradient -= smoothing / scores.shape[1]
    # by one index: with two, under deterministic algorithms, torch has the host wait for all that a GPU has queued
    places = torch.arange(len(gradient), device=gradient.device) * gradient.shape[1] + targets.clamp_min(0)
    gradient.view(-1).scatter_add_(0, places, torch.full_like(places, smoothing - 1, dtype=gradient.dtype))
    return gradient.mul_(is_counted)


def _product_dtype(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
