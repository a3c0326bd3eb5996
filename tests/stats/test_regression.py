"""Shrunk regression: leave-one-out in closed form, ordinary least squares in the limit, the right strength."""

import numpy as np
import pytest

from pyro_mmnorm.stats.regression import ShrunkRegression


def make(n: int = 80, d: int = 6, missing: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    site = np.eye(5)[rng.integers(0, 5, n)]
    design = np.column_stack([rng.normal(size=(n, 2)), site])
    y = design[:, :1] @ rng.normal(size=(1, d)) + site @ rng.normal(size=(5, d)) * 0.5 + rng.normal(size=(n, d))
    y[rng.random(y.shape) < missing] = np.nan
    return design, y, {"age": slice(0, 2), "site": slice(2, 7)}


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_left_out_is_what_a_fit_without_that_person_predicts(missing):
    design, y, groups = make(missing=missing)
    fit = ShrunkRegression.fit(design, y, groups)
    mean, factor, variance = fit.left_out(design, y)
    for i in (0, 17):
        keep = np.arange(len(y)) != i
        without = fit.refit(design[keep], y[keep])
        expected, leverage = without.predict(design[i : i + 1])
        seen = np.isfinite(y[i])
        np.testing.assert_allclose(mean[i, seen], expected[0, seen], atol=1e-10)
        np.testing.assert_allclose(factor[i, seen], 1 + leverage[0, seen], atol=1e-10)
        np.testing.assert_allclose(variance[i, seen], without.variance[seen], atol=1e-10)


def test_without_noise_in_the_way_it_is_least_squares():
    rng = np.random.default_rng(1)
    c = rng.normal(size=(500, 2))
    y = 1 + c @ np.array([[2.0], [-3.0]]) + 0.01 * rng.normal(size=(500, 1))
    fit = ShrunkRegression.fit(c, y, {"age": slice(0, 2)})
    np.testing.assert_allclose(fit.coef[:, 0], [1, 2, -3], atol=5e-3)  # 10 standard errors of 0.01 / sqrt(500)


def test_a_covariate_that_explains_nothing_is_shrunk_away():
    rng = np.random.default_rng(2)
    noise, signal = rng.normal(size=(200, 10)), rng.normal(size=(200, 1))
    y = signal @ np.ones((1, 30)) + rng.normal(size=(200, 30))
    fit = ShrunkRegression.fit(np.column_stack([noise, signal]), y, {"noise": slice(0, 10), "signal": slice(10, 11)})
    assert np.abs(fit.coef[1:11]).max() < 0.05  # least squares: SD 0.07 each
    assert fit.coef[11].mean() == pytest.approx(1, abs=0.05)


def test_the_strength_is_that_of_the_truth():
    # effects drawn with variance 0.25 of the noise's: 50 regions x 5 sites give tau^2 within a factor 2
    rng = np.random.default_rng(3)
    site = np.eye(5)[rng.integers(0, 5, 300)]
    y = site @ rng.normal(size=(5, 50)) * 0.5 + rng.normal(size=(300, 50))
    fit = ShrunkRegression.fit(site, y, {"site": slice(0, 5)})
    assert 0.12 < np.exp(fit.log_ratio[1]) < 0.5


def test_with_missing_cells_each_region_is_fitted_on_its_own_people():
    design, y, groups = make(missing=0.2)
    fit = ShrunkRegression.fit(design, y, groups)
    seen = np.isfinite(y[:, 2])
    alone = fit.refit(design[seen], y[seen, 2:3])
    np.testing.assert_allclose(fit.coef[:, 2], alone.coef[:, 0], atol=1e-10)


def test_the_penalties_are_tuned_on_the_first_2000_people():
    rng = np.random.default_rng(5)
    c, y = rng.normal(size=(2100, 1)), rng.normal(size=(2100, 2))
    y[2000:] += 50 * c[2000:]
    fit, first = (ShrunkRegression.fit(c[:n], y[:n], {"age": slice(0, 1)}) for n in (2100, 2000))
    np.testing.assert_array_equal(fit.log_ratio, first.log_ratio)
    assert abs(fit.coef[1] - first.coef[1]).min() > 0.5
    assert abs(ShrunkRegression.fit(c[:1900], y[:1900], {"age": slice(0, 1)}).log_ratio - first.log_ratio).max() > 0
