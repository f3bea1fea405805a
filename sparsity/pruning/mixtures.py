"""A mixture of Gaussians over all weights: how unlikely they are under it, the merging of its parts, and quantisation.

p(w) = sum_j pi_j N(w | mu_j, 1 / lambda_j), with gamma_j = log lambda_j. Of N weights and J components N x J numbers
are looked at: chunk by chunk, and the gradients with the value, so that no more than a chunk of them is in memory.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK_SIZES = {"cpu": 1 << 12}  # weights looked at together: of these all numbers stay in a processor's cache
LARGE_CHUNK = 1 << 20  # elsewhere, where each operation is a launch
_LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Mixture:
    """Of each component the mean, log lambda and log pi; one entry a component, [J]."""

    means: Tensor
    log_precisions: Tensor
    log_shares: Tensor

    def surprise(self, weights: Tensor) -> Tensor:
        """-sum_i log p(w_i) of weights [N], with gradients for them and for the mixture."""
        surprise: Tensor = _Surprise.apply(weights, self.means, self.log_precisions, self.log_shares)
        return surprise

    def merged(self, divergence: float) -> "Mixture":
        """With two components as one while the KL divergence of one from the other is below `divergence`.

        Means and precisions are averaged by the components' shares.
        """
        columns = [of.double().tolist() for of in (self.means, self.log_precisions, self.log_shares)]
        parts = list(zip(*columns, strict=True))
        while (pair := _nearest(parts)) is not None and pair[0] < divergence:
            _, one, other = pair
            parts[one] = _together(parts[one], parts.pop(other))
        means, log_precisions, log_shares = (self.means.new_tensor(of) for of in zip(*parts, strict=True))
        return Mixture(means, log_precisions, log_shares)

    def with_a_zero(self) -> "Mixture":
        """With the mean that is nearest to zero at zero."""
        is_nearest = torch.arange(len(self.means), device=self.means.device) == self.means.abs().argmin()
        return Mixture(self.means.masked_fill(is_nearest, 0.0), self.log_precisions, self.log_shares)

    def quantised(self, weights: Tensor) -> Tensor:
        """Each weight at the mean of the component that most likely made it; weights of any shape.

        A mean at which another component is likelier goes on to that one's, so that what is quantised stays as it is.
        """
        goes_to = self._likeliest(self.means)
        for _ in self.means:  # a mean of a higher peak each time, so that none returns
            goes_to = goes_to[goes_to]
        flat = weights.flatten()
        parts = [self.means[goes_to[self._likeliest(part)]] for part in flat.split(_chunk_size(flat))]
        return torch.cat(parts).view(weights.shape)

    def _likeliest(self, weights: Tensor) -> Tensor:
        """The number of the component with the largest share in p(w), of weights [N]."""
        squares = (weights - self.means.unsqueeze(1)).square()
        heights = (self.log_shares + self.log_precisions / 2).unsqueeze(1)
        return (heights - self.log_precisions.exp().unsqueeze(1) / 2 * squares).argmax(0)


class _Surprise(torch.autograd.Function):
    """The value, and beside it the gradients for w, mu, gamma and log pi."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, means: Tensor, log_precisions: Tensor, log_shares: Tensor) -> Tensor:
        of_weights, columns = torch.empty_like(weights), [of.unsqueeze(1) for of in (means, log_precisions, log_shares)]
        of_mixture = [torch.zeros_like(means) for _ in columns]
        total, size = weights.new_zeros(()), _chunk_size(weights)
        for part, place in zip(weights.split(size), of_weights.split(size), strict=True):
            total += _add_chunk(part, columns, place, of_mixture)
        ctx.save_for_backward(of_weights, *of_mixture)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return tuple(gradients[0] * of for of in ctx.saved_tensors)


def _add_chunk(weights: Tensor, columns: Sequence[Tensor], of_weights: Tensor, of_mixture: Sequence[Tensor]) -> Tensor:
    """-sum log p of a chunk [n] under columns [J, 1]; gradients for the weights are put into place, others added."""
    means, log_precisions, log_shares = columns
    distances = weights - means
    pulls = distances * log_precisions.exp()
    squares = pulls * distances
    logarithms = log_shares + (log_precisions - _LOG_TWO_PI) / 2 - squares / 2
    highest = logarithms.amax(0)
    parts = logarithms.sub_(highest).exp_()
    sums = parts.sum(0)
    parts.div_(sums)  # of each weight, the share that a component has in p(w)
    torch.sum(pulls.mul_(parts), 0, out=of_weights)
    of_mixture[0].sub_(pulls.sum(1))
    of_mixture[1].add_(squares.sub_(1).mul_(parts).sum(1) / 2)
    of_mixture[2].sub_(parts.sum(1))
    return -(highest + sums.log()).sum()


def _nearest(parts: Sequence[tuple[float, ...]]) -> tuple[float, int, int] | None:
    """The two components of which one diverges least from the other, with the divergence; None of a single one."""
    pairs = [(_divergence(a, b), i, j) for i, a in enumerate(parts) for j, b in enumerate(parts) if i < j]
    return min(pairs, default=None)


def _divergence(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The smaller of KL(one || other) and KL(other || one), in nats."""
    return min(_kl(one, other), _kl(other, one))


def _kl(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    ratio = other[1] - one[1]
    return (math.exp(ratio) + math.exp(other[1]) * (one[0] - other[0]) ** 2 - 1 - ratio) / 2


def _together(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, float, float]:
    """One component for two."""
    shares = math.exp(one[2]), math.exp(other[2])
    total = sum(shares)
    mean = (shares[0] * one[0] + shares[1] * other[0]) / total
    precision = (shares[0] * math.exp(one[1]) + shares[1] * math.exp(other[1])) / total
    return mean, math.log(precision), math.log(total)


def _chunk_size(weights: Tensor) -> int:
    return CHUNK_SIZES.get(weights.device.type, LARGE_CHUNK)
