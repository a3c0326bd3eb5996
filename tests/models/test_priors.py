"""Priors: densities that integrate to one, draws that follow them, shapes with members."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.distributions.latent import base_sample_dim, rsample_from_base_samples
from pyro_mmnorm.models.fusion import poe
from pyro_mmnorm.models.priors import PRIORS, ConditionalPrior, FlowPrior, PseudoInputs, StandardNormal, VampPrior

SIZES = {"a": 4, "b": 3}


def vamp_posterior(values, covariates):
    """Posterior of pseudo-inputs with two modalities."""
    loc = torch.stack([values["a"][..., :2], values["b"][..., :2]], -2)
    return poe(loc, torch.full_like(loc, 0.8), torch.ones_like(loc[..., 0], dtype=torch.bool))


def built(name, members=1):
    """A prior over two latents with perturbed weights, as a function of covariates."""
    if name == "vamp":
        prior = VampPrior(PseudoInputs(SIZES, 1, members, components=5))
        return lambda c: prior(c, vamp_posterior), prior
    prior = PRIORS[name](2, 1, members)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return prior, prior


@pytest.mark.parametrize("name", PRIORS)
def test_a_density_integrates_to_one(name):
    prior, _ = built(name)
    axis = torch.linspace(-14, 14, 561)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = prior(torch.full((1, 1), 0.4)).log_prob(points).exp()
    assert (density.sum() * (axis[1] - axis[0]) ** 2).item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", PRIORS)
def test_draws_follow_the_density(name):
    """Shares of draws in boxes against the integral of the density: chi-square, fails once in 1,000 seeds."""
    prior, _ = built(name)
    with torch.no_grad():
        p = prior(torch.full((1, 1), 0.4)).expand((1,))
        draws = p.rsample((20_000,)).reshape(-1, 2)
        axis = torch.linspace(-14, 14, 1121)[:-1] + 0.0125  # centres of cells that no box cuts
        points = torch.cartesian_prod(axis, axis)
        mass = p.log_prob(points[:, None])[:, 0].exp() * (axis[1] - axis[0]) ** 2
    edges = np.array([-14, -1.0, 0.0, 1.0, 14])
    box = [np.clip(np.digitize(x.numpy(), edges) - 1, 0, 3) for x in (*points.T, *draws.T)]
    want = np.bincount(box[0] * 4 + box[1], mass.numpy(), 16)
    got = np.bincount(box[2] * 4 + box[3], minlength=16)
    keep = want * 20_000 > 5
    want = want[keep] / want[keep].sum() * got[keep].sum()
    assert stats.chisquare(got[keep], want, sum_check=False).pvalue > 1e-3


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("name", [n for n in PRIORS if n != "normal"])
def test_a_prior_serves_every_subject_of_every_member(name, members):
    prior, module = built(name, members)
    c = torch.randn(*([members] if members > 1 else []), 7, 1)
    p = prior(c).expand((members, 7) if members > 1 else (7,))
    z = rsample_from_base_samples(p, torch.randn(5, *p.batch_shape, base_sample_dim(p)))
    assert z.shape == (5, *p.batch_shape, 2)
    (p.log_prob(z).sum() + sum(x.sum() for x in module.parameters())).backward()
    assert all(torch.isfinite(x.grad).all() for x in module.parameters() if x.grad is not None)


@pytest.mark.parametrize("name", [n for n in PRIORS if n not in ("normal", "conditional")])
def test_common_base_samples_give_draws_of_each_member_without_subjects(name):
    """`latent_table` and the kind `normative` draw from p(z) of each member with common base samples."""
    prior, _ = built(name, 3)
    p = prior(torch.zeros(3, 1, 1))
    noise = torch.randn(5, *[1] * len(p.batch_shape), base_sample_dim(p))
    z = rsample_from_base_samples(p, noise)
    assert z.shape == (5, 3, 1, 2)
    for e in range(3):
        torch.testing.assert_close(z[:, e], rsample_from_base_samples(p, noise.expand(5, 3, 1, -1))[:, e])


def test_the_flow_and_the_conditional_prior_start_as_the_standard_normal():
    c, z = torch.randn(7, 2), torch.randn(7, 5)
    want = StandardNormal(5)(c).log_prob(z)
    for prior in (FlowPrior(5, 2), ConditionalPrior(5, 2)):
        torch.testing.assert_close(prior(c).log_prob(z), want, rtol=1e-5, atol=1e-5)


def test_a_flows_density_is_that_of_its_own_map():
    """log p(f(e)) = log N(e) - log |det df/de|, with the Jacobian by automatic differentiation."""
    prior, _ = built("flow")
    p = prior(torch.zeros(1, 1)).expand((1,))
    for noise in torch.randn(20, 1, 2):
        jacobian = torch.autograd.functional.jacobian(p.rsample_from_base_samples, noise)[0, :, 0]
        want = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum() - jacobian.det().abs().log()
        torch.testing.assert_close(p.log_prob(p.rsample_from_base_samples(noise))[0], want, rtol=1e-4, atol=1e-4)


def test_a_flow_after_a_step_gives_the_density_of_its_new_parameters():
    prior, z = FlowPrior(4), torch.randn(3, 4)
    before = prior(torch.zeros(3, 0)).log_prob(z)
    with torch.no_grad():
        prior.nets[0].skip.bias.add_(1.0)
    assert not torch.allclose(prior(torch.zeros(3, 0)).log_prob(z), before)


def test_a_conditional_prior_differs_with_covariates():
    prior, _ = built("conditional")
    p = prior(torch.tensor([[-1.0], [1.0]]))
    assert p.batch_shape == (2,)
    assert not torch.allclose(p.mean[0], p.mean[1])


def test_a_flow_needs_two_latents():
    with pytest.raises(InputError, match="a flow over 1 latent"):
        FlowPrior(1)


def test_initial_components_of_a_mixture_have_equal_weights_and_means_of_sd_one_half():
    p = PRIORS["mixture"](20, 0, 1, components=50, seed=1)(torch.zeros(1, 0))
    torch.testing.assert_close(p.log_weights.exp(), torch.full((50,), 1 / 50))
    assert p.loc.std().item() == pytest.approx(0.5, rel=0.07)  # 1,000 numbers: 3 standard errors
    torch.testing.assert_close(p.scale.log(), torch.full((50, 20), -0.15))


def test_scales_of_learned_priors_are_at_most_e_squared():
    conditional, flow = ConditionalPrior(2, 1), FlowPrior(2, couplings=1)
    with torch.no_grad():
        for net in (conditional.net, flow.nets[0]):
            net.skip.bias.fill_(1e3)
    torch.testing.assert_close(conditional(torch.zeros(1, 1)).scale, torch.full((1, 2), math.exp(2)))
    z = flow(torch.zeros(1, 1)).rsample_from_base_samples(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(z[1, 1] - z[0, 1], torch.tensor(math.exp(2)), rtol=1e-4, atol=0)


def test_pseudo_inputs_are_standard_normal_and_differ_between_modalities_and_members():
    pseudo = PseudoInputs({"a": 60, "b": 60}, 3, members=2, components=20, seed=1)
    parts = [*pseudo.values["a"], *pseudo.values["b"]]
    for part in parts:
        assert part.std().item() == pytest.approx(1, abs=0.07)  # 1,200 numbers: 3 standard errors
    assert len({part[0, 0].item() for part in parts}) == 4
    assert pseudo.covariates.shape == (2, 20, 3)
    alone = PseudoInputs({"a": 60, "b": 60}, 3, components=20, seed=2)
    torch.testing.assert_close(alone.values["b"], pseudo.values["b"][1])
