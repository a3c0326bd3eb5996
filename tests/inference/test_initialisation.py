"""The linear start: the posterior of factor analysis, exactly."""

import numpy as np
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.inference.initialisation import start_linear
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


def test_each_member_starts_from_its_own_rows(cohort):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(4,), members=2)
    batch = model.preprocess(cohort.train)
    rows = torch.stack([torch.arange(60), torch.arange(60, 120)])
    start_linear(model, batch, rows)
    alone = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(4,))
    start_linear(alone, batch, rows[1:])
    member = {name: x[1] for name, x in model.state_dict().items() if "skip" in name or "log_scale" in name}
    for name, x in member.items():
        torch.testing.assert_close(x, alone.state_dict()[name])
