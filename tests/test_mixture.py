"""Mixtures of many draws: their z is that of their tails, their far tail a normal's, their quantiles their inverse."""

import numpy as np
import pyro.distributions as dist
import torch

from pyro_mmnorm.draws import log_mean_exp
from pyro_mmnorm.mixture import EDGE, Mixture, raw_z
from pyro_mmnorm.tails import log_cdf, log_sf


def test_many_normals_have_the_z_of_their_tails_beyond_underflow_too():
    loc = torch.randn(50, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal = dist.Normal(loc, torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    x = torch.linspace(-60, 60, 241, dtype=torch.float64)[:, None].expand(-1, 3)
    want = raw_z(*(log_mean_exp(tail(normal, x), 0) for tail in (log_cdf, log_sf)))
    np.testing.assert_allclose(Mixture(distribution=normal).z(x), want, rtol=1e-9, atol=1e-12)
    assert want.abs().max() > 100  # erfc gives 0 from 37.5 on


def test_the_far_tail_goes_on_as_a_normal_of_the_same_moments():
    loc = torch.randn(512, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixture = Mixture(distribution=dist.Normal(loc, 0.3))
    x = mixture.loc + torch.tensor([-9.0, -EDGE, 1.0, EDGE, 9.0], dtype=torch.float64)[:, None] * mixture.scale
    raw, tailed = mixture.z(x).ravel(), mixture.tailed_z(x).ravel()
    np.testing.assert_allclose(tailed[1:4], raw[1:4], rtol=1e-12)
    np.testing.assert_allclose(tailed[0], raw[1] - (9 - EDGE), rtol=1e-12)
    np.testing.assert_allclose(tailed[4], raw[3] + (9 - EDGE), rtol=1e-12)
    assert (raw[[0, 4]].abs() > 15).all()  # 512 draws end near 3 SD


def test_quantiles_are_the_inverse_of_z():
    loc = torch.randn(64, 1, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    z = torch.tensor([-3.0, 0.0, 1.5, 4.0], dtype=torch.float64).reshape(4, 1, 1).expand(4, 1, 2)
    mixture = Mixture(distribution=dist.Normal(loc, torch.ones(4, dtype=torch.float64)))
    x = torch.zeros(4, 1, 4, dtype=torch.float64)
    x[..., [1, 3]] = mixture.quantile(z, [1, 3])
    np.testing.assert_allclose(torch.stack([mixture.tailed_z(one) for one in x])[..., [1, 3]], z, atol=1e-7)
