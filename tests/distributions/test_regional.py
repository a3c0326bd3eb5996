"""Distributions of regions: the density is that of the textbook, and unobserved cells have no influence."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import AffineTransform, ExpTransform

from pyro_mmnorm.distributions.regional import (
    ConditionalZ,
    LowRankNormal,
    ObservedMarginal,
    RatioLogNormal,
    RegionNormal,
    RegionStudentT,
    inside_support,
    observed_marginal,
)

N, D, RANK = 6, 5, 2
REAL = {"dtype": torch.float64}


FAMILIES = {
    "normal": lambda loc, log_scale, _: RegionNormal(loc, log_scale),
    "student_t": lambda loc, log_scale, w: RegionStudentT(4 + w[..., :1, :].square(), loc, log_scale),
    "lognormal": lambda loc, log_scale, _: RatioLogNormal(
        loc, log_scale - 1, torch.full((D,), 1.2, **REAL), torch.full((D,), 0.1, **REAL)
    ),
    "mvn_lowrank": lambda loc, log_scale, w: LowRankNormal(loc, log_scale, w),
}


@pytest.fixture
def parts():
    """loc [N, D], log_scale [1, D], factor [RANK, D], mask and values [N, D], float64."""
    loc, log_scale, factor = torch.randn(N, D, **REAL), 0.3 * torch.randn(1, D, **REAL), torch.randn(RANK, D, **REAL)
    return loc, log_scale, factor, torch.rand(N, D) > 0.4, torch.randn(N, D, **REAL)


def textbook(name, loc, log_scale, factor):
    """The distribution built from PyTorch."""
    scale = log_scale.exp()
    if name == "normal":
        return dist.Normal(loc, scale)
    if name == "student_t":
        return dist.StudentT(4 + factor[:1].square(), loc, scale)
    if name == "lognormal":
        to_x = AffineTransform(torch.tensor(-12.0, **REAL), torch.tensor(10.0, **REAL))
        return dist.TransformedDistribution(dist.Normal(loc, scale / np.e), [ExpTransform(), to_x])
    return dist.MultivariateNormal(loc, torch.diag_embed(scale.square()) + factor.mT @ factor)


@pytest.mark.parametrize("name", FAMILIES)
def test_density_and_moments_are_those_of_the_textbook(name, parts):
    loc, log_scale, factor, _, x = parts
    ours, theirs = FAMILIES[name](loc, log_scale, factor), textbook(name, loc, log_scale, factor)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    if name != "lognormal":  # PyTorch has no moments of a transformed distribution
        torch.testing.assert_close(ours.mean, theirs.mean)
        torch.testing.assert_close(ours.variance, theirs.variance)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_of_the_density_are_finite_differences(name, parts):
    *parameters, mask, x = parts
    for parameter in (*parameters, x):
        parameter.requires_grad_()

    def density(loc, log_scale, factor, x):
        d = FAMILIES[name](loc, log_scale, factor)
        return d.observed(mask).log_prob(x) if isinstance(d, ObservedMarginal) else d.log_prob(x)

    assert torch.autograd.gradcheck(density, (*parameters, x))


@pytest.mark.parametrize("name", ["normal", "student_t", "lognormal"])
def test_the_density_integrates_to_one(name):
    loc, log_scale = torch.full((1, D), 0.3, **REAL), torch.full((1, D), -0.2, **REAL)
    d = FAMILIES[name](loc, log_scale, torch.ones(RANK, D, **REAL))
    low = -12.0 + 1e-12 if name == "lognormal" else -np.inf

    def density(x: float) -> float:
        return float(d.log_prob(torch.full((1, D), x, **REAL))[0, 0].exp())

    assert integrate.quad(density, low, np.inf, limit=200)[0] == pytest.approx(1, abs=1e-7)


def test_log_normal_moments_are_those_of_the_integral():
    d = FAMILIES["lognormal"](torch.full((1, D), 0.3, **REAL), torch.full((1, D), -0.2, **REAL), None)

    def moment(power: int) -> float:
        def part(x: float) -> float:
            return x**power * float(d.log_prob(torch.full((1, D), x, **REAL))[0, 0].exp())

        return integrate.quad(part, -12 + 1e-12, np.inf, limit=200)[0]

    assert d.mean[0, 0].item() == pytest.approx(moment(1), rel=1e-6)
    assert d.variance[0, 0].item() == pytest.approx(moment(2) - moment(1) ** 2, rel=1e-5)


def test_a_ratio_must_be_positive():
    d = FAMILIES["lognormal"](torch.zeros(1, D, **REAL), torch.zeros(1, D, **REAL), None)
    assert d.support.check(torch.tensor(-11.99)).all()
    assert not d.support.check(torch.tensor(-12.0)).any()
    with pytest.raises(ValueError, match="within the support"):
        d.log_prob(torch.full((1, D), -12.5, **REAL))


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_have_the_stated_moments(name, parts):
    # 40,000 draws: a mean errs by SD/200, bound at 4.5 of these over 30 cells fails once in 5,000; a variance errs by
    # at most 2 % of itself here (the t of 4 degrees and more: kurtosis), bound at 4 of these
    loc, log_scale, factor, *_ = parts
    d = FAMILIES[name](loc, log_scale, factor.clamp(min=1.5) if name == "student_t" else factor)
    x = d.rsample((40000,))
    assert x.shape == (40000, N, D)
    assert ((x.mean(0) - d.mean) / d.variance.sqrt()).abs().max() < 4.5 / 200
    torch.testing.assert_close(x.var(0), d.variance.expand(N, D), rtol=0.08, atol=0)


@pytest.mark.parametrize("name", ["normal", "mvn_lowrank"])
def test_unobserved_cells_influence_neither_value_nor_gradient(name, parts):
    *parameters, mask, x = parts
    seen = []
    for junk in (0.0, 1e30, torch.nan, torch.inf):
        leaves = [p.detach().clone().requires_grad_() for p in parameters]
        value = FAMILIES[name](*leaves).observed(mask).log_prob(torch.where(mask, x, junk))
        value.sum().backward()
        grads = [p.grad for p in leaves if p.grad is not None]
        assert len(grads) == (3 if name == "mvn_lowrank" else 2)
        seen.append([value.detach(), *grads])
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("shared", [True, False])
def test_observed_normal_is_the_masked_one(shared, parts):
    loc, log_scale, _, mask, x = (part.float() if part.is_floating_point() else part for part in parts)
    log_scale = log_scale if shared else log_scale + 0.1 * loc
    grads = []
    for way in ("ours", "theirs"):
        a, b = loc.clone().requires_grad_(), log_scale.clone().requires_grad_()
        d = RegionNormal(a, b)
        d = d.observed(mask) if way == "ours" else dist.Normal(a, b.exp()).mask(mask).to_event(1)
        value = d.log_prob(x)
        value.sum().backward()
        grads.append((value.detach(), a.grad, b.grad))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_low_rank_marginal_is_that_of_the_dense_normal(parts):
    loc, log_scale, factor, mask, x = parts
    mask[0] = False
    d, dense = LowRankNormal(loc, log_scale, factor).observed(mask), textbook("mvn_lowrank", loc, log_scale, factor)
    got = d.log_prob(x)
    assert got[0] == 0  # without observed cells
    for i in range(1, N):
        here = mask[i]
        block = dist.MultivariateNormal(loc[i, here], dense.covariance_matrix[0][here][:, here])
        torch.testing.assert_close(got[i], block.log_prob(x[i, here]))


def test_low_rank_z_given_the_others_is_that_of_the_dense_normal(parts):
    loc, log_scale, factor, mask, x = parts
    covariance = textbook("mvn_lowrank", loc, log_scale, factor).covariance_matrix[0]
    d = LowRankNormal(loc, log_scale, factor, given_others=True).observed(mask)
    got = d.standardised(torch.where(mask, x, torch.nan))
    assert torch.equal(got.isnan(), ~mask)
    for i, j in mask.nonzero().tolist():
        others = mask[i].clone()
        others[j] = False
        gain = torch.linalg.solve(covariance[others][:, others], covariance[others][:, j])
        mean = loc[i, j] + gain @ (x[i, others] - loc[i, others])
        variance = covariance[j, j] - gain @ covariance[others][:, j]
        torch.testing.assert_close(got[i, j], (x[i, j] - mean) / variance.sqrt())


def test_low_rank_samples_follow_their_z():
    # Kolmogorov-Smirnov on 4,000 draws of each of 2 x 5 z-scores; fails by chance once in 2,000
    loc, log_scale, factor = torch.randn(1, D, **REAL), torch.zeros(1, D, **REAL), torch.randn(RANK, D, **REAL)
    for given_others in (False, True):
        d = LowRankNormal(loc, log_scale, factor, given_others=given_others)
        z = d.standardised(d.sample((4000,)))
        assert min(stats.kstest(z[:, 0, j].numpy(), "norm").pvalue for j in range(D)) > 5e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_and_members_broadcast(name):
    draws, members = 3, 2
    loc, log_scale = torch.randn(draws, members, N, D, **REAL), 0.3 * torch.randn(members, 1, D, **REAL)
    factor, mask, x = torch.randn(members, RANK, D, **REAL), torch.rand(N, D) > 0.4, torch.randn(N, D, **REAL)
    whole = FAMILIES[name](loc, log_scale, factor)
    parts = [FAMILIES[name](loc[s, e], log_scale[e], factor[e]) for s in range(draws) for e in range(members)]
    if isinstance(whole, ObservedMarginal):
        whole, parts = whole.observed(mask), [part.observed(mask) for part in parts]
        assert whole.shape() == (draws, members, N, D)
    torch.testing.assert_close(whole.log_prob(x).flatten(0, 1), torch.stack([part.log_prob(x) for part in parts]))
    assert whole.sample((4,)).shape == (4, draws, members, N, D)


@pytest.mark.parametrize("name", FAMILIES)
def test_expand_keeps_the_distribution(name, parts):
    loc, log_scale, factor, mask, x = parts
    d = FAMILIES[name](loc, log_scale, factor)
    for small in [d, d.observed(mask)] if isinstance(d, ObservedMarginal) else [d]:
        large = small.expand((3, *small.batch_shape))
        assert large.batch_shape == (3, *small.batch_shape)
        assert large.sample().shape == large.mean.shape == large.variance.shape == (3, N, D)
        torch.testing.assert_close(large.log_prob(x)[2], small.log_prob(x))


def test_pyro_checks_values_only_when_asked(parts):
    loc, log_scale, factor, mask, x = parts
    x[0, 0], mask[0, 0] = torch.nan, True
    for name in ("normal", "mvn_lowrank"):
        with pytest.raises(ValueError, match="within the support"):
            FAMILIES[name](loc, log_scale, factor).observed(mask).log_prob(x)
        with pyro.validation_enabled(False):
            assert FAMILIES[name](loc, log_scale, factor).observed(mask).log_prob(x)[0].isnan()


class Interval(dist.Uniform):
    """Regions between 2 and 3: 0 lies outside the support."""


def test_independent_regions_of_any_class_are_masked(parts):
    loc, log_scale, _, mask, _ = parts
    d = Interval(torch.full((N, D), 2.0, **REAL), torch.tensor(3.0, **REAL))
    values = torch.where(mask, 2.25, -7.0).double()
    marginal, filled = observed_marginal(d, mask, values)
    assert marginal.event_shape == (D,)
    assert torch.equal(filled[mask], values[mask])
    assert ((filled > 2) & (filled < 3)).all()
    torch.testing.assert_close(marginal.log_prob(filled), torch.zeros(N, **REAL))  # log density 0 in an interval of 1
    normal = dist.Normal(loc, log_scale.exp())
    assert inside_support(normal) == 0
    assert observed_marginal(normal, mask, values)[1][~mask].eq(0).all()


def test_the_protocols_of_regional_distributions(parts):
    loc, log_scale, factor, mask, x = parts
    normal, low_rank = RegionNormal(loc, log_scale), LowRankNormal(loc, log_scale, factor, given_others=True)
    assert isinstance(normal, ObservedMarginal)
    assert not isinstance(normal, ConditionalZ)
    assert isinstance(low_rank, ConditionalZ)
    assert not isinstance(dist.Normal(loc, log_scale.exp()), ObservedMarginal)
    assert low_rank.given_others
    assert not low_rank.marginal().given_others
    torch.testing.assert_close(observed_marginal(normal, mask, x)[0].log_prob(x), normal.observed(mask).log_prob(x))
    want = (x - loc) / low_rank.variance.sqrt()
    torch.testing.assert_close(low_rank.marginal().standardised(x), want)
    assert not torch.allclose(low_rank.standardised(x), want)
    assert low_rank.double().given_others
    assert not low_rank.marginal().observed(mask).given_others
