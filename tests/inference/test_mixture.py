"""Mixtures of many draws: z is that of their tails, the far tail is normal, and quantiles are the inverse of z."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from pyro_mmnorm.distributions.regional import LowRankNormal
from pyro_mmnorm.distributions.tails import log_cdf, log_sf
from pyro_mmnorm.inference.draws import log_mean_exp, sobol_normal
from pyro_mmnorm.inference.mixture import EDGE, Mixture, raw_z


def test_many_normals_have_the_z_of_their_tails_beyond_underflow_too():
    loc = torch.randn(50, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal = dist.Normal(loc, torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    x = torch.linspace(-60, 60, 241, dtype=torch.float64)[:, None].expand(-1, 3)
    want = raw_z(*(log_mean_exp(tail(normal, x), 0) for tail in (log_cdf, log_sf)))
    np.testing.assert_allclose(Mixture(distribution=normal).z(x), want, rtol=1e-9, atol=1e-12)
    assert want.abs().max() > 100  # erfc gives 0 from 37.5 on


def test_the_far_tail_is_that_of_a_normal_with_the_same_moments():
    loc = torch.randn(512, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixture = Mixture(distribution=dist.Normal(loc, 0.3))
    x = mixture.loc + torch.tensor([-9.0, -EDGE, 1.0, EDGE, 9.0], dtype=torch.float64)[:, None] * mixture.scale
    raw, tailed = mixture.z(x).ravel(), mixture.tailed_z(x).ravel()
    np.testing.assert_allclose(tailed[1:4], raw[1:4], rtol=1e-12)
    np.testing.assert_allclose(tailed[0], raw[1] - (9 - EDGE), rtol=1e-12)
    np.testing.assert_allclose(tailed[4], raw[3] + (9 - EDGE), rtol=1e-12)
    assert (raw[[0, 4]].abs() > 15).all()  # 512 draws end near 3 SD


@pytest.mark.parametrize("share", [0.5, 0.76])
@pytest.mark.parametrize("k", [11, 16])
def test_z_is_accurate_at_five_sds_where_it_is_known(k, share):
    # regions w'z + noise with a share of common variance as in the simulated cohorts: exact z is x itself. Over 8 sets
    # of draws the largest error of 115 regions is .01 to .10, that of the draws alone .25 to 1.3
    w = torch.randn(k, 115, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    loc = (sobol_normal(4096, k, seed=1) @ (w / w.norm(dim=0)) * share**0.5)[:, None]
    mixture = Mixture(distribution=dist.Normal(loc, (1 - share) ** 0.5))
    for x in (-5.0, 5.0):
        at = torch.full((1, 115), x, dtype=torch.float64)
        assert (mixture.tailed_z(at) - x).abs().max() < 0.15
        assert (mixture.z(at) - x).abs().max() > 0.2  # z from the draws alone


def test_heavy_tails_stay_heavy():
    mixture = Mixture(distribution=dist.StudentT(4.0, torch.zeros(64, 1, 1, dtype=torch.float64), 1.0))
    x = torch.full((1, 1), 30.0, dtype=torch.float64)
    torch.testing.assert_close(mixture.tailed_z(x), mixture.z(x))
    without = dist.StudentT(1.5, torch.zeros(64, 1, 1, dtype=torch.float64), 1.0)  # no variance
    assert Mixture(distribution=without).reconstruction_z_sd == 1


def test_quantiles_are_the_inverse_of_z():
    loc = torch.randn(64, 1, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    z = torch.tensor([-3.0, 0.0, 1.5, 4.0], dtype=torch.float64).reshape(4, 1, 1).expand(4, 1, 2)
    mixture = Mixture(distribution=dist.Normal(loc, torch.ones(4, dtype=torch.float64)))
    x = torch.zeros(4, 1, 4, dtype=torch.float64)
    x[..., [1, 3]] = mixture.quantile(z, [1, 3])
    np.testing.assert_allclose(torch.stack([mixture.tailed_z(one) for one in x])[..., [1, 3]], z, atol=1e-7)


def test_z_of_regions_that_informed_the_draws_has_sd_one_for_any_set_of_observed_regions():
    # a linear model, its own truth, its exact posterior: x = Wz + noise, people who lack most cells or none. Without
    # the width, the mean SD of z is .87 with 30 cells and .70 with 4. 20,000 people: the SD of a region errs by .005
    g = torch.Generator().manual_seed(3)
    w, x = torch.randn(5, 30, generator=g).double() * 0.5, torch.randn(20_000, 30, generator=g).double()
    x = x + torch.randn(20_000, 5, generator=g).double() @ w
    noise = sobol_normal(1024, 5, seed=1)
    for seen in (30, 4):
        own = w[:, :seen]
        covariance = torch.linalg.inv(torch.eye(5) + own @ own.T)
        z = noise @ torch.linalg.cholesky(covariance).T
        between = (z @ own).var(0, correction=0)
        mixture = Mixture(distribution=dist.Normal((z @ own)[:, None], 1.0))
        residual = x[:, :seen] - x[:, :seen] @ own.T @ covariance @ own  # the mixture is centred: score residuals
        expected = (1 - between) / (1 + between)
        np.testing.assert_allclose(mixture.reconstruction_z_sd.ravel(), expected.sqrt(), atol=1e-3)
        np.testing.assert_allclose((residual / mixture.scale / mixture.reconstruction_z_sd).std(0), 1, atol=0.03)


def test_z_is_that_of_the_draws_up_to_2_576_sd_and_grows_by_one_per_sd_beyond():
    loc = torch.randn(512, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixture = Mixture(distribution=dist.Normal(loc, 0.3))

    def at(unit, score):
        return score(mixture.loc + unit * mixture.scale).item()

    for unit in (-2.5, 2.3, 2.57):
        assert at(unit, mixture.tailed_z) == at(unit, mixture.z)
    assert at(2.8, mixture.z) - at(2.576, mixture.z) > 0.25  # the draws end here, so their z grows faster
    assert at(2.8, mixture.tailed_z) == pytest.approx(at(2.576, mixture.z) + 0.224, abs=1e-12)
    assert at(-4.0, mixture.tailed_z) == pytest.approx(at(-2.576, mixture.z) - 1.424, abs=1e-12)


def test_the_sd_of_z_of_a_region_that_informed_the_draws_is_at_least_a_fifth():
    loc = torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)
    for noise, want in ((3.0, (2 / 4) ** 0.5), (1.2, 0.3015113), (1.05, 0.2), (0.5, 0.2)):
        sd = Mixture(distribution=dist.Normal(loc, noise**0.5)).reconstruction_z_sd
        assert sd.item() == pytest.approx(want, abs=1e-6)


def test_without_registered_tails_z_comes_from_sixteen_replicates_per_draw():
    """VonMises: the largest z is that of half a replicate in 16 S + 1, and the median is near 0."""
    mixture = Mixture(distribution=dist.VonMises(torch.zeros(8, 1, 2, dtype=torch.float64), 1.0), seed=1)
    z = mixture.z(torch.tensor([[4.0, 0.0]], dtype=torch.float64))
    assert z[0, 0].item() == pytest.approx(stats.norm.isf(0.5 / (16 * 8 + 1)), abs=1e-9)
    assert abs(z[0, 1].item()) < 4 * 1.25 / 128**0.5  # four standard errors of a median


def test_a_quantile_far_in_heavy_tails_is_found():
    mixture = Mixture(distribution=dist.StudentT(3.0, torch.zeros(8, 1, 1, dtype=torch.float64), 1.0))
    for z in (-9.0, -3.0, 0.2, 9.0):
        x = mixture.quantile(torch.full((1, 1, 1), z, dtype=torch.float64), [0])
        assert x.item() == pytest.approx(
            stats.t(3).ppf(stats.norm.cdf(z)) if z < 0 else -stats.t(3).ppf(stats.norm.cdf(-z))
        )


@pytest.mark.parametrize("given_others", [False, True])
def test_z_given_the_other_regions_has_sd_one(given_others):
    loc = torch.randn(4, 1, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    joint = LowRankNormal(loc, torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, 3), given_others=given_others)
    width = Mixture(distribution=joint).reconstruction_z_sd
    assert bool((width == 1).all()) == given_others
