"""Draws: common to all subjects, quasi-random, seeded."""

import pyro.distributions as dist
import torch
from scipy import stats

from pyro_mmnorm.inference.draws import latent_draws, log_mean_exp, sobol_normal


def test_sobol_draws_are_closer_to_standard_normal_than_random_draws():
    x = sobol_normal(256, 8, seed=0)
    assert x.mean(0).abs().max() < 0.02  # independent draws: 0.06
    assert (x.std(0) - 1).abs().max() < 0.02


def test_base_samples_are_common_to_all_subjects_and_depend_on_the_seed():
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


def test_a_point_on_the_edge_of_the_cube_is_a_finite_number(monkeypatch):
    class Corners:
        def __init__(self, dim, **_):
            self.dim = dim

        def draw(self, draws, dtype):
            return torch.tensor([[0.0], [1.0]], dtype=dtype).expand(draws, self.dim)

    monkeypatch.setattr(torch.quasirandom, "SobolEngine", Corners)
    x = sobol_normal(2, 3, seed=0)
    torch.testing.assert_close(
        x[:, 0], torch.tensor([-1.0, 1.0]).double() * stats.norm.isf(0.5 / 2**20), rtol=1e-6, atol=0
    )


def test_a_distribution_that_is_no_function_of_base_samples_is_sampled_with_the_seed():
    q = dist.MultivariateNormal(torch.zeros(3), torch.eye(3)).expand((4,))
    state = torch.random.get_rng_state()
    z = latent_draws(q, 16, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert z.shape == (16, 4, 3)
    assert torch.equal(z, latent_draws(q, 16, seed=1))
    assert not torch.equal(z, latent_draws(q, 16, seed=2))
    assert not torch.equal(z[:, 0], z[:, 1])


def test_draws_have_the_dtype_of_the_parameters():
    for dtype in (torch.float32, torch.float64):
        q = dist.Normal(torch.zeros(2, 3, dtype=dtype), 1.0).to_event(1)
        assert latent_draws(q, 4, seed=0).dtype == dtype
