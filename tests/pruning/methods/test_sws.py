"""Soft weight sharing: its term, its four rates, and what is left when each weight has its component's mean."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsity.pruning.method import Steps
from sparsity.pruning.methods.sws import Sws

STEPS = Steps(10, 5, 5, num_examples=60)


def method(*weights: Tensor, **knobs: Any) -> Sws:
    return Sws({str(i): weight for i, weight in enumerate(weights)}, STEPS, **knobs)


def term(subject: Sws) -> Tensor:
    return subject.term(torch.zeros(1), ())


def normal(w: float, mean: float, precision: float) -> float:
    return math.sqrt(precision / (2 * math.pi)) * math.exp(-precision / 2 * (w - mean) ** 2)


def test_with_one_component_the_term_is_a_quadratic() -> None:
    weight = torch.tensor([[0.5, -2.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    subject = method(weight, num_components=1, tau=0.3, deviation=0.5)
    (gradient,) = torch.autograd.grad(term(subject), [weight])
    torch.testing.assert_close(gradient, 0.3 / 60 * 4 * weight)  # tau / N * lambda * w


def test_the_term_is_tau_over_the_number_of_examples_times_mixture_and_prior() -> None:
    weights = [torch.tensor([0.1, -0.3, 0.02], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)]
    subject = method(*weights, num_components=3, tau=0.6)
    subject._log_precisions.data.copy_(torch.tensor([8.0, 4.0, 5.0]))
    subject._rho.data.copy_(torch.tensor([0.0, math.log(3)]))
    expected = 0.0
    for w in (0.1, -0.3, 0.02, 0.5):
        parts = ((0.99, 0.0, 8.0), (0.0025, -0.6, 4.0), (0.0075, 0.6, 5.0))
        expected -= math.log(sum(share * normal(w, mean, math.exp(gamma)) for share, mean, gamma in parts))
    for gamma, a, b in ((8.0, 5e3, 2.0), (4.0, 250.0, 0.1), (5.0, 250.0, 0.1)):
        expected += (1 - a) * gamma + b * math.exp(gamma)
    assert term(subject).item() == pytest.approx(0.6 / 60 * expected)
    assert float(subject.recorded["sws/term"]) == pytest.approx(0.6 / 60 * expected)


def test_the_prior_is_that_of_a_gamma_distribution_of_the_precision() -> None:
    subject = method(torch.zeros(1, dtype=torch.float64), num_components=1, tau=60.0, zero_prior_shape=3.0)
    terms = []
    for gamma in (0.5, 1.0):
        subject._log_precisions.data.fill_(gamma)
        surprise = 0.5 * math.log(2 * math.pi) - gamma / 2 - math.log(0.99)  # of a weight of 0
        terms.append(term(subject).item() - surprise)
    gamma_prior = torch.distributions.Gamma(torch.tensor(3.0).double(), torch.tensor(2.0).double())
    differences = [gamma_prior.log_prob(torch.tensor(math.exp(gamma)).double()) for gamma in (0.5, 1.0)]
    assert terms[0] - terms[1] == pytest.approx(float(differences[1] - differences[0]))


def test_means_precisions_and_shares_have_rates_of_their_own_and_the_mean_at_zero_has_none() -> None:
    means, precisions, shares = method(torch.zeros(4), precision_rate=0.1, share_rate=0.2).own_parameters()
    assert [of.learning_rate for of in (means, precisions, shares)] == [1e-4, 0.1, 0.2]
    assert [of.parameters[0].numel() for of in (means, precisions, shares)] == [16, 17, 16]


def test_at_the_end_each_weight_has_its_mean_and_the_zeros_are_gone() -> None:
    weight = torch.tensor([[0.004, 0.61], [-0.58, -0.003]])
    subject = method(weight, num_components=3, deviation=0.05)
    kept = subject.finish()
    assert kept["0"].tolist() == [[False, True], [True, False]]
    torch.testing.assert_close(weight, torch.tensor([[0.0, 0.6], [-0.6, 0.0]]))
    assert subject.finish()["0"].tolist() == kept["0"].tolist()


def test_a_component_that_is_merged_with_that_at_zero_is_at_zero() -> None:
    weight = torch.tensor([0.1])
    subject = method(weight, num_components=2, extent=0.01, zero_share=0.5, merging_divergence=1.0)
    assert not subject.finish()["0"].any() and weight.item() == 0
