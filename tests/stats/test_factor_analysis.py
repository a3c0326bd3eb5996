"""Factor analysis against known loadings; shrinkage against its formula."""

import numpy as np

from pyro_mmnorm.stats.factor_analysis import FactorAnalysis, shrunk_covariance


def test_an_exact_factor_covariance_is_decomposed():
    rng = np.random.default_rng(0)
    w, noise = rng.normal(size=(2, 12)), rng.uniform(0.5, 1.5, 12)
    fit = FactorAnalysis.of_covariance(w.T @ w + np.diag(noise), 2, iterations=3000, tolerance=1e-10)
    np.testing.assert_allclose(fit.loadings.T @ fit.loadings, w.T @ w, atol=1e-4)
    np.testing.assert_allclose(fit.noise, noise, atol=1e-4)


def test_loadings_are_rotated_to_a_diagonal_posterior():
    x = np.random.default_rng(1).normal(size=(300, 8)) @ np.random.default_rng(2).normal(size=(8, 8))
    fit = FactorAnalysis.of_covariance(np.cov(x.T), 3)
    precision = fit.loadings / fit.noise @ fit.loadings.T
    assert np.abs(precision - np.diag(np.diag(precision))).max() < 1e-10 * precision.max()


def test_more_factors_than_regions_leave_zero_loadings():
    fit = FactorAnalysis.of_covariance(np.eye(3) + 1, 5)
    assert fit.loadings.shape == (5, 3)
    assert not fit.loadings[2:].any()


def test_shrinkage_vanishes_with_people_and_is_strong_without_signal():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 20))
    off = ~np.eye(20, dtype=bool)
    raw = np.cov(noise.T, bias=True)
    assert np.abs(shrunk_covariance(noise)[off]).mean() < 0.35 * np.abs(raw[off]).mean()
    shared = rng.normal(size=(20_000, 1)) + 0.5 * rng.normal(size=(20_000, 20))
    np.testing.assert_allclose(shrunk_covariance(shared), np.cov(shared.T, bias=True), rtol=1e-3)


def test_missing_cells_are_left_out_pairwise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 1)) + rng.normal(size=(5000, 4))
    holed = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    np.testing.assert_allclose(shrunk_covariance(holed), np.cov(x.T), atol=0.1)
