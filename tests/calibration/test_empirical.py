"""The empirical calibrator: its tails follow the documented estimate, with the stated limits."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from pyro_mmnorm.calibration.empirical import EmpiricalCalibrator, Shape


def upper_tail(x, edge):
    """lambda of 1 / nu by maximum likelihood for t tails through the 95th centile, and its sandwich error by person."""
    person, cell = np.nonzero(x > edge)

    def log_density(inverse):
        df = 1 / inverse
        sigma = edge / stats.t.isf(0.05, df)
        return stats.t.logpdf(x[person, cell] / sigma, df) - np.log(sigma)

    best = minimize_scalar(lambda v: -log_density(v).sum(), bounds=(1e-3, 0.49), method="bounded").x
    low, at, high = (log_density(best + step) for step in (-1e-3, 0.0, 1e-3))
    score = np.bincount(person, (high - low) / 2e-3)
    return best, np.sqrt((score**2).sum()) / abs((high - 2 * at + low).sum() / 1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_tail_is_shrunk_by_two_standard_errors(seed):
    """1 / nu = lambda (1 - (2 se / lambda)^2), with lambda and se by scipy.

    The forward differences of the package overstate se by 5 to 10 %, so that the factor appears as 2.1 to 2.2.
    """
    x = np.random.default_rng(seed).standard_t(8, size=(60, 40)) * 0.75**0.5
    shape = Shape.fit(x)
    value, error = upper_tail(x, shape.knots[-1])
    factor = np.sqrt(1 - 1 / shape.df[1] / value) * value / error
    assert factor == pytest.approx(2.15, abs=0.1)


def test_a_tail_has_at_least_two_degrees_of_freedom():
    """t with one degree of freedom is heavier than every tail that is allowed."""
    x = np.random.default_rng(0).standard_t(1, size=(2000, 20))
    np.testing.assert_allclose(Shape.fit(x).df, 2, atol=0.05)


@pytest.mark.parametrize(("count", "sd"), [(2, np.sqrt(2)), (3, np.sqrt(2)), (4, np.sqrt(2)), (10, np.sqrt(10 / 8))])
def test_t_values_of_few_people_are_scaled_by_the_sd_of_four_degrees_of_freedom(count, sd, monkeypatch):
    """A t variable has SD sqrt(nu / (nu - 2)), which is infinite for two degrees of freedom."""
    rng = np.random.default_rng(1)
    fitted = EmpiricalCalibrator.fit(rng.normal(size=(50, 3)), np.zeros((50, 0)), {})
    nothing = np.zeros((1, 0))
    mean, scale, _ = fitted.base.predictive_t(nothing)
    few = (mean, scale, np.full(mean.shape, float(count)))
    monkeypatch.setattr(type(fitted.base), "predictive_t", lambda *_: few)
    np.testing.assert_allclose(fitted(mean + scale * 0.5, nothing), fitted.shape(np.full(mean.shape, 0.5 / sd)))
