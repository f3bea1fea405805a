"""The loss of a sequence model, without holding all its scores at once.

With 32,000 tokens the scores of a batch are its largest tensor by far, held three times over by plain autograd (scores,
log-probabilities, gradient). Here the projection and the cross-entropy go chunk by chunk, and each chunk's gradient
takes the place of its scores at once: no more than [chunk, V] lives at a time and nothing is computed twice.

What is not a product is passes over memory. On a CPU they go over so few rows at a time that these stay in a core's own
cache, and all chunks use the same memory, since a page that is touched for the first time costs more than a pass over
it. `python scripts/bench.py text` holds the loss against its products alone.
"""

from typing import Any

import torch
from torch import Tensor

IGNORED = -100
CHUNK_TOKENS = 2048
# On a CPU:
CACHED_ROWS = 8  # of 32,000 scores in fp32: 1 MB
CHEAP_TOKENS = 256  # so many scores are less than the 32 MiB above which C's allocator maps memory anew each time


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
        chunk_tokens: positions at a time, at most.
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
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        if hidden.device.type == "cpu" and dtype == weight.dtype:  # else each chunk's gradient is converted: few do
            chunk_tokens = min(chunk_tokens, CHEAP_TOKENS)
        hidden_gradients, weight_gradient = [], None
        with torch.autocast(hidden.device.type, enabled=False):
            projection = weight.to(dtype)
            memory = projection.new_empty(min(chunk_tokens, len(hidden)), len(weight))
            for states, targets in zip(hidden.split(chunk_tokens), labels.split(chunk_tokens), strict=True):
                states, is_counted = states.to(dtype), (targets != IGNORED)[:, None]
                scores = torch.mm(states, projection.t(), out=memory[: len(states)])
                losses = _losses(scores, targets, bias, smoothing, total.dtype, wants_gradient)
                total += losses.mul_(is_counted).sum()
                if wants_gradient:  # now in the place of the scores
                    hidden_gradients.append((scores @ projection).mul_(is_counted).to(hidden.dtype))
                    weight_gradient = _plus_product(weight_gradient, scores.t(), states * is_counted, weight.dtype)
        if wants_gradient:
            ctx.save_for_backward(torch.cat(hidden_gradients), weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors  # in place: autograd refuses to hand them out once more
        nothing = (None,) * 4
        return hidden_gradient.mul_(outer[0]), None, weight_gradient.mul_(outer[0]), *nothing


def _losses(
    scores: Tensor, targets: Tensor, bias: Tensor, smoothing: float, dtype: torch.dtype, wants_gradient: bool
) -> Tensor:
    """Each position's cross-entropy in `dtype`, [n, 1]; overwrites `scores`, by their gradient if it is wanted.

    That is probabilities minus the target distribution. At ignored positions neither means anything.
    """
    num_rows = CACHED_ROWS if scores.device.type == "cpu" else len(scores)
    losses = []
    for rows, right in zip(scores.split(num_rows), targets.clamp_min(0)[:, None].split(num_rows), strict=True):
        exact = rows.to(dtype)  # no copy where products have this precision
        exact += bias
        torch.log_softmax(exact, 1, out=exact)
        losses.append((smoothing - 1) * exact.gather(1, right))
        if smoothing:
            losses[-1] -= smoothing / exact.shape[1] * exact.sum(1, keepdim=True)
        if wants_gradient:
            exact.exp_()
            if smoothing:
                exact -= smoothing / exact.shape[1]
            exact.scatter_add_(1, right, torch.full_like(right, smoothing - 1, dtype=dtype))
            rows.copy_(exact)
    return torch.cat(losses)


def _plus_product(total: Tensor | None, left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum of `total` and left @ right in `dtype`, in the memory of `total` if there is one."""
    if total is None:
        return (left @ right).to(dtype)
    return total.addmm_(left, right) if left.dtype == dtype else total.add_(left @ right)


def _product_dtype(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
