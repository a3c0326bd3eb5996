"""Draws: common to all subjects, even, seeded."""

import pyro.distributions as dist
import torch

from pyro_mmnorm.inference.draws import latent_draws, log_mean_exp, sobol_normal


def test_sobol_draws_are_standard_normal_to_far_less_than_chance():
    x = sobol_normal(256, 8, seed=0)
    assert x.mean(0).abs().max() < 0.02  # independent draws: 0.06
    assert (x.std(0) - 1).abs().max() < 0.02


def test_everybody_gets_the_same_noise_and_the_seed_decides_which():
    q = dist.Normal(torch.randn(4, 2), torch.rand(4, 2) + 0.5).to_event(1)
    noise = (latent_draws(q, 16, seed=1) - q.mean) / q.stddev
    torch.testing.assert_close(noise, noise[:, :1].expand_as(noise))
    assert torch.equal(latent_draws(q, 16, seed=1), latent_draws(q, 16, seed=1))
    assert not torch.equal(latent_draws(q, 16, seed=1), latent_draws(q, 16, seed=2))


def test_log_mean_exp_does_not_underflow():
    x = torch.tensor([-1000.0, -1001.0], dtype=torch.float64)
    torch.testing.assert_close(
        log_mean_exp(x + 1000, 0), torch.logsumexp(x + 1000, 0) - torch.tensor(2.0).log().double()
    )
    assert torch.isfinite(log_mean_exp(x, 0))
