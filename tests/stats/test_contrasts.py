"""Contrasts of groups against scipy, coverage of intervals, and shares with exact intervals."""

import numpy as np
import pytest
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.contrasts import column_moments, group_contrast, share_significant
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg

NAN = np.nan
EXACT = {"rtol": 1e-10, "atol": 1e-12}  # the same formula in another order of operations


def rng(seed=0):
    return np.random.default_rng(seed)


def with_gaps(x, share=0.1, seed=9):
    return np.where(rng(seed).random(x.shape) < share, NAN, x)


def test_moments_are_those_of_the_observed():
    x = with_gaps(rng().normal(3, 2, size=(20, 6)), 0.3)
    n, mean, sd = column_moments(x)
    np.testing.assert_array_equal(n, np.isfinite(x).sum(0))
    np.testing.assert_allclose(mean, np.nanmean(x, 0), **EXACT)
    np.testing.assert_allclose(sd, np.nanstd(x, 0, ddof=1), **EXACT)


def test_group_contrast_is_scipys_in_every_column():
    x, y = with_gaps(rng().normal(0.4, 1.5, size=(25, 7))), with_gaps(rng(1).normal(size=(60, 7)).round(1))
    one = group_contrast(x, y)
    for j in range(7):
        a, b = x[np.isfinite(x[:, j]), j], y[np.isfinite(y[:, j]), j]
        welch = stats.ttest_ind(a, b, equal_var=False)
        interval = welch.confidence_interval(0.95)
        got = [one.welch_t[j], one.welch_p[j], one.difference_low[j], one.difference_high[j], one.mannwhitney_p[j]]
        rank = stats.mannwhitneyu(a, b, method="asymptotic")
        np.testing.assert_allclose(got, [welch.statistic, welch.pvalue, *interval, rank.pvalue], rtol=1e-8)
        assert (one.n[j], one.n_controls[j]) == (len(a), len(b))
    np.testing.assert_array_equal(one.welch_q, benjamini_hochberg(one.welch_p))
    np.testing.assert_array_equal(one.mannwhitney_q, benjamini_hochberg(one.mannwhitney_p))


def test_hedges_g_by_hand():
    """Means 2 and 4, variances 1 and 4: d = -2 / sqrt(2.5), J(4) = Gamma(2) / (sqrt(2) Gamma(1.5)) = sqrt(2 / pi)."""
    one = group_contrast([[1.0], [2.0], [3.0]], [[2.0], [4.0], [6.0]])
    assert one.hedges_g[0] == pytest.approx(-2 / np.sqrt(2.5) * np.sqrt(2 / np.pi), rel=1e-12)


def test_contrasts_do_not_depend_on_units_and_change_sign_with_the_groups():
    x, y = rng().normal(1, 2, size=(9, 4)), rng(1).normal(size=(15, 4))
    one, scaled, turned = group_contrast(x, y), group_contrast(5 - 3 * x, 5 - 3 * y), group_contrast(y, x)
    for name in ("hedges_g", "welch_t"):
        np.testing.assert_allclose(getattr(scaled, name), -getattr(one, name), rtol=1e-9)
        np.testing.assert_allclose(getattr(turned, name), -getattr(one, name), rtol=1e-9)
    np.testing.assert_allclose(turned.hedges_g_low, -one.hedges_g_high, rtol=1e-9)
    np.testing.assert_allclose(scaled.mannwhitney_p, one.mannwhitney_p, rtol=1e-9)


@pytest.mark.parametrize(("n", "m", "sd", "shift"), [(10, 50, 2.0, 1.0), (40, 40, 1.0, 3.0)])
def test_the_interval_of_g_covers_it(n, m, sd, shift):
    """1,000 columns: coverage outside .925 to .98 in fewer than 1 of 1,000 runs.

    The noncentral t interval, which takes the variances for equal, covers .80 in the first case; without the variance
    of the SD it covers .83 in the second, with twice that .985.
    """
    x, y = shift + sd * rng(4).normal(size=(n, 1000)), rng(5).normal(size=(m, 1000))
    true = shift / np.sqrt(((n - 1) * sd**2 + m - 1) / (n + m - 2))
    one = group_contrast(x, y)
    assert 0.925 < np.mean((one.hedges_g_low < true) & (true < one.hedges_g_high)) < 0.98


