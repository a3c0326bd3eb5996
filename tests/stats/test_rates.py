"""Shares and likelihood ratios with exact intervals, against scipy and statsmodels."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.rates import exact_interval, likelihood_ratio, log_likelihood_ratio, pooled_share, share

NAN = np.nan


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_share_has_the_exact_interval_of_scipy():
    for count, n in ((0, 9), (4, 9), (9, 9)):
        one, expected = share([*([1.0] * count), *([0.0] * (n - count)), NAN]), stats.binomtest(count, n)
        ends = expected.proportion_ci(0.95, method="exact")
        assert (one.value, one.low, one.high, one.n) == pytest.approx((count / n, *ends, n))


def test_a_likelihood_ratio_by_hand():
    """8 of 20 cases against 2 of 40 controls: .4 / .05; limits of both shares at level sqrt(.95), Fisher's p."""
    controls, cases = np.arange(40) < 2, np.arange(20) < 8
    one = likelihood_ratio(controls, cases)
    (a, b), (c, d) = (stats.binomtest(k, n).proportion_ci(0.95**0.5, method="exact") for k, n in ((2, 40), (8, 20)))
    assert (one.value, one.low, one.high) == pytest.approx((8.0, c / b, d / a))
    assert one.p == pytest.approx(stats.fisher_exact([[8, 12], [2, 38]]).pvalue)
    with pytest.raises(InputError, match=r"none of 40 controls is flagged, so the ratio is .* or more"):
        likelihood_ratio(np.zeros(40), cases)
    with pytest.raises(InputError, match="cases: nobody observed"):
        likelihood_ratio(controls, [NAN])


def test_the_exact_interval_of_a_ratio_covers_at_its_level():
    """81 controls at .05 and 106 cases at .1: coverage of at least .95 by construction; less than .93 in 1 of 500."""
    draws = rng(3)
    held = []
    for few, many in zip(draws.binomial(81, 0.05, 300), draws.binomial(106, 0.1, 300), strict=True):
        if few:
            one = likelihood_ratio(np.arange(81) < few, np.arange(106) < many)
            held.append(one.low <= 2.0 <= one.high)
    assert np.mean(held) > 0.93


def test_exact_shares_are_those_of_statsmodels():
    flags = np.arange(50) < 7
    one = share(flags)
    assert (one.low, one.high) == pytest.approx(proportion_confint(7, 50, method="beta"))


def test_exact_limits_of_many_shares_are_those_of_scipy():
    count, n = np.array([0, 1, 7, 7, 0]), np.array([5, 9, 20, 7, 0])
    for level in (0.95, 0.95**0.5):
        low, high = exact_interval(count, n, level)
        for i in range(4):
            ends = stats.binomtest(count[i], n[i]).proportion_ci(level, method="exact")
            assert (low[i], high[i]) == pytest.approx(tuple(ends), rel=1e-12)
        assert np.isnan([low[4], high[4]]).all()


def test_a_share_counts_positive_flags():
    assert share([1, 0, 0, NAN]).value == pytest.approx(1 / 3)


def test_a_pooled_share_is_that_of_all_cells():
    yes, seen = np.array([[1.0, 0, 2], [0, 0, 0]]), np.array([[4.0, 2, 2], [0, 0, 0]])
    np.testing.assert_array_equal(pooled_share(yes, seen), [3 / 8, NAN])


def test_a_log_likelihood_ratio_by_hand():
    """3 of 4 cases and 1 of 5 controls: (3.5 / 5) / (1.5 / 6) with half a person added; without flags 6 / 5."""
    case = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    flags = np.array([[1, 1, 1, 0, 1, 0, 0, 0, 0], [0] * 9])
    np.testing.assert_allclose(log_likelihood_ratio(flags, case), np.log([3.5 / 5 / (1.5 / 6), 6 / 5]))
