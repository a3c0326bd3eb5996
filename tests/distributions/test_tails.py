"""Tails: accurate and monotone far from the mean, also of wrapped distributions."""

import mpmath
import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import special, stats
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
)

from pyro_mmnorm.distributions.regional import LowRankNormal, RatioLogNormal, RegionNormal, RegionStudentT
from pyro_mmnorm.distributions.tails import has_tails, log_cdf, log_sf, monte_carlo_tails

REAL = {"dtype": torch.float64}
LOC, SCALE = torch.tensor([1.0, -2.0], **REAL), torch.tensor([0.5, 3.0], **REAL)
FLIP = AffineTransform(torch.tensor(1.0, **REAL), torch.tensor(-2.0, **REAL))
KNOWN = {  # a distribution of two regions, and x at which its z is -30 ... 30
    "normal": dist.Normal(LOC, SCALE),
    "region_normal": RegionNormal(LOC, SCALE.log()),
    "laplace": dist.Laplace(LOC, SCALE),
    "student_t": dist.StudentT(torch.tensor([4.0, 30.0], **REAL), LOC, SCALE),
    "region_student_t": RegionStudentT(torch.tensor([2.5, 300.0], **REAL), LOC, SCALE.log()),
    "lognormal": dist.LogNormal(LOC, SCALE),
    "ratio": RatioLogNormal(LOC / 9, SCALE.log() - 3, torch.ones(2, **REAL), torch.full((2,), 0.1, **REAL)),
    "falling": dist.TransformedDistribution(dist.Normal(LOC, SCALE), [FLIP]),
    "sigmoid of a falling one": dist.TransformedDistribution(
        dist.Normal(LOC / 9, SCALE / 9), [FLIP, SigmoidTransform()]
    ),
    "composed": dist.TransformedDistribution(dist.Laplace(LOC, SCALE / 6), [ComposeTransform([FLIP, ExpTransform()])]),
    "low_rank": LowRankNormal(LOC[None], SCALE.log()[None], torch.ones(1, 2, **REAL)),
}


def values(d, points=601):
    """x from far below to far above, [points, 2]; each family at the places where its z is within 30."""
    z = torch.linspace(-30, 30, points, **REAL)
    base = d.base_dist if isinstance(d, dist.TransformedDistribution) else d
    if isinstance(base, torch.distributions.Laplace):
        log_p = torch.special.log_ndtr(-z.abs()) + np.log(2)
        unit = -torch.sign(z) * log_p
    elif isinstance(base, torch.distributions.StudentT):
        unit = torch.sign(z) * torch.expm1(z.abs() ** 1.2)
    else:
        unit = z
    if isinstance(d, RatioLogNormal):
        return ((d.loc + d.log_scale.exp() * unit[:, None]).exp() - d.origin) / d.step
    if isinstance(d, LowRankNormal):
        return d.loc + d.variance.sqrt() * unit[:, None]
    x = base.loc + base.scale * unit[:, None]
    for transform in getattr(d, "transforms", []):
        x = transform(x)
    return x.sort(0).values


@pytest.mark.parametrize("name", KNOWN)
def test_tails_are_finite_in_order_and_add_up_to_one(name):
    d = KNOWN[name]
    x = values(d)
    low, high = log_cdf(d, x).squeeze(), log_sf(d, x).squeeze()
    assert low.dtype == high.dtype == torch.float64
    assert low.isfinite().all()
    assert high.isfinite().all()
    assert (low.diff(dim=0) >= 0).all()
    assert (high.diff(dim=0) <= 0).all()
    near = torch.minimum(low, high)
    assert (near.diff(dim=0) != 0).all(), "the smaller tail differs between any two values"
    assert (near.min(0).values < -100).all(), "the values reach far into the tails"
    torch.testing.assert_close(low.exp() + high.exp(), torch.ones_like(low))