def test_group_tests_keep_their_level():
    """2,000 null columns, 8 against 30 people: a share of .05 lies outside .035 to .065 in 1 of 500 runs."""
    one = group_contrast(rng(6).normal(size=(8, 2000)), rng(7).normal(size=(30, 2000)))
    assert 0.035 < np.mean(one.welch_p < 0.05) < 0.065
    assert 0.035 < np.mean(one.mannwhitney_p < 0.05) < 0.065
    assert np.mean(one.welch_q < 0.05) < 0.005


def test_columns_without_enough_people_or_variation_are_nan():
    x = np.array([[1.0, 1.0, 0.1], [2.0, 2.0, 0.1], [NAN, 3.0, 0.1]])
    y = np.array([[1.0, NAN, 0.1], [2.0, NAN, 0.1], [4.0, NAN, 0.1]])
    one = group_contrast(x, y)
    for name in ("difference", "difference_low", "hedges_g", "hedges_g_high", "welch_t", "welch_p", "welch_q"):
        assert np.isnan(getattr(one, name)).all(), name
    assert np.isnan(one.mannwhitney_p).all()
    assert one.n.tolist() == [2, 3, 3]
    assert column_moments(np.full((4, 1), 0.1))[2].tolist() == [0.0]  # not 1e-17, the rounding of the mean


def test_invalid_input_is_refused():
    with pytest.raises(InputError, match="group: 2 columns, and 3 of the controls; expected the same regions"):
        group_contrast(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="controls: infinite numbers"):
        group_contrast(np.zeros((4, 1)), np.full((4, 1), -np.inf))


@pytest.mark.parametrize(("count", "n"), [(0, 7), (1, 1), (3, 20), (20, 20)])
def test_shares_have_the_exact_interval(count, n):
    p = np.array([0.01] * count + [0.05] * (n - count) + [NAN])[:, None]  # p = 0.05 is not below it
    one = share_significant(p)
    expected = stats.binomtest(count, n).proportion_ci(method="exact")
    np.testing.assert_allclose([one.value[0], one.low[0], one.high[0]], [count / n, *expected], **EXACT)
    assert (one.count[0], one.n[0]) == (count, n)


def test_a_share_of_nobody_is_nan():
    one = share_significant([[NAN], [NAN]])
    assert np.isnan([one.value[0], one.low[0], one.high[0]]).all()
    with pytest.raises(InputError, match="p-values: values from"):
        share_significant([[2.0]])


def test_three_people_are_enough_for_a_number_and_two_are_not():
    n, mean, sd = column_moments([[1.0, 1.0], [2.0, 2.0], [6.0, NAN]])
    np.testing.assert_array_equal(n, [3, 2])
    np.testing.assert_allclose([mean, sd], [[3.0, NAN], [np.sqrt(7.0), NAN]])


def test_the_interval_of_g_by_hand():
    """n = m = 3, variances 1 and 4: pooled 2.5, Welch's degrees of freedom (5/3)^2 / (1/18 + 16/18)."""
    one = group_contrast([[1.0], [2.0], [3.0]], [[2.0], [4.0], [6.0]])
    g, df = one.hedges_g[0], (5 / 3) ** 2 / (1 / 18 + 16 / 18)
    variance = (5 / 3) / 2.5 + g**2 / 2 * (2 * 1 + 2 * 16) / (4 * 2.5) ** 2
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    assert (one.hedges_g_low[0], one.hedges_g_high[0]) == pytest.approx((g - half, g + half))
