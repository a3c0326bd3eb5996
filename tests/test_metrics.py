"""Metrics by hand, and under a known null."""

import numpy as np
import pytest
from scipy import stats

from pyro_mmnorm import metrics


def test_shares_by_hand_with_a_missing_cell():
    z = np.array([[0.1, np.nan], [2.0, 0.0], [-2.6, 3.0], [1.0, 0.5]])
    np.testing.assert_allclose(metrics.tail_share(z, 1.96), [0.5, 1 / 3])
    np.testing.assert_allclose(metrics.coverage(z, 0.95), [0.5, 2 / 3])


def test_moments_agree_with_scipy():
    x = np.random.default_rng(0).gamma(2.0, size=500)
    got = metrics.moments(np.array([(x**i).sum() for i in range(5)]))
    assert got["mean"] == pytest.approx(x.mean())
    assert got["sd"] == pytest.approx(x.std())
    assert got["skew"] == pytest.approx(stats.skew(x))
    assert got["kurtosis"] == pytest.approx(stats.kurtosis(x))


def test_mace_of_calibrated_people_is_its_null_and_that_of_others_is_larger():
    # 400 regions of 100 people: the mean MACE has a standard error under 2 % of itself
    z = np.random.default_rng(0).normal(size=(100, 400))
    assert metrics.mace(z).mean() == pytest.approx(metrics.mace_null(100), rel=0.06)
    assert metrics.mace(1.5 * z).mean() > 1.5 * metrics.mace_null(100)


def test_the_spread_over_regions_is_free_of_sampling_error():
    rng = np.random.default_rng(0)
    bias, sd = 0.3 * rng.normal(size=500), 1 + 0.2 * rng.normal(size=500)
    null = metrics.region_spread(rng.normal(size=(50, 500)))
    true = metrics.region_spread(bias + sd * rng.normal(size=(50, 500)))
    assert null["rms_mean"] < 0.04  # plain RMS: 0.14
    assert null["rms_sd"] < 0.04
    assert true["rms_mean"] == pytest.approx(0.3, rel=0.1)
    assert true["rms_sd"] == pytest.approx(0.2, rel=0.15)


def test_nobody_observed_is_nan_not_a_number():
    assert np.isnan(metrics.tail_share(np.full((3, 1), np.nan), 1.0)).all()
