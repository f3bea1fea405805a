"""A mixture over the weights: its value and gradients as torch's own distributions have them, merging, quantisation."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from sparsity.pruning import mixtures
from sparsity.pruning.mixtures import Mixture


def mixture(means: list[float], deviations: list[float], shares: list[float], dtype: torch.dtype) -> Mixture:
    """Of plain numbers, all of it trainable."""
    log_precisions = torch.tensor(deviations, dtype=dtype).log() * -2
    of = torch.tensor(means, dtype=dtype), log_precisions, torch.tensor(shares, dtype=dtype).log()
    return Mixture(*(each.requires_grad_() for each in of))


def parts(of: Mixture) -> list[Tensor]:
    return [of.means, of.log_precisions, of.log_shares]


MEANS, DEVIATIONS, SHARES = [0.0, -0.4, 0.3, 0.31], [0.05, 0.2, 0.1, 0.02], [0.7, 0.1, 0.15, 0.05]


@pytest.mark.parametrize("chunk_size", [7, 1000])
def test_the_surprise_and_its_gradients_are_those_of_torchs_distributions(
    monkeypatch: pytest.MonkeyPatch, chunk_size: int
) -> None:
    monkeypatch.setattr(mixtures, "CHUNK_SIZES", {"cpu": chunk_size})
    ours, theirs = (mixture(MEANS, DEVIATIONS, SHARES, torch.float64) for _ in range(2))
    weights = torch.linspace(-1, 1, 41, dtype=torch.float64, requires_grad=True)
    value = 3 * ours.surprise(weights)
    found = torch.autograd.grad(value, [weights, *parts(ours)])
    components = Normal(theirs.means, torch.exp(-theirs.log_precisions / 2))
    shares = Categorical(theirs.log_shares.exp(), validate_args=False)
    # torch makes the shares add up to one, which the gradient of the logarithms must not go through
    logarithms = components.log_prob(weights.unsqueeze(1)) + theirs.log_shares
    torch.testing.assert_close(value, -3 * MixtureSameFamily(shares, components).log_prob(weights).sum())
    expected = torch.autograd.grad(-3 * logarithms.logsumexp(1).sum(), [weights, *parts(theirs)])
    torch.testing.assert_close(found, expected)


def test_weights_that_no_component_can_have_made_still_have_a_finite_surprise_in_float32() -> None:
    of = mixture([0.0, 0.1], [1e-4, 1e-4], [0.99, 0.01], torch.float32)
    weights = torch.tensor([5.0, -5.0], requires_grad=True)
    of.surprise(weights).backward()
    assert weights.grad is not None and of.means.grad is not None
    assert bool(torch.isfinite(weights.grad).all() and torch.isfinite(of.means.grad).all())


def test_like_components_become_one_with_their_share_and_their_mean() -> None:
    of = mixture([0.0, 0.5, 0.5], [0.1, 0.2, 0.2], [0.6, 0.1, 0.3], torch.float64).merged(1e-10)
    assert of.means.tolist() == pytest.approx([0.0, 0.5])
    assert of.log_shares.exp().tolist() == pytest.approx([0.6, 0.4])
    assert of.log_precisions.tolist() == pytest.approx([-2 * math.log(0.1), -2 * math.log(0.2)])


def test_what_is_merged_is_weighed_by_its_shares() -> None:
    of = mixture([0.2, 0.6], [0.5, 1.0], [0.25, 0.75], torch.float64).merged(10.0)
    assert of.means.tolist() == pytest.approx([0.5])
    assert of.log_precisions.exp().tolist() == pytest.approx([0.25 * 4 + 0.75 * 1])


def test_components_that_differ_stay_apart() -> None:
    # KL of N(0, 1) from N(0.1, 1) is 0.1^2 / 2
    of = mixture([0.0, 0.1], [1.0, 1.0], [0.5, 0.5], torch.float64)
    assert len(of.merged(0.0049).means) == 2
    assert len(of.merged(0.0051).means) == 1


def test_each_weight_takes_the_mean_of_the_component_that_is_likeliest_and_one_mean_is_zero() -> None:
    of = mixture([0.01, 0.5], [0.1, 0.1], [0.9, 0.1], torch.float64).with_a_zero()
    # the boundary between the two is where (w^2 - (w - 0.5)^2) / (2 * 0.1^2) = log 9
    boundary = (2 * 0.01 * math.log(9) + 0.25) / 1.0
    weights = torch.tensor([[-3.0, boundary - 1e-6], [boundary + 1e-6, 0.7]], dtype=torch.float64)
    assert of.quantised(weights).tolist() == [[0.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_quantised_stays_as_it_is(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(17, generator=generator)
    of = Mixture(means, torch.randn(17, generator=generator), torch.randn(17, generator=generator).log_softmax(0))
    once = of.quantised(2 * torch.randn(500, generator=generator))
    assert torch.equal(of.quantised(once), once)
    assert set(once.tolist()) <= set(means.tolist())


def test_a_mean_at_which_another_component_is_likelier_goes_on_to_that_ones() -> None:
    # at 0.5 the second is likelier than the third, at 0.2 the first than the second
    of = mixture([0.0, 0.2, 0.5], [0.1, 0.15, 1.0], [0.9, 0.09, 0.01], torch.float64)
    assert of.quantised(torch.tensor([5.0, 0.3, 0.0], dtype=torch.float64)).tolist() == [0.0, 0.0, 0.0]
