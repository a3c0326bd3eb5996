"""How to add user-defined parts: this file is written to be read."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import nn

import pyro_mmnorm as mm
from pyro_mmnorm.calibration.calibrators import CALIBRATORS, LOADERS
from pyro_mmnorm.calibration.conformal import Conformal, two_sided
from pyro_mmnorm.config import DeviationConfig
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.distributions.latent import DiagonalNormal
from pyro_mmnorm.distributions.tails import log_cdf, log_sf
from pyro_mmnorm.models.likelihoods import LocationScale
from pyro_mmnorm.norm.calibration_report import calibration_report

QUICK = mm.TrainConfig(epochs=4)


def deviations(cohort, **parts):
    """Train a model of these parts and score the patients, as any user would."""
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), **parts)
    mm.fit(model, cohort.train, QUICK, progress=False)
    norm = mm.NormativeModel(model, draws=32, normative_draws=256)
    return norm.calibrate(cohort.calibrate, ("reconstruction", "cross_modal")), norm.deviations(cohort.target)


# A fusion rule takes the experts' locations and scales, [..., M, k], and which are present, [..., M].


def mean_of_experts(loc, scale, present):
    """The average of the experts that are present; the prior without experts."""
    here = present.unsqueeze(-1)
    n = here.sum(-2)
    centre = torch.where(here, loc, 0.0).sum(-2) / n.clamp(min=1)
    spread = torch.where(here, scale, 0.0).sum(-2) / n.clamp(min=1)
    return DiagonalNormal(centre, torch.where(n > 0, spread, 1.0))


def test_a_fusion_rule_is_a_function(cohort):
    _, dev = deviations(cohort, fusion=mean_of_experts)
    assert np.isfinite(dev["z"]).all()


# A likelihood takes latents and covariates, and returns a distribution of every region. As a class it is built with
# its network, its number of regions and members; register its tails, and z is exact far in the tails.


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


# It may also be any callable, used as it is. Without registered tails of its distribution, z is computed from
# replicates, whose number limits abs(z).


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


# A prior takes covariates and returns a distribution over the latents. A KL without closed form is estimated by draws.


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


def test_unknown_options_of_a_part_are_refused(cohort):
    with pytest.raises(
        InputError, match=r"model.prior: 'component'; expected one of components, seed. Did you mean 'components'"
    ):
        mm.MMVAE.for_cohort(cohort, prior={"name": "mixture", "component": 3})
    with pytest.raises(InputError, match=r"model.likelihood: 'gauss'; expected one of"):
        mm.MMVAE.for_cohort(cohort, likelihood="gauss")
    with pytest.raises(InputError, match=r"model.likelihood: \['pet'\]; expected some of"):
        mm.MMVAE.for_cohort(cohort, likelihood={"pet": "normal"})


# A calibrator is fitted to raw z of held-out controls, [n, d] with NaN where not observed, and their covariates. It
# maps raw to calibrated z, both ways; `two_sided` makes the conformal p of it. See calibration.Calibrator for the rest.


@dataclass(frozen=True, kw_only=True)
class Robust:
    """z = (raw - median) / MAD, for all covariates."""

    name: ClassVar[str] = "robust"
    centre: np.ndarray
    spread: np.ndarray
    conformal: Conformal
    omnibus: Conformal

    @classmethod
    def fit(cls, raw, design, groups):
        centre, spread = np.nanmedian(raw, 0), stats.median_abs_deviation(raw, 0, scale="normal", nan_policy="omit")
        return cls(centre=centre, spread=spread, **two_sided((raw - centre) / spread))

    def refit(self, raw, design):
        return type(self).fit(raw, design, {})

    def __call__(self, raw, design):
        return (raw - self.centre) / self.spread

    def inverse_transform(self, z, design):
        return self.centre + z * self.spread + np.zeros((len(design), 1))

    def to_arrays(self):
        kept = {"centre": self.centre, "spread": self.spread}
        return kept | {"conformal": self.conformal.scores, "omnibus": self.omnibus.scores}

    @classmethod
    def from_arrays(cls, arrays, groups):
        own = {name: Conformal.fit(arrays[name]) for name in ("conformal", "omnibus")}
        return cls(centre=arrays["centre"], spread=arrays["spread"], **own)


def test_a_calibrator_is_a_callable(norm, cohort, tmp_path, monkeypatch):
    mine = mm.NormativeModel(norm.model, draws=32, calibrator=Robust.fit).calibrate(cohort.calibrate)
    dev = mine.deviations(cohort.test)
    raw = mine.raw(cohort.calibrate)["z_raw"].to_numpy()
    want = (dev["z_raw"] - np.median(raw, 0)) / stats.median_abs_deviation(raw, 0, scale="normal")
    np.testing.assert_allclose(dev["z"], want)
    assert calibration_report(mine, cohort)["reconstruction"]["calibrator"]["name"] == "robust"
    # to load it, register how it is built from its arrays, and pass the callable: code is never saved
    mine.save(tmp_path / "model")
    monkeypatch.setitem(LOADERS, "robust", Robust.from_arrays)
    again = mm.load(tmp_path / "model", calibrator=Robust.fit)
    assert again.deviations(cohort.test).identical(dev)


# With a name it can be used in a configuration, `deviations: {calibrator: robust}`, and loads without an argument.


def test_a_calibrator_with_a_name_works_in_a_configuration(norm, cohort, tmp_path, monkeypatch):
    monkeypatch.setitem(CALIBRATORS, "robust", Robust.fit)
    monkeypatch.setitem(LOADERS, "robust", Robust.from_arrays)
    settings = DeviationConfig(calibrator="robust").model_dump(exclude={"kinds", "primary"})
    mine = mm.NormativeModel(norm.model, **settings | {"draws": 32}).calibrate(cohort.calibrate)
    mine.save(tmp_path / "model")
    assert mm.load(tmp_path / "model").calibrators["reconstruction"].name == "robust"
    with pytest.raises(InputError, match=r"deviations.calibrator: 'robus'; expected one of .*'robust'"):
        mm.NormativeModel(norm.model, calibrator="robus")
