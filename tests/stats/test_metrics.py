"""Metrics by hand, against scipy and scikit-learn, and under a known null."""

import numpy as np
import pytest
from scipy import stats

from pyro_mmnorm.stats import metrics
from tests.stats import oracles


def test_shares_by_hand_with_a_missing_cell():
    z = np.array([[0.1, np.nan], [2.0, 0.0], [-2.6, 3.0], [1.0, 0.5]])
    np.testing.assert_allclose(oracles.tail_share(z, 1.96), [0.5, 1 / 3])
    np.testing.assert_allclose(oracles.coverage(z, 0.95), [0.5, 2 / 3])


def test_moments_agree_with_scipy():
    x = np.random.default_rng(0).gamma(2.0, size=500)
    got = metrics.moments(np.array([(x**i).sum() for i in range(5)]))
    assert got["mean"] == pytest.approx(x.mean())
    assert got["sd"] == pytest.approx(x.std())
    assert got["skew"] == pytest.approx(stats.skew(x))
    assert got["kurtosis"] == pytest.approx(stats.kurtosis(x))


def test_mace_by_hand():
    """Of z = -3, 0, 0, 3 the share below is .25 up to the centre, .75 from there on: levels differ by hand."""
    z = np.array([[-3.0], [0.0], [0.0], [3.0]])
    below = {0.01: 0.25, 0.05: 0.25, 0.1: 0.25, 0.2: 0.25, 0.3: 0.25, 0.4: 0.25, 0.5: 0.75}
    below |= {0.6: 0.75, 0.7: 0.75, 0.8: 0.75, 0.9: 0.75, 0.95: 0.75, 0.99: 0.75}
    assert oracles.mace(z)[0] == pytest.approx(np.mean([abs(level - share) for level, share in below.items()]))


def test_mace_of_calibrated_people_is_its_null_and_that_of_others_is_larger():
    # 400 regions of 100 people: the mean MACE has a standard error under 2 % of itself
    z = np.random.default_rng(0).normal(size=(100, 400))
    assert oracles.mace(z).mean() == pytest.approx(oracles.mace_null(100), rel=0.06)
    assert oracles.mace(1.5 * z).mean() > 1.5 * oracles.mace_null(100)


def test_the_spread_over_regions_is_free_of_sampling_error():
    rng = np.random.default_rng(0)
    bias, sd = 0.3 * rng.normal(size=500), 1 + 0.2 * rng.normal(size=500)
    null = oracles.region_spread(rng.normal(size=(50, 500)))
    true = oracles.region_spread(bias + sd * rng.normal(size=(50, 500)))
    assert null["rms_mean"] < 0.04  # plain RMS: 0.14
    assert null["rms_sd"] < 0.04
    assert true["rms_mean"] == pytest.approx(0.3, rel=0.1)
    assert true["rms_sd"] == pytest.approx(0.2, rel=0.15)


@pytest.mark.parametrize("n", [8, 14, 40])
def test_few_people_do_not_bias_the_spread_over_regions(n):
    """20,000 regions of heavy-tailed z (t with 9 degrees, SD 1): mean squares within .004 of 0, at 4 standard errors.

    With the moments of the sample in place of k-statistics 14 people make an RMS of SD - 1 of .14, 8 of .22.
    """
    z = np.random.default_rng(n).standard_t(9, size=(n, 20_000)) * np.sqrt(7 / 9)
    found = metrics.square_spread(np.stack([z**i for i in range(5)], -1).sum(0))
    assert max(abs(value) for value in found.values()) < 0.004
    assert np.std(z, axis=0).mean() < 1 - 0.5 / n  # which is not 1 on average


def test_the_variance_of_a_variance_is_the_one_of_the_k_statistics():
    z = 0.2 + 1.3 * np.random.default_rng(3).standard_t(6, size=(25, 1))
    k2, k4 = stats.kstat(z.ravel(), 2), stats.kstat(z.ravel(), 4)
    want = ((k2 - 1) ** 2 - (2 * 25 * k2**2 + 24 * k4) / (25 * 26)) / (1 + np.sqrt(k2)) ** 2
    got = metrics.square_spread(np.stack([z**i for i in range(5)], -1).sum(0))
    assert got["rms_sd"] == pytest.approx(want)
    assert got["rms_mean"] == pytest.approx(z.mean() ** 2 - k2 / 25)
    assert stats.kstatvar(z.ravel(), 2) == pytest.approx((2 * 25 * k2**2 + 24 * k4) / (25 * 26))


def test_a_share_of_nobody_is_nan():
    assert np.isnan(oracles.tail_share(np.full((3, 1), np.nan), 1.0)).all()


def test_smse_and_expv_by_hand():
    y = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 7.0]])
    predicted = np.array([[2.0, 5.0], [3.0, 1.0], [4.0, 6.0]])
    np.testing.assert_allclose(oracles.smse(y, predicted), [1 / (2 / 3), 0.5 / 1])
    np.testing.assert_allclose(oracles.expv(y, predicted), [1, 1 - 0.25 / 1])
    assert np.isnan(oracles.smse(np.ones((3, 1)), np.zeros((3, 1)))).all()


