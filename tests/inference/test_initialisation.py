"""The linear start: the posterior of factor analysis, exactly."""

import numpy as np
import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.inference.initialisation import _start_encoder, initialisations, start_linear
from pyro_mmnorm.stats.factor_analysis import FactorAnalysis, shrunk_covariance
from pyro_mmnorm.stats.regression import ShrunkRegression


def test_the_started_posterior_is_that_of_the_factor_model(cohort):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,))
    batch = model.preprocess(cohort.train)
    start_linear(model, batch, torch.arange(len(batch))[None])
    q = model.posterior(batch)
    c, x = batch.covariates.double().numpy(), torch.cat(list(batch.values.values()), -1).double().numpy()
    residual = x - ShrunkRegression.fit(c, x, model.preprocess.groups).predict(c)[0]
    fa = FactorAnalysis.of_covariance(shrunk_covariance(residual), 3)
    precision = np.eye(3) + fa.loadings / fa.noise @ fa.loadings.T
    np.testing.assert_allclose(q.scale.square().detach(), np.tile(1 / np.diag(precision), (len(batch), 1)), rtol=1e-4)
    want = residual / fa.noise @ fa.loadings.T @ np.linalg.inv(precision)
    np.testing.assert_allclose(q.loc.detach(), want, atol=1e-4)  # float32; off-diagonals of the precision are 0


def test_each_member_is_initialised_from_its_own_rows(cohort):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(4,), members=2)
    batch = model.preprocess(cohort.train)
    rows = torch.stack([torch.arange(60), torch.arange(60, 120)])
    start_linear(model, batch, rows)
    alone = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(4,))
    start_linear(alone, batch, rows[1:])
    member = {name: x[1] for name, x in model.state_dict().items() if "skip" in name or "log_scale" in name}
    for name, x in member.items():
        torch.testing.assert_close(x, alone.state_dict()[name])


def started(cohort, **parts):
    model = mm.MMVAE.for_cohort(cohort, **{"latent_dim": 3, "hidden": (), **parts})
    batch = model.preprocess(cohort.train)
    start_linear(model, batch, torch.arange(len(batch))[None])
    return model, batch


def test_experts_of_gpoe_start_with_the_posterior_of_poe():
    cohort = mm.simulate(healthy=200, patients=4, seed=1).to_cohort()  # more than two modalities
    (poe, batch), (gpoe, _) = (started(cohort, fusion=name) for name in ("poe", "gpoe"))
    assert len(poe.encoders) > 2
    want, got = poe.posterior(batch), gpoe.posterior(batch)
    torch.testing.assert_close(got.mean, want.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.variance, want.variance, rtol=1e-4, atol=1e-6)


def test_experts_of_moe_start_as_posteriors_given_their_modality(cohort):
    (poe, batch), (moe, _) = (started(cohort, fusion=name) for name in ("poe", "moe"))
    (loc, scale, _), (own_loc, own_scale, _) = (model.experts(batch) for model in (poe, moe))
    precision = scale.pow(-2)
    torch.testing.assert_close(own_scale.pow(-2), 1 + precision, rtol=1e-4, atol=0)
    torch.testing.assert_close(own_loc, loc * precision / (1 + precision), rtol=1e-4, atol=1e-5)


def test_private_latents_start_at_the_factors_of_the_residuals_of_the_shared_ones(cohort):
    model, batch = started(cohort, latent_dim=2, private_dim=1)
    c, x = batch.covariates.double().numpy(), torch.cat(list(batch.values.values()), -1).double().numpy()
    covariance = shrunk_covariance(x - ShrunkRegression.fit(c, x, model.preprocess.groups).predict(c)[0])
    shared = FactorAnalysis.of_covariance(covariance, 2).loadings[:, :12]
    private = FactorAnalysis.of_covariance(covariance[:12, :12] - shared.T @ shared, 1)
    weight = model.likelihoods["cortical"].net.skip.weight.detach().numpy()
    np.testing.assert_allclose(weight[:2], shared, atol=1e-6)
    np.testing.assert_allclose(weight[2:3], private.loadings, atol=1e-6)
    np.testing.assert_allclose(
        model.likelihoods["cortical"].log_scale.exp().square()[0].detach(), private.noise, rtol=1e-5
    )


def test_an_expert_without_loadings_has_a_precision_of_a_thousandth(cohort):
    model, batch = started(cohort)
    _start_encoder(model, model.encoders["cortical"], np.zeros((3, 12)), np.ones(12), np.zeros((8, 12)), 0)
    loc, scale = model.encoders["cortical"](batch.values["cortical"], batch.covariates)
    torch.testing.assert_close(scale, torch.full_like(scale, 1000**0.5))
    assert not loc.any()


@pytest.mark.parametrize(("people", "used"), [(19_999, 19_999), (20_000, 10_000), (40_001, 13_334)])
def test_of_many_people_every_second_or_third_is_used(cohort, monkeypatch, people, used):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=())
    batch, rows = model.preprocess(cohort.train), []

    def fit(design, *_):
        rows.append(len(design))
        raise StopIteration

    monkeypatch.setattr("pyro_mmnorm.inference.initialisation.ShrunkRegression.fit", fit)
    with pytest.raises(StopIteration):
        start_linear(model, batch, torch.zeros(1, people, dtype=torch.long))
    assert rows == [used]


@pytest.mark.parametrize(
    ("parts", "validation", "want"),
    [
        ({}, True, ("linear", "nonlinear")),
        ({}, False, ("linear",)),
        ({"hidden": ()}, True, ("linear",)),
        ({"skip": False}, True, ("random",)),
    ],
)
def test_the_best_start_is_sought_among_those_that_the_networks_allow(cohort, parts, validation, want):
    model = mm.MMVAE.for_cohort(cohort, **{"latent_dim": 2, "hidden": (4,), **parts})
    assert initialisations(model, "best", validation=validation) == want
    assert initialisations(model, "random", validation=validation) == ("random",)
