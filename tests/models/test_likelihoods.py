"""Likelihoods: shapes, members, the linear start, and goodness of fit."""

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from scipy import stats
from torch import nn

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.distributions.regional import observed_marginal
from pyro_mmnorm.distributions.tails import has_tails, log_cdf
from pyro_mmnorm.inference.initialisation import start_linear
from pyro_mmnorm.models.likelihoods import LIKELIHOODS, Gaussian, LogNormal, LowRankGaussian, StudentT
from pyro_mmnorm.models.networks import Network

K, C, D = 3, 2, 5


def build(name, members=1, d=D, seed=0, **options):
    kind = LIKELIHOODS[name]
    net = Network(K + C, kind.outputs * d, (8,), range(seed, seed + members))
    return kind(net, d, members, **options)


def scramble(likelihood, seed=1):
    """Every parameter perturbed, so that no test depends on the initial values."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=g))
    return likelihood


def log_density(d, x, mask):
    """Log density of the observed cells, as in the model."""
    marginal, values = observed_marginal(d, mask, x)
    return marginal.log_prob(values)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_leading_draw_axes_are_kept(name):
    d = build(name)(torch.zeros(7, 4, K), torch.zeros(4, C))
    assert d.sample().shape == (7, 4, D)
    assert d.batch_shape + d.event_shape == (7, 4, D)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_zero_the_value_of_unobserved_cells_lies_in_the_support(name):
    d = scramble(build(name))(torch.randn(4, K), torch.randn(4, C))
    assert d.support.check(torch.zeros(4, D)).all()
    nothing = log_density(d, torch.zeros(4, D), torch.zeros(4, D, dtype=torch.bool))
    assert torch.equal(nothing, torch.zeros(4))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_members_equal_single_models(name):
    together, z, c, x = scramble(build(name, members=2)), torch.randn(4, K), torch.randn(4, C), torch.randn(4, D)
    mask = torch.rand(4, D) > 0.3
    d = together(z.expand(2, 4, K), c)
    assert d.sample().shape == (2, 4, D)
    for e in range(2):
        alone = build(name)
        for own, (kind, theirs) in zip(alone.state_dict().values(), together.state_dict().items(), strict=True):
            own.copy_(theirs if kind in {"origin", "step"} else theirs[e])
        torch.testing.assert_close(log_density(d, x, mask)[e], log_density(alone(z, c), x, mask))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_samples_follow_the_density(name):
    # Kolmogorov-Smirnov of the PIT on 4,000 draws of 5 regions; fails by chance once in 4,000
    with torch.no_grad():
        d = scramble(build(name))(torch.randn(1, K), torch.randn(1, C))
        assert has_tails(d)
        uniform = log_cdf(d, d.sample((4000,))).exp()[:, 0]
    assert min(stats.kstest(uniform[:, j].numpy(), "uniform").pvalue for j in range(D)) > 5e-5


@pytest.mark.parametrize("member", [0, 1])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_start_gives_the_stated_mean_and_variance(name, member):
    likelihood = scramble(build(name, members=2))
    with torch.no_grad():  # the perceptron is at zero when training starts
        likelihood.net.last.weight.zero_()
        likelihood.net.last.bias.zero_()
    before = {key: x.clone() for key, x in likelihood.state_dict().items() if x.dim() == 3}
    loadings, effects = 0.3 * torch.randn(K, D).double(), 0.3 * torch.randn(1 + C, D).double()
    noise = 0.2 + torch.rand(D).double()
    likelihood.start(loadings, effects, noise, member)
    d = likelihood(torch.zeros(2, 1, K), torch.zeros(1, C))
    torch.testing.assert_close(d.mean[member, 0].double(), effects[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(d.variance[member, 0].double(), noise, rtol=1e-4, atol=0)
    small = 0.02 * torch.randn(1, K + C)  # a log-normal is linear near 0 only
    moved = likelihood(small[:, :K].expand(2, 1, K), small[:, K:]).mean[member] - d.mean[member]
    want = small.double() @ torch.cat([loadings, effects[1:]])
    torch.testing.assert_close(moved.double(), want, rtol=0.01, atol=2e-4)
    for key, x in before.items():
        assert torch.equal(likelihood.state_dict()[key][1 - member], x[1 - member]), key


def test_hetero_starts_with_a_constant_spread_that_stays_bounded():
    likelihood = build("normal_hetero")
    z = torch.randn(20, K)
    scale = likelihood(z, torch.randn(20, C)).scale
    assert torch.equal(scale, scale[:1].expand(20, D))
    scale = scramble(likelihood)(1e4 * z, torch.randn(20, C)).scale / likelihood.log_scale.exp()
    assert (scale.log().abs() <= 2).all()
    assert scale.log().std() > 1


def test_hetero_learns_a_spread_that_grows():
    # SD e^(0.5 c) on 4,000 values: the slope of log SD errs by about 0.011; four of these
    likelihood, c = LIKELIHOODS["normal_hetero"](Network(1, 2, (), [0]), 1), torch.randn(4000, 1)
    x = (0.5 * c).exp() * torch.randn(4000, 1)
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        (-likelihood(c[:, :0], c).log_prob(x).mean()).backward()
        optimiser.step()
    grid = torch.tensor([[-0.5], [0.5]])
    log_sd = likelihood(grid[:, :0], grid).scale.log()
    assert (log_sd[1] - log_sd[0]).item() == pytest.approx(0.5, abs=0.045)


def test_degrees_of_freedom_start_at_twenty_and_stay_above_two():
    likelihood = build("student_t")
    torch.testing.assert_close(likelihood.df, torch.full((1, D), 20.0))
    with torch.no_grad():
        likelihood.raw_df.fill_(-1e4)
    d = likelihood(torch.randn(4, K), torch.randn(4, C))
    assert (likelihood.df > 2).all()
    assert d.variance.isfinite().all()


def test_student_t_learns_its_degrees_of_freedom():
    # 20,000 values with 4 degrees of freedom: the maximum-likelihood estimate errs by about 0.13; four of these
    likelihood, x = StudentT(Network(1, 1, (), [0]), 1), torch.distributions.StudentT(4.0).sample((20000, 1))
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    nothing = torch.zeros(len(x), 1)
    for _ in range(300):
        optimiser.zero_grad()
        (-likelihood(nothing, nothing[:, :0]).log_prob(x).mean()).backward()
        optimiser.step()
    assert likelihood.df.item() == pytest.approx(4, abs=0.5)


def test_log_normal_is_the_normal_where_a_unit_is_a_small_part_of_the_mean():
    normal = scramble(build("normal"))
    volumes = LogNormal(normal.net, D, origin=torch.full((D,), 2.0), step=1e-4).double()
    with torch.no_grad():
        volumes.log_scale.copy_(normal.log_scale)
    z, c, x = torch.randn(4, K).double(), torch.randn(4, C).double(), torch.randn(4, D).double()
    got, want = volumes(z, c).log_prob(x), normal.double()(z, c).log_prob(x)
    torch.testing.assert_close(got, want, atol=2e-3, rtol=0)


def test_log_normal_scores_volumes_and_not_their_logarithms():
    volume, mean, sd = torch.tensor([[3500.0]]), 4000.0, 500.0
    likelihood = LogNormal(Network(1, 1, (), [0]), 1, origin=1.0, step=sd / mean)
    d = likelihood(torch.zeros(1, 1), torch.zeros(1, 0))
    theirs = stats.lognorm(s=sd / mean, scale=mean)  # of the volume itself; sigma is 1 unit of x
    assert d.log_prob((volume - mean) / sd).item() == pytest.approx(theirs.logpdf(3500) + np.log(sd), rel=1e-4)
    assert d.mean.item() * sd + mean == pytest.approx(theirs.mean(), rel=1e-5)
    assert d.stddev.item() * sd == pytest.approx(theirs.std(), rel=1e-4)


def test_low_rank_learns_correlations():
    # correlation .6 on 4,000 pairs: errs by .01; four of these
    likelihood = LowRankGaussian(Network(1, 2, (), [0]), 2, rank=1)
    x = torch.randn(4000, 1) * 0.6**0.5 + torch.randn(4000, 2) * 0.4**0.5
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.03)
    nothing = torch.zeros(len(x), 1)
    for _ in range(300):
        optimiser.zero_grad()
        (-likelihood(nothing, nothing[:, :0]).log_prob(x).mean()).backward()
        optimiser.step()
    a, b = likelihood.factor[0].tolist()
    assert a * b == pytest.approx(0.6, abs=0.04)
    variance = likelihood(nothing, nothing[:, :0]).variance[0].detach()
    np.testing.assert_allclose(variance, x.var(0), rtol=0.03)


def test_low_rank_z_is_marginal_or_conditional():
    z, c, x = torch.randn(4, K), torch.randn(4, C), torch.randn(4, D)
    marginal, conditional = (scramble(build("mvn_lowrank", rank=2, z=way)) for way in ("marginal", "conditional"))
    assert not torch.allclose(log_cdf(marginal(z, c), x), log_cdf(conditional(z, c), x))
    torch.testing.assert_close(marginal(z, c).log_prob(x), conditional(z, c).log_prob(x))
    assert build("mvn_lowrank", d=2).factor.shape == (2, 2)  # no more rows than regions


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mvn_lowrank", {"rank": 0}, "LowRankGaussian.rank: 0; expected an integer of at least 1"),
        ("mvn_lowrank", {"rank": 1.5}, "LowRankGaussian.rank: 1.5; expected"),
        ("mvn_lowrank", {"z": "joint"}, "LowRankGaussian.z: 'joint'; expected 'marginal' or 'conditional'"),
        ("lognormal", {"origin": [1.0, 0.0, 1.0, 1.0, 1.0]}, "LogNormal.origin: .*; expected 5 numbers above 0"),
        ("lognormal", {"step": [1.0, 2.0]}, "LogNormal.step: .*; expected 5 numbers above 0"),
        ("lognormal", {"step": np.nan}, "LogNormal.step: nan; expected 5 numbers above 0"),
    ],
)
def test_invalid_options_of_a_likelihood_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        build(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("normal", {"rank": 3}, "model.likelihood: 'rank'; expected one of scale"),
        ("student_t", {"df": 3}, "model.likelihood: 'df'; expected one of no options"),
        ("lognormal", {"orgin": 1}, "'orgin'; expected one of origin, step. Did you mean 'origin'"),
        ("mvn_lowrank", {"ranks": 1}, "'ranks'; expected one of rank, z. Did you mean 'rank'"),
    ],
)
def test_unknown_options_of_a_likelihood_are_refused(cohort, name, options, message):
    with pytest.raises(InputError, match=message):
        mm.MMVAE.for_cohort(cohort, likelihood={"name": name, **options})


def test_a_network_of_the_wrong_size_is_refused():
    for kind, outputs in (("normal", 1), ("normal_hetero", D)):
        likelihood = LIKELIHOODS[kind](nn.Linear(K + C, outputs), D)
        with pytest.raises(InputError, match=f"a network with {outputs} outputs; expected . for each of 5 regions"):
            likelihood(torch.zeros(4, K), torch.zeros(4, C))


def test_a_network_without_a_skip_path_has_no_linear_start():
    with pytest.raises(InputError, match="networks without a skip path"):
        Gaussian(nn.Linear(K + C, D), D).start(torch.zeros(K, D), torch.zeros(1 + C, D), torch.ones(D))


def test_the_linear_start_does_not_change_a_user_defined_likelihood(cohort):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 5))

        def forward(self, z, c):
            return pyro.distributions.Logistic(z @ self.weight, 1.0)

    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,))
    model.likelihoods["hippocampal"] = own = Own()
    before, batch = own.weight.detach().clone(), model.preprocess(cohort.train)
    start_linear(model, batch, torch.arange(len(batch))[None])
    assert torch.equal(own.weight, before)
    assert (model.likelihoods["cortical"].log_scale != 0).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_trains_in_plain_pyro(name):
    likelihood, z, c = build(name, d=2), torch.randn(64, K), torch.randn(64, C)
    x, mask = 0.8 * z[:, :2] + 0.3 * torch.randn(64, 2), torch.rand(64, 2) > 0.2
    x = torch.where(mask, x, 0.0)

    def model():
        pyro.module("likelihood", likelihood)
        d = likelihood(z, c)
        with pyro.plate("subjects", 64):
            pyro.sample("x", observed_marginal(d, mask, x)[0], obs=x)

    with pyro.get_param_store().scope():
        svi = SVI(model, lambda: None, Adam({"lr": 0.02}), Trace_ELBO())
        losses = [svi.step() for _ in range(100)]
    assert losses[-1] < losses[0] - 20
    assert all(p.isfinite().all() for p in likelihood.parameters())
