"""Priors: shapes and moments."""

import torch

from pyro_mmnorm.priors import StandardNormal


def test_the_standard_normal_is_the_same_for_everybody():
    prior = StandardNormal(3)(torch.randn(5, 2))
    assert prior.event_shape == (3,)
    assert prior.log_prob(torch.zeros(3)).item() == torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.0)) * 3
