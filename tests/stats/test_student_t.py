"""The tail of Student's t against many digits."""

import mpmath
import numpy as np
import pytest

from pyro_mmnorm.stats.student_t import student_t_log_sf


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


def test_no_value_gives_no_number():
    assert np.isnan(student_t_log_sf(np.nan, 5.0))
