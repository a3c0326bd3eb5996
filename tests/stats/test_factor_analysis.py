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


def test_the_shrinkage_is_that_of_the_formula():
    """lambda = sum (1 - r^2)^2 / n over sum r^2, over all pairs."""
    x = np.random.default_rng(3).normal(size=(40, 4)) + 0.7 * np.random.default_rng(4).normal(size=(40, 1))
    s, off = np.cov(x.T, bias=True), ~np.eye(4, dtype=bool)
    r = np.corrcoef(x.T)[off]
    keep = 1 - ((1 - r**2) ** 2 / 40).sum() / (r**2).sum()
    assert 0 < keep < 1
    np.testing.assert_allclose(shrunk_covariance(x)[off], keep * s[off], rtol=1e-10)
    np.testing.assert_allclose(np.diag(shrunk_covariance(x)), np.diag(s))


def test_the_noise_is_at_least_half_a_percent_of_the_variance():
    """Correlations of .9, .9 and .5 ask for a communality of 1.62 of the first column: a Heywood case."""
    r = np.array([[4.0, 1.8, 1.8], [1.8, 1.0, 0.5], [1.8, 0.5, 1.0]])
    fit = FactorAnalysis.of_covariance(r, 1, iterations=3000, tolerance=1e-9)
    assert fit.noise[0] == 4.0 * 5e-3