def test_expv_is_that_of_scikit_learn_also_beyond_a_baseline():
    score = pytest.importorskip("sklearn.metrics").explained_variance_score
    rng = np.random.default_rng(0)
    baseline, extra, noise = rng.normal(size=(3, 200, 4))
    y = baseline + extra + noise
    predicted = baseline + 0.8 * extra + 3
    np.testing.assert_allclose(oracles.expv(y, predicted), score(y, predicted, multioutput="raw_values"))
    by_hand = score(y - baseline, predicted - baseline, multioutput="raw_values")
    np.testing.assert_allclose(oracles.expv(y, predicted, baseline), by_hand)


def test_msll_of_a_normal_prediction_by_hand():
    # -log N(y; 1, 2^2) + log N(y; 0, 1) at y = 1: log 2 - 1/2 + const - const
    got = oracles.msll(stats.norm.logpdf([[1.0]], 1, 2), [[1.0]], 0.0, 1.0)
    np.testing.assert_allclose(got, [np.log(2) - 0.5])


def test_the_density_of_calibrated_z_has_the_jacobian():
    # y = exp(2 z + 1) is log-normal: dz/dy = 1 / (2 y)
    y = np.array([0.3, 1.0, 9.0])
    z = (np.log(y) - 1) / 2
    truth = stats.lognorm.logpdf(y, 2, scale=np.e)
    np.testing.assert_allclose(metrics.calibrated_log_density(z, 1 / (2 * y)), truth)


def test_crps_of_a_normal_is_the_integral_that_defines_it():
    x = np.linspace(-30, 30, 600_001)
    for y, loc, scale in ((0.3, 0.0, 1.0), (-4.0, 1.0, 2.0)):
        integral = ((stats.norm.cdf(x, loc, scale) - (x >= y)) ** 2).sum() * (x[1] - x[0])
        assert oracles.crps_normal(y, loc, scale) == pytest.approx(integral, abs=1e-4)


def test_crps_of_draws_is_that_of_pyro_and_of_many_quantiles_the_closed_form():
    torch = pytest.importorskip("torch")
    crps_empirical = pytest.importorskip("pyro.ops.stats").crps_empirical
    rng = np.random.default_rng(0)
    draws, y = rng.normal(size=(21, 5, 3)), rng.normal(size=(5, 3))
    got = oracles.crps_ensemble(y, draws)
    np.testing.assert_allclose(got, crps_empirical(torch.from_numpy(draws), torch.from_numpy(y)))
    quantiles = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)[:, None, None]
    np.testing.assert_allclose(metrics.crps_quantiles(y, quantiles), oracles.crps_normal(y, 0, 1), atol=2e-4)


def test_shapiro_by_region_is_scipys():
    z = np.random.default_rng(0).gamma(2.0, size=(50, 2))
    z[:5, 1] = np.nan
    want = [stats.shapiro(z[:, 0])[0], stats.shapiro(z[5:, 1])[0]]
    np.testing.assert_allclose(metrics.shapiro_w(z), want)
    assert np.isnan(metrics.shapiro_w(np.ones((5, 1)))).all()


def test_the_pit_test_keeps_its_level_with_dependent_cells_and_detects_wide_z():
    # 300 cohorts of 100 people whose 20 cells share a factor: .05 +- 3 x .0126; a test over cells rejects most of them
    p, wide = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        z = 0.7 * rng.normal(size=(100, 1)) + np.sqrt(0.51) * rng.normal(size=(100, 20))
        p.append(metrics.pit_test(z, rng, 199)[1])
        wide.append(metrics.pit_test(1.4 * z, rng, 199)[1])
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 3 * 0.0126
    assert np.mean(np.array(wide) <= 0.05) > 0.9


def test_the_levels_are_those_of_the_report():
    assert metrics.COVERAGE_LEVELS == (0.5, 0.8, 0.9, 0.95, 0.99)
    assert metrics.MACE_LEVELS == (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
    np.testing.assert_allclose(2 * stats.norm.sf(metrics.TAILS), [0.05, 0.01, 0.001], rtol=0.02)


def test_the_pooled_sd_is_that_of_all_cells():
    x = np.random.default_rng(0).normal(size=(9, 4))
    x[0, :3], x[4, 1] = np.nan, np.nan
    sums = np.isfinite(x).sum(1), np.nansum(x, 1), np.nansum(x**2, 1)
    assert metrics.pooled_sd(*sums) == pytest.approx(np.nanstd(x, ddof=1))


def test_uniformity_by_hand():
    """F is off by .05 at level .5 alone: D = .05, T = .05 / .5; of four draws two have T_b = .1, two have .09."""
    levels = np.array(metrics.MACE_LEVELS)
    share = np.where(levels == 0.5, 0.55, levels)
    drawn = np.array([[0.1], [-0.1], [0.09], [-0.09]]) * np.sqrt(levels * (1 - levels)) * (levels == 0.5) + 0.3
    distance, p = metrics.uniformity(share, drawn * 1.0000001)
    assert distance == pytest.approx(0.05)
    assert p == pytest.approx(3 / 5)


def test_four_people_are_enough_for_the_spread_and_three_are_not():
    z = np.random.default_rng(0).normal(size=(4, 1))
    for n, known in ((4, True), (3, False)):
        total = np.stack([z[:n] ** i for i in range(5)], -1).sum(0)
        assert np.isfinite(metrics.square_spread(total)["rms_sd"]) == known


def test_shapiro_needs_three_distinct_values():
    w = metrics.shapiro_w(np.array([[1.0, 1.0], [2.0, 2.0], [1.0, 3.0]]))
    assert np.isnan(w).tolist() == [True, False]
