"""Tails of Student's t and z-scores with the same tail against 40 digits."""

import mpmath
import numpy as np
import pytest

from pyro_mmnorm.stats.student_t import LARGE_DF, normal_to_student_t, student_t_log_sf, student_t_to_normal


def exact(t: float, df: float) -> float:
    """log P(T > t) with 40 digits."""
    with mpmath.workdps(40):
        x = mpmath.mpf(df) / (mpmath.mpf(df) + mpmath.mpf(t) ** 2)
        return float(mpmath.log(mpmath.betainc(mpmath.mpf(df) / 2, 0.5, 0, x, regularized=True) / 2))


@pytest.mark.parametrize("df", [2.1, 3.0, 20.3, 500.0, 1e5])
def test_the_tail_has_many_digits_and_does_not_underflow(df):
    t = np.array([0.01, 0.7, 3.0, 11.0, 60.0, 1e4, 1e30, 1e200])
    np.testing.assert_allclose(student_t_log_sf(t, df), [exact(x, df) for x in t], rtol=1e-11)


@pytest.mark.parametrize("df", [2.1, 20.0, 1e4])
def test_the_tail_falls_everywhere_also_where_the_series_takes_over(df):
    tail = student_t_log_sf(np.concatenate([np.linspace(0, 50, 4001), np.geomspace(51, 1e150, 4001)]), df)
    assert np.isfinite(tail).all()
    assert (np.diff(tail) < 0).all()


def test_nan_stays_nan():
    assert np.isnan(student_t_log_sf(np.nan, 5.0))


def exact_z(t: float, df: float) -> float:
    """z with P(Z > z) = P(T > t) for t > 0, with 40 digits."""
    with mpmath.workdps(40):
        x = mpmath.mpf(df) / (mpmath.mpf(df) + mpmath.mpf(t) ** 2)
        tail = mpmath.betainc(mpmath.mpf(df) / 2, 0.5, 0, x, regularized=True) / 2
        return float(
            mpmath.findroot(lambda z: mpmath.log(mpmath.erfc(z / mpmath.sqrt(2)) / 2) - mpmath.log(tail), t / 2)
        )


def test_the_tail_is_exact_where_it_is_a_denormal_number():
    """log P of about -711: the tail itself has few digits left."""
    np.testing.assert_allclose(student_t_log_sf(90.1, 500.0), exact(90.1, 500.0), rtol=1e-12)


@pytest.mark.parametrize(("df", "tolerance"), [(3.0, 1e-10), (60.0, 1e-10), (499.0, 1e-10), (500.0, 2e-6), (2e4, 2e-6)])
def test_z_of_a_t_value_has_its_tail_and_turns_back(df, tolerance):
    """From 500 degrees of freedom on, |t| <= 4 is expanded in 1 / nu, within 2e-6."""
    t = np.array([0.3, 1.0, 2.0, 3.0, 4.0, 4.5, 6.0])
    z = student_t_to_normal(t, df)
    np.testing.assert_allclose(z, [exact_z(x, df) for x in t], atol=tolerance)
    np.testing.assert_array_equal(student_t_to_normal(-t, df), -z)
    np.testing.assert_allclose(normal_to_student_t(z, df), t, rtol=1e-5)
    assert student_t_to_normal(0.0, df) == 0


def test_the_third_term_of_the_expansion_counts():
    """Without it z of t = 4 at 500 degrees of freedom is off by 3e-5; its last coefficient changes t = .5 by 1e-11."""
    s, u = 0.25, 1 / 500
    third = (35 * s**3 + 19 * s**2 + s - 15) * u**3 / 384
    by_hand = 0.5 * (1 - (s + 1) / 4 * u + (13 * s**2 + 8 * s + 3) / 96 * u**2 - third)
    assert float(student_t_to_normal([0.5], 500.0)[0]) == pytest.approx(by_hand, rel=1e-15)


def test_degrees_of_freedom_beyond_the_largest_are_replaced():
    assert LARGE_DF == 1e5
    assert student_t_to_normal(5.0, 1e9) == student_t_to_normal(5.0, 1e5) != student_t_to_normal(5.0, 9e4)
    assert abs(student_t_to_normal(5.0, 1e9) - 5.0) < 0.0004
