"""How to bring parts of your own: this file is meant to be read."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_mmnorm as mm
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.latents import DiagonalNormal
from pyro_mmnorm.likelihoods import LocationScale
from pyro_mmnorm.tails import log_cdf, log_sf

QUICK = mm.TrainConfig(epochs=4)


def deviations(cohort, **parts):
    """Train a model of these parts and score the patients, as any user would."""
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), **parts)
    mm.fit(model, cohort.train, QUICK, progress=False)
    norm = mm.NormativeModel(model, draws=32, normative_draws=256)
    return norm.calibrate(cohort.calibrate, ("reconstruction", "cross_modal")), norm.deviations(cohort.target)


# A fusion rule takes the experts' locations and scales, [..., M, k], and which are present, [..., M].


def mean_of_experts(loc, scale, present):
    """The average of the experts that are present; the prior where nobody is."""
    here = present.unsqueeze(-1)
    n = here.sum(-2)
    centre = torch.where(here, loc, 0.0).sum(-2) / n.clamp(min=1)
    spread = torch.where(here, scale, 0.0).sum(-2) / n.clamp(min=1)
    return DiagonalNormal(centre, torch.where(n > 0, spread, 1.0))


def test_a_fusion_rule_is_a_function(cohort):
    _, dev = deviations(cohort, fusion=mean_of_experts)
    assert np.isfinite(dev["z"]).all()


# A likelihood takes latents and covariates, and returns a distribution of every region. As a class it is built with
# its network, its number of regions and members; register its tails, and z is exact however far out.


class Logistic(LocationScale):
    """Tails between those of the normal and of Laplace."""

    def forward(self, z, c):
        return LogisticRegions(self.decode(z, c), self.log_scale.exp())


class LogisticRegions(dist.TorchDistribution):
    arg_constraints = {}  # noqa: RUF012
    support = dist.constraints.real
    has_rsample = True

    def __init__(self, loc, scale):
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=False)

    def log_prob(self, x):
        u = (x - self.loc) / self.scale
        return -u - 2 * nn.functional.softplus(-u) - self.scale.log()

    def rsample(self, sample_shape=()):
        u = torch.rand(*sample_shape, *self.batch_shape).clamp(1e-6, 1 - 1e-6)
        return self.loc + self.scale * u.logit()

    def expand(self, batch_shape, _instance=None):
        return LogisticRegions(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    mean = property(lambda self: self.loc)
    variance = property(lambda self: (np.pi * self.scale).square() / 3)


@log_cdf.register
def _(d: LogisticRegions, x):
    return nn.functional.logsigmoid((x.double() - d.loc.double()) / d.scale.double())


@log_sf.register
def _(d: LogisticRegions, x):
    return nn.functional.logsigmoid(-(x.double() - d.loc.double()) / d.scale.double())


def test_a_likelihood_is_a_class_and_a_modality_may_have_its_own(cohort, tmp_path):
    likelihood = {"cortical": Logistic, "hippocampal": {"name": "mvn_lowrank", "rank": 2}}
    norm, dev = deviations(cohort, likelihood=likelihood)
    assert np.isfinite(dev["z"]).all()
    norm.save(tmp_path / "model")
    with pytest.raises(InputError, match=r"a likelihood of your own.*load\(folder, likelihood=...\)"):
        mm.load(tmp_path / "model")  # code is never saved
    again = mm.load(tmp_path / "model", likelihood=likelihood)
    assert again.deviations(cohort.target).identical(dev)


# It may also be any callable, used as it is. Where nobody knows the tails of its distribution, replicates stand in,
# and z cannot lie farther out than their number allows.


class Untailed(dist.Normal):
    cdf = dist.TorchDistribution.cdf


class Plain(nn.Module):
    def __init__(self, regions):
        super().__init__()
        self.net = nn.Linear(3 + 7, regions)  # three latents, and the columns of age, sex and site

    def forward(self, z, c):
        return Untailed(self.net(torch.cat([z, c.expand(*z.shape[:-1], -1)], -1)), 1.0)


def test_a_likelihood_may_be_any_callable(cohort):
    width = mm.MMVAE.for_cohort(cohort).preprocess.width
    assert width == 7
    _, dev = deviations(cohort, likelihood={"cortical": Plain(12), "hippocampal": "student_t"})
    assert np.isfinite(dev["z"]).all()


# A prior takes covariates and returns a distribution over the latents. Without a closed-form KL it goes through draws.


class TwoBlobs(nn.Module):
    def __init__(self, latent_dim, width, members):
        super().__init__()
        self.loc = nn.Parameter(torch.stack([torch.ones(latent_dim), -torch.ones(latent_dim)]))

    def forward(self, c):
        blobs = dist.Normal(self.loc, 1.0).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), blobs)


def test_a_prior_is_a_class_or_a_callable(cohort):
    for prior in (TwoBlobs, TwoBlobs(3, 0, 1), lambda c: dist.Normal(torch.zeros(3), 2.0).to_event(1)):
        _, dev = deviations(cohort, prior=prior)
        assert np.isfinite(dev["z"]).all()


def test_options_that_a_part_does_not_know_are_refused(cohort):
    with pytest.raises(InputError, match=r"model.prior: \{'component': 3\}; expected options that it knows"):
        mm.MMVAE.for_cohort(cohort, prior={"name": "mixture", "component": 3})
    with pytest.raises(InputError, match=r"model.likelihood: 'gauss'; expected one of"):
        mm.MMVAE.for_cohort(cohort, likelihood="gauss")
    with pytest.raises(InputError, match=r"model.likelihood: \['pet'\]; expected some of"):
        mm.MMVAE.for_cohort(cohort, likelihood={"pet": "normal"})
