"""Distributions over the latents against Pyro's own, and the mixture's gradients against integrals."""

import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch.distributions import kl_divergence

from pyro_mmnorm.distributions.latent import (
    BaseSampled,
    DiagonalMixture,
    DiagonalNormal,
    base_sample_dim,
    kl_per_latent,
    rsample_from_base_samples,
)


def parts(*shape):
    g = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, generator=g).double(), torch.rand(shape, generator=g).double() + 0.3


def test_the_diagonal_normal_is_pyros_normal_to_event():
    loc, scale = parts(5, 3)
    ours, pyros = DiagonalNormal(loc, scale), dist.Normal(loc, scale).to_event(1)
    x = torch.randn(7, 5, 3).double()
    torch.testing.assert_close(ours.log_prob(x), pyros.log_prob(x))
    torch.testing.assert_close(ours.variance, pyros.variance)
    other = parts(3)
    torch.testing.assert_close(
        kl_divergence(ours, DiagonalNormal(*other).expand((5,))),
        kl_divergence(pyros, dist.Normal(*other).to_event(1).expand((5,))),
    )
    assert ours.expand((2, 5)).rsample((4,)).shape == (4, 2, 5, 3)


def test_the_kl_of_a_latent_vanishes_only_where_prior_and_posterior_agree():
    q = DiagonalNormal(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]))
    kl = kl_per_latent(q, DiagonalNormal(torch.zeros(2), torch.ones(2)))
    assert kl.tolist() == [0.0, 0.5]


def mixture():
    loc, scale = parts(3, 2)
    return DiagonalMixture(torch.tensor([0.2, -0.4, 0.9]).double(), loc, scale)


def test_the_mixtures_density_is_that_of_torchs_mixture():
    ours = mixture()
    base = torch.distributions.Independent(torch.distributions.Normal(ours.loc, ours.scale), 1)
    torchs = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=ours.log_weights), base)
    x = torch.randn(50, 2).double() * 2
    torch.testing.assert_close(ours.log_prob(x), torchs.log_prob(x))
    torch.testing.assert_close(ours.mean, torchs.mean)
    torch.testing.assert_close(ours.variance, torchs.variance)


def test_draws_of_the_mixture_follow_its_distribution():
    one = mixture()
    x = one.rsample((4000,))[:, 0].numpy()
    grid = stats.norm.cdf(x[:, None], one.loc[:, 0], one.scale[:, 0]) @ one.log_weights.exp().numpy()
    assert stats.kstest(grid, "uniform").pvalue > 1e-3  # fails once in 1,000 seeds


def test_gradients_through_draws_of_the_mixture_are_those_of_the_expectation():
    """E[z^2] of each coordinate is known, so is its gradient: 2 w_c loc_c and 2 w_c scale_c."""
    one = mixture()
    one.loc.requires_grad_()
    one.scale.requires_grad_()
    one.rsample((400_000,)).square().sum(-1).mean().backward()
    weights = one.log_weights.exp()[:, None]
    torch.testing.assert_close(one.loc.grad, 2 * weights * one.loc.detach(), atol=0.02, rtol=0)  # 5 standard errors
    torch.testing.assert_close(one.scale.grad, 2 * weights * one.scale.detach(), atol=0.02, rtol=0)


def test_a_component_of_weight_zero_is_never_drawn_and_components_may_be_identical():
    loc = torch.tensor([[0.0], [0.0], [1e6]])
    one = DiagonalMixture(torch.tensor([0.0, 0.0, -torch.inf]), loc.requires_grad_(), torch.ones(3, 1))
    z = one.rsample((1000,))
    assert z.abs().max() < 10
    (z.sum() + one.log_prob(z).sum()).backward()
    assert torch.isfinite(loc.grad).all()
    far = one.rsample_from_base_samples(torch.full((1, 2), 40.0))  # a base sample whose uniform number rounds to 1
    assert far.abs().max() < 100


@pytest.mark.parametrize("wide", [64, 256])
def test_many_latents_give_finite_gradients_in_float32(wide):
    loc = torch.randn(4, wide, requires_grad=True)
    one = DiagonalMixture(torch.zeros(4), loc, torch.full((4, wide), 0.01))
    z = one.rsample((100,))
    (z.square().sum() + one.log_prob(z).sum()).backward()
    assert torch.isfinite(loc.grad).all()


def test_base_samples_of_a_normal_become_draws_and_those_of_others_do_not():
    loc, scale = parts(5, 3)
    noise = torch.randn(5, 3).double()
    torch.testing.assert_close(
        rsample_from_base_samples(dist.Normal(loc, scale).to_event(1), noise), loc + scale * noise
    )
    assert rsample_from_base_samples(dist.MultivariateNormal(torch.zeros(3), torch.eye(3)), noise) is None
    assert base_sample_dim(mixture()) == 3


class Shifted(dist.TorchDistribution):
    """A user-defined distribution; one draw takes two numbers per latent."""

    arg_constraints = {}  # noqa: RUF012
    support = dist.constraints.real_vector
    base_sample_dim = 4

    def __init__(self):
        super().__init__(torch.Size([5]), torch.Size([2]), validate_args=False)

    def rsample_from_base_samples(self, base_samples):
        return base_samples[..., :2] + base_samples[..., 2:]


def test_any_class_with_its_methods_follows_the_protocol_of_base_samples():
    loc, scale = parts(5, 2)
    assert isinstance(Shifted(), BaseSampled)
    assert isinstance(DiagonalNormal(loc, scale), BaseSampled)
    assert isinstance(mixture(), BaseSampled)
    assert not isinstance(dist.Normal(loc, scale).to_event(1), BaseSampled)
    assert base_sample_dim(Shifted()) == 4
    assert rsample_from_base_samples(Shifted(), torch.ones(5, 4)).tolist() == [[2.0, 2.0]] * 5
    assert base_sample_dim(dist.Normal(loc, scale).to_event(1)) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_base_samples_of_any_dtype_give_draws_of_the_dtype_of_the_parameters(dtype):
    loc, scale = (x.to(dtype) for x in parts(5, 2))
    for one in (DiagonalNormal(loc, scale), DiagonalMixture(torch.zeros(5, dtype=dtype), loc, scale)):
        base_samples = torch.randn(base_sample_dim(one), dtype=torch.float64)
        assert rsample_from_base_samples(one, base_samples).dtype == dtype


def test_the_last_base_sample_selects_the_component():
    """Weights 0.2, 0.3 and 0.5: the uniform number of the last base sample against 0.2 and 0.5."""
    one = DiagonalMixture(
        torch.tensor([0.2, 0.3, 0.5]).log().double(),
        torch.tensor([[0.0], [10.0], [20.0]]).double(),
        torch.ones(3, 1).double(),
    )
    for uniform, component in ((0.01, 0), (0.199, 0), (0.201, 1), (0.499, 1), (0.501, 2), (0.99, 2)):
        noise = torch.tensor([0.25, stats.norm.ppf(uniform)]).double()
        assert one.rsample_from_base_samples(noise).item() == pytest.approx(10 * component + 0.25)