def test_normal_tails_have_many_digits_at_thirty():
    for z in (-90.0, -30.0, -5.0, -0.1, 0.0, 3.0, 30.0):
        with mpmath.workdps(250):
            want = float(mpmath.log(mpmath.erfc(-mpmath.mpf(z) / mpmath.sqrt(2)) / 2))
        x = (LOC + z * SCALE)[None]
        for name in ("normal", "region_normal"):
            np.testing.assert_allclose(log_cdf(KNOWN[name], x), want, rtol=1e-12, atol=1e-300)
            np.testing.assert_allclose(log_sf(KNOWN[name], 2 * LOC - x), want, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("laplace", stats.laplace(LOC, SCALE)),
        ("student_t", stats.t([4.0, 30.0], LOC, SCALE)),
        ("region_student_t", stats.t([2.5, 300.0], LOC, SCALE)),
        ("lognormal", stats.lognorm(SCALE, scale=LOC.exp())),
        ("ratio", stats.lognorm(SCALE / np.e**3, loc=-10, scale=10 * (LOC / 9).exp())),
        ("falling", stats.norm(1 - 2 * LOC, 2 * SCALE)),
        ("low_rank", stats.norm(LOC, (SCALE**2 + 1).sqrt())),
    ],
)
def test_tails_agree_with_scipy(name, theirs):
    d = KNOWN[name]
    x = values(d)
    keep = np.abs(special.ndtri_exp(log_cdf(d, x).squeeze().numpy())) < 8
    for ours, tail in ((log_cdf, theirs.logcdf), (log_sf, theirs.logsf)):
        np.testing.assert_allclose(ours(d, x).squeeze().numpy()[keep], tail(x.squeeze().numpy())[keep], rtol=1e-9)


@pytest.mark.parametrize("name", ["laplace", "student_t", "lognormal", "falling", "low_rank"])
def test_samples_follow_their_tails(name):
    # Kolmogorov-Smirnov on 4,000 draws of 2 regions; fails by chance once in 1e4
    d = KNOWN[name]
    uniform = log_cdf(d, d.sample((4000,))).exp().reshape(4000, 2)
    assert min(stats.kstest(uniform[:, j].numpy(), "uniform").pvalue for j in range(2)) > 5e-5


def test_beyond_the_support_nothing_or_everything_lies_below():
    for name, below in (("lognormal", -3.0), ("ratio", -11.0)):
        x = torch.full((1, 2), below, **REAL)
        assert log_cdf(KNOWN[name], x).isneginf().all()
        assert (log_sf(KNOWN[name], x) == 0).all()
    x = torch.full((1, 2), 1.5, **REAL)
    falling = dist.TransformedDistribution(dist.LogNormal(LOC, SCALE), [FLIP])  # its values lie below 1
    assert (log_cdf(falling, x) == 0).all()
    assert log_sf(falling, x).isneginf().all()


def test_a_scale_of_either_sign_turns_its_own_region_only():
    mixed = dist.TransformedDistribution(
        dist.Normal(LOC, SCALE), [AffineTransform(torch.zeros(2, **REAL), torch.tensor([2.0, -2.0], **REAL))]
    )
    plain = dist.Normal(LOC * torch.tensor([2.0, -2.0]), 2 * SCALE)
    x = torch.linspace(-30, 30, 7, **REAL)[:, None]
    torch.testing.assert_close(log_cdf(mixed, x), log_cdf(plain, x))
    torch.testing.assert_close(log_sf(mixed, x), log_sf(plain, x))


def test_wrappers_have_the_tails_of_what_they_wrap():
    x = torch.randn(4, 2, **REAL)
    normal = dist.Normal(LOC, SCALE)
    laplace = dist.TransformedDistribution(normal, [ExpTransform(), PowerTransform(torch.tensor(-1.0, **REAL))])
    ways = (
        normal.to_event(1),
        normal.expand((4, 2)).mask(x > 0).to_event(1),
        dist.torch_distribution.ExpandedDistribution(normal, torch.Size((4, 2))),
    )
    for way in ways:
        torch.testing.assert_close(log_cdf(way, x), log_cdf(normal, x))
        torch.testing.assert_close(log_sf(way, x), log_sf(normal, x))
        assert has_tails(way)
    torch.testing.assert_close(log_cdf(laplace, x.exp()), log_sf(normal, -x))
    torch.testing.assert_close(log_sf(laplace, x.exp()), log_cdf(normal, -x))


def test_float32_values_are_scored_in_float64():
    single = dist.Normal(LOC.float(), SCALE.float())
    assert torch.equal(log_cdf(single, torch.ones(2)), log_cdf(KNOWN["normal"], torch.ones(2)))


def test_where_nothing_was_observed_there_is_no_number():
    mask, x = torch.tensor([[True, False]]), torch.tensor([[0.3, 0.0]])
    for d in (RegionNormal(LOC[None], SCALE.log()[None]), KNOWN["low_rank"]):
        for tail in (log_cdf, log_sf):
            seen = tail(d.observed(mask), x)
            assert seen[0, 1].isnan()
            torch.testing.assert_close(seen[0, 0], tail(d, x)[0, 0])


