"""Estimates and their intervals: closed forms, and coverage with and without the error of the calibration."""

import numpy as np
import pytest
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.intervals import (
    FEWEST,
    MEAN_ABS_Z,
    NORMAL_95,
    Estimate,
    difference,
    mean,
    mean_interval,
    normal_interval,
    observed,
)

NAN = np.nan
EXACT = {"rtol": 1e-10, "atol": 1e-12}  # the same formula in another order of operations


def rng(seed=0):
    return np.random.default_rng(seed)


def test_calibrated_mean_abs_z():
    assert pytest.approx(stats.halfnorm.mean(), rel=1e-12) == MEAN_ABS_Z


def test_an_estimate_as_a_dict_has_only_fields_with_a_value():
    one = Estimate(value=1.0, low=0.5, high=1.5, n=9, test="t", p=0.0, sizes=(4, 5))
    assert one.to_dict() == {"value": 1.0, "low": 0.5, "high": 1.5, "n": 9, "test": "t", "p": 0.0, "sizes": (4, 5)}


def test_mean_interval_is_the_t_interval():
    x = rng().normal(size=12)
    one = mean_interval([*x, NAN])
    expected = stats.t.interval(0.95, 11, loc=x.mean(), scale=stats.sem(x))
    np.testing.assert_allclose([one.low, one.high], expected, **EXACT)
    assert one.n == 12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0, 2.0, NAN]), "mean: 2 people; expected at least 3"),
        (lambda: mean_interval([[1.0]]), r"mean: an array of shape \(1, 1\); expected one with 1 axes"),
        (
            lambda: observed([np.inf], "score"),
            "score: infinite numbers; expected finite",
        ),
        (lambda: difference(*(Estimate(value=1, low=0, high=2, n=3, test=""),) * 2), "standard errors None, None"),
        (
            lambda: difference(*(Estimate(value=1, low=0, high=2, n=3, test="", se=0.0),) * 2),
            "errors 0.0, 0.0",
        ),
    ],
)
def test_invalid_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_calibration_adds_its_variance_to_an_interval():
    one = Estimate(value=0.5, low=0.4, high=0.7, n=9, test="t", se=0.06)
    again = rng().normal(0.6, 0.05, 40)
    wide = one.widened([*again, NAN], (0.2, 0.65))
    extra = stats.norm.ppf(0.975) * again.std(ddof=1)
    assert wide.low == pytest.approx(0.5 - np.hypot(0.1, extra))
    assert wide.high == 0.7  # never narrower than before, also beyond the limits
    assert one.widened(again, (0.45, 1.0)).low == 0.4
    assert one.widened(again, (0.39, 1.0)).low == 0.39
    assert wide.se == pytest.approx(np.hypot(0.06, again.std(ddof=1)))
    assert wide.value == one.value
    assert "40 calibrators" in wide.test
    assert one.widened([0.3, 0.3]) is one


def test_intervals_with_the_error_of_the_calibration_cover_and_others_do_not():
    """Mean |z| of 300 people in 6 regions, calibrated on 50: of 200 runs .95 with refits; 3 SE is .046."""
    draws, held, narrow = rng(4), 0, 0
    for _ in range(200):
        healthy, people = draws.normal(size=(50, 6)), draws.normal(size=(300, 6))

        def figure(rows, healthy=healthy, people=people):
            z = (people - healthy[rows].mean(0)) / healthy[rows].std(0, ddof=1)
            return mean_interval(np.abs(z).mean(1))

        one = figure(np.arange(50))
        wide = one.widened([figure(draws.integers(0, 50, 50)).value for _ in range(20)])
        held += wide.low <= MEAN_ABS_Z <= wide.high
        narrow += one.low <= MEAN_ABS_Z <= one.high
    assert held / 200 >= 0.9
    assert narrow / 200 < 0.8


def test_the_constants_are_those_of_the_normal_distribution():
    assert pytest.approx(stats.norm.ppf(0.975), rel=1e-12) == NORMAL_95
    assert FEWEST == 3
    assert mean_interval([0.0, 1.0, 2.0]).n == 3  # three people are enough


def test_a_normal_interval_by_hand():
    """1.96 SE on each side, and p = .05 where the interval ends at 0."""
    one = normal_interval(2.0, 2.0 / 1.959963984540054, n=9, test="normal")
    assert (one.low, one.high, one.p) == pytest.approx((0.0, 4.0, 0.05), abs=1e-12)
    turned = normal_interval(-2.0, one.se, n=9, test="normal")
    assert (turned.low, turned.high, turned.p) == (-one.high, -one.low, one.p)


def test_the_standard_error_of_a_difference_adds_variances():
    a, b = (Estimate(value=v, low=0, high=1, n=n, test="", se=se) for v, n, se in ((3.0, 7, 0.3), (1.0, 5, 0.4)))
    one = difference(a, b)
    assert (one.value, one.se, one.n, one.sizes) == (2.0, pytest.approx(0.5), 12, (7, 5))
    assert one.p == pytest.approx(2 * stats.norm.sf(4.0))


def test_two_refits_are_enough_for_a_spread_and_one_is_not():
    one = Estimate(value=0.0, low=-1.0, high=1.0, n=9, test="t")
    assert one.widened([5.0]) is one
    half = np.hypot(1, stats.norm.ppf(0.975) * np.sqrt(2))  # SD of 0 and 2 with n - 1: sqrt(2)
    wide = one.widened([0.0, 2.0])
    assert (wide.low, wide.high, wide.se) == (pytest.approx(-half), pytest.approx(half), None)


def test_the_mean_is_over_the_last_axis():
    np.testing.assert_array_equal(mean(np.array([[1.0, 3.0], [2.0, 6.0]])), [2.0, 4.0])
