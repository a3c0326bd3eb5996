"""Fusion rules against numerical integration of their definitions, in one and two dimensions."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from pyro_mmnorm.distributions.latent import DiagonalNormal
from pyro_mmnorm.models.fusion import FUSIONS, GeneralisedPoE, MixtureOfProducts, moe, poe

GRID = np.linspace(-30, 30, 10_001)
finite = st.floats(-5, 5)
positive = st.floats(0.2, 5)
some_experts = st.lists(st.tuples(finite, positive, st.booleans()), min_size=1, max_size=4)


def normalised(log):
    density = np.exp(log - log.max())  # scaled, so that products of distant experts do not underflow
    return density / integrate.simpson(density, x=GRID)


def product(experts, powers=None):
    """Density on the grid of the prior times the experts, each to its power."""
    powers = powers or [1.0] * len(experts)
    logs = [w * stats.norm.logpdf(GRID, m, s) for (m, s), w in zip(experts, powers, strict=True)]
    return normalised(stats.norm.logpdf(GRID) + sum(logs))


def defined(name, experts, logits):
    """The definition of a rule, by numerical integration."""
    here = [(m, s) for m, s, present in experts if present]
    if name == "poe":
        return product(here)
    if name == "gpoe":
        powers = np.exp([a for a, (_, _, present) in zip(logits, experts, strict=True) if present])
        return product(here, list(powers / powers.sum()) if len(powers) else [])
    if not here:
        return product([])
    if name == "moe":
        return np.mean([stats.norm.pdf(GRID, m, s) for m, s in here], axis=0)
    subsets = [s for r in range(1, len(here) + 1) for s in itertools.combinations(here, r)]
    return np.mean([product(s) for s in subsets], axis=0)


def built(name, experts, latent_dim=1):
    fuse = FUSIONS[name](experts, latent_dim, 1)
    logits = np.linspace(-1, 1, experts)
    if isinstance(fuse, GeneralisedPoE):
        fuse.logits.data = torch.from_numpy(logits)[:, None].expand(-1, latent_dim).clone()
    return (fuse.double() if isinstance(fuse, torch.nn.Module) else fuse), logits


@pytest.mark.parametrize("name", FUSIONS)
@settings(max_examples=20, deadline=None)
@given(experts=some_experts)
def test_a_rule_is_its_definition_by_numerical_integration(name, experts):
    fuse, logits = built(name, len(experts))
    loc, scale, present = (torch.tensor(part) for part in zip(*experts, strict=True))
    with torch.no_grad():
        got = fuse(loc.double()[:, None], scale.double()[:, None], present)
        density = got.log_prob(torch.from_numpy(GRID)[:, None]).exp().numpy()
    want = defined(name, experts, logits)
    assert np.abs(density - want).max() < 1e-5 * want.max()  # the error of the grid
    mean = integrate.simpson(GRID * want, x=GRID)
    assert got.mean.item() == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_rule_integrates_to_one_in_two_dimensions_and_its_mean_is_the_integrals(name):
    loc = torch.tensor([[0.5, -1.0], [-1.0, 0.3], [0.2, 0.1]]).double()
    scale = torch.tensor([[0.6, 1.0], [0.8, 0.7], [1.5, 0.9]]).double()
    fuse, _ = built(name, 3, 2)
    axis = torch.linspace(-14, 14, 561, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        got = fuse(loc, scale, torch.tensor([True, False, True]))
        weight = got.log_prob(points).exp() * (axis[1] - axis[0]) ** 2
    assert weight.sum().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(weight @ points, got.mean.detach(), atol=1e-6, rtol=0)
    second = weight @ (points - got.mean.detach()).square()
    torch.testing.assert_close(second, got.variance.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("present", [(True, True, True), (True, False, True)])
def test_a_rule_is_its_definition_by_numerical_integration_in_two_dimensions(name, present):
    """Latents of a mixture are dependent: their joint density is not the product of one-dimensional densities."""
    loc, scale = np.array([[0.5, -1.0], [-1.0, 0.3], [0.2, 2.0]]), np.array([[0.6, 1.0], [0.8, 0.7], [1.5, 0.9]])
    fuse, logits = built(name, 3, 2)
    axis = np.linspace(-9, 9, 241)
    points, cell = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1), (axis[1] - axis[0]) ** 2

    def together(experts, powers):
        log = stats.norm.logpdf(points).sum(-1)
        for e, power in zip(experts, powers, strict=True):
            log = log + power * stats.norm.logpdf(points, loc[e], scale[e]).sum(-1)
        return np.exp(log) / (np.exp(log).sum() * cell)

    here = [e for e in range(3) if present[e]]
    if name == "moe":
        want = np.mean([stats.norm.pdf(points, loc[e], scale[e]).prod(-1) for e in here], axis=0)
    elif name == "mopoe":
        subsets = [s for r in range(1, len(here) + 1) for s in itertools.combinations(here, r)]
        want = np.mean([together(s, [1.0] * len(s)) for s in subsets], axis=0)
    else:
        powers = np.exp(logits[here]) / np.exp(logits[here]).sum() if name == "gpoe" else np.ones(len(here))
        want = together(here, powers)
    with torch.no_grad():
        got = fuse(torch.tensor(loc), torch.tensor(scale), torch.tensor(present))
        density = got.log_prob(torch.from_numpy(points.reshape(-1, 2))).exp().numpy().reshape(want.shape)
    assert np.abs(density - want).max() < 1e-6 * want.max()  # a smooth integrand: the grid's sum is exact to rounding


@pytest.mark.parametrize("name", FUSIONS)
def test_without_experts_the_posterior_is_the_prior(name):
    fuse, _ = built(name, 3, 2)
    q = fuse(torch.full((5, 3, 2), 9.0).double(), torch.full((5, 3, 2), 0.1).double(), torch.zeros(5, 3).bool())
    assert torch.equal(q.mean, torch.zeros(5, 2))
    assert torch.equal(q.variance, torch.ones(5, 2))


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 0.0, 1e-30])
@pytest.mark.parametrize("name", FUSIONS)
def test_an_absent_expert_has_no_influence_and_no_gradient(name, junk):
    loc = torch.tensor([[1.0], [junk]], requires_grad=True)
    scale = torch.tensor([[0.5], [junk]], requires_grad=True)
    fuse = FUSIONS[name](2, 1, 1)
    q = fuse(loc, scale, torch.tensor([True, False]))
    alone = FUSIONS[name](1, 1, 1)(loc[:1], scale[:1], torch.tensor([True]))
    torch.testing.assert_close(q.mean, alone.mean, rtol=0, atol=0)
    points = torch.linspace(-3, 3, 7)[:, None]
    torch.testing.assert_close(q.log_prob(points), alone.log_prob(points))
    (q.mean.sum() + q.rsample((3,)).sum()).backward()
    assert torch.isfinite(loc.grad).all()
    assert loc.grad[1].item() == scale.grad[1].item() == 0


@pytest.mark.parametrize("name", [n for n in FUSIONS if n != "gpoe"])
def test_the_posterior_does_not_depend_on_the_order_of_experts(name):
    loc, scale = torch.randn(4, 3, 2).double(), torch.rand(4, 3, 2).double() + 0.2
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]).bool()
    fuse, _ = built(name, 3, 2)
    permuted = [2, 0, 1]
    a, b = fuse(loc, scale, present), fuse(loc[:, permuted], scale[:, permuted], present[:, permuted])
    points = torch.randn(4, 2).double()
    torch.testing.assert_close(a.log_prob(points), b.log_prob(points))


def test_powers_of_a_generalised_product_belong_to_each_member():
    fuse = GeneralisedPoE(2, 3, members=4)
    q = fuse(torch.zeros(4, 5, 2, 3), torch.ones(4, 5, 2, 3), torch.ones(4, 5, 2).bool())
    torch.testing.assert_close(q.variance, torch.full((4, 5, 3), 0.5))  # powers sum to 1; the prior has power 1


def test_above_five_experts_the_sampled_subsets_include_all_experts_and_each_alone():
    fuse = MixtureOfProducts(7)
    rows = {tuple(map(int, s)) for s in fuse.subsets.tolist()}
    assert len(rows) == len(fuse.subsets) == 31
    assert (1,) * 7 in rows
    assert all(tuple(int(i == j) for j in range(7)) in rows for i in range(7))
    q = fuse(torch.randn(7, 2), torch.ones(7, 2), torch.tensor([0, 1, 0, 0, 0, 0, 0]).bool())
    lone = MixtureOfProducts(1)
    assert q.log_prob(torch.zeros(2)).isfinite()
    assert lone.subsets.tolist() == [[1.0]]


def test_a_product_is_diagonal_normal_and_a_mixture_of_one_is_its_expert():
    assert isinstance(poe(torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1).bool()), DiagonalNormal)
    q = moe(torch.full((1, 2), 2.0), torch.full((1, 2), 0.5), torch.ones(1).bool())
    assert q.mean.tolist() == [2, 2]
    assert q.variance.tolist() == [0.25, 0.25]