def test_low_rank_z_can_be_given_the_other_regions():
    d = LowRankNormal(LOC[None], SCALE.log()[None], 5 * torch.ones(1, 2, **REAL), given_others=True)
    x = LOC[None] + 20
    covariance = np.diag(SCALE**2) + 25
    weight = covariance[0, 1] / covariance[1, 1]
    z = 20 * (1 - weight) / np.sqrt(covariance[0, 0] - weight * covariance[0, 1])
    assert log_sf(d, x)[0, 0].item() == pytest.approx(stats.norm.logsf(z), rel=1e-9)
    alone = d.observed(torch.tensor([[True, False]]))
    assert log_sf(alone, x)[0, 0].item() == pytest.approx(stats.norm.logsf(20 / covariance[0, 0] ** 0.5), rel=1e-9)


def test_gradients_pass_through_closed_forms():
    x = torch.tensor([0.3, -4.0], **REAL, requires_grad=True)
    for name in ("normal", "laplace", "falling", "ratio"):
        for tail in (log_cdf, log_sf):
            assert torch.autograd.gradcheck(lambda x, name=name, tail=tail: tail(KNOWN[name], x), x)


def test_another_distribution_lends_its_own_cdf_as_far_as_that_reaches():
    d, x = dist.Gamma(torch.tensor(3.0, **REAL), torch.tensor(2.0, **REAL)), torch.tensor([0.5, 4.0, 1e3], **REAL)
    assert has_tails(d)
    np.testing.assert_allclose(log_cdf(d, x), stats.gamma.logcdf(x, 3, scale=0.5), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(log_sf(d, x)[:2], stats.gamma.logsf(x[:2], 3, scale=0.5), rtol=1e-9)
    assert log_sf(d, x)[2].item() == pytest.approx(np.log(2.0**-53))  # z stays at 8.2
    half = dist.HalfNormal(torch.tensor(2.0, **REAL))  # not a monotone transform, but it knows its cdf
    assert has_tails(half)
    np.testing.assert_allclose(log_sf(half, x[:2]), stats.halfnorm.logsf(x[:2], scale=2), rtol=1e-9)
    np.testing.assert_allclose(log_cdf(half, x[:2]), stats.halfnorm.logcdf(x[:2], scale=2), rtol=1e-9)


def test_a_distribution_without_known_tails_is_refused():
    unknown = dist.VonMises(0.0, 1.0)
    folded = dist.FoldedDistribution(dist.Normal(0.0, 1.0))
    for d in (unknown, folded, unknown.expand((3,)).to_event(1)):
        assert not has_tails(d)
        for tail in (log_cdf, log_sf):
            with pytest.raises(NotImplementedError, match=r"no tail is registered for (VonMises|FoldedDistribution)"):
                tail(d, torch.zeros(1))


def test_tails_registered_by_a_user_are_used_everywhere():
    class Constant(dist.Delta):
        pass

    assert not has_tails(Constant(torch.zeros(2)).to_event(1))
    log_cdf.register(Constant, lambda d, x: torch.where(x < d.v, -torch.inf, 0.0))
    assert has_tails(Constant(torch.zeros(2)).to_event(1))
    assert log_cdf(Constant(torch.zeros(2)).to_event(1), torch.tensor([-1.0, 1.0])).tolist() == [-torch.inf, 0.0]


def test_replicates_stand_in_for_tails():
    # 4,000 replicates: a share errs by .008 at most, bound at 4 of these; the smallest share is half of one
    d, x = dist.Normal(LOC, SCALE), LOC + torch.tensor([[-0.7], [1.2], [50.0]], **REAL) * SCALE
    before = torch.random.get_rng_state()
    low, high = monte_carlo_tails(d, x, samples=4000, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_allclose(low.exp(), log_cdf(d, x).exp(), atol=0.032)
    torch.testing.assert_close(low.exp() + high.exp(), torch.ones_like(low))
    assert high[2, 0].item() == pytest.approx(np.log(0.5 / 4001))
    assert torch.equal(low, monte_carlo_tails(d, x, samples=4000, seed=3)[0])
    assert not torch.equal(low, monte_carlo_tails(d, x, samples=4000, seed=4)[0])
