"""Likelihoods: shapes, tails, and goodness of fit."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import nn

from pyro_mmnorm.likelihoods import Gaussian, log_cdf, log_sf


def test_normal_tails_agree_with_scipy_and_stay_finite_far_out():
    d = dist.Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    x = torch.linspace(-90, 90, 181)[:, None]
    for ours, theirs in ((log_cdf, stats.norm.logcdf), (log_sf, stats.norm.logsf)):
        np.testing.assert_allclose(ours(d, x), theirs(x.numpy(), [1, -2], [0.5, 3]), rtol=1e-9, atol=1e-300)


def test_a_distribution_without_known_tails_is_refused():
    for tail in (log_cdf, log_sf):
        with pytest.raises(NotImplementedError, match="no tail is known for Cauchy"):
            tail(dist.Cauchy(0.0, 1.0), torch.zeros(1))


def test_samples_follow_the_density():
    # one-sample Kolmogorov-Smirnov on 4,000 draws a region; fails by chance once in 2e4 a region
    likelihood = Gaussian(nn.Linear(3, 2), regions=2)
    with torch.no_grad():
        likelihood.log_scale.copy_(torch.tensor([[-1.0, 0.7]]))
        d = likelihood(torch.randn(1, 2), torch.randn(1, 1))
        x = d.sample((4000,))
        uniform = log_cdf(d, x).exp()[:, 0]
    for j in range(2):
        assert stats.kstest(uniform[:, j].numpy(), "uniform").pvalue > 5e-5


def test_leading_draw_axes_are_kept():
    likelihood = Gaussian(nn.Linear(3, 4), regions=4)
    assert likelihood(torch.zeros(7, 5, 2), torch.zeros(5, 1)).batch_shape == (7, 5, 4)
