"""Tails of Student's t in the log domain, and the map to z-scores and back (numpy and scipy only)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pyro_mmnorm.core.typing import Floats

__all__ = ["LARGE_DF", "normal_to_student_t", "student_t_log_sf", "student_t_to_normal"]

TINY = 1e-290


def student_t_log_sf(t: ArrayLike, df: ArrayLike) -> NDArray[np.float64]:
    r"""The logarithm of the upper tail, :math:`\log P(T_\nu > t)` for t >= 0; finite where the tail underflows.

    Where the tail itself underflows, its logarithm :math:`\log \tfrac12 I_x(\nu/2, 1/2)`, :math:`x = \nu / (\nu +
    t^2)`, comes from the hypergeometric series of the incomplete beta function.

    Args:
        t: Values from 0 up; NaN stays NaN.
        df: Degrees of freedom, broadcast against t.

    References:
        DLMF 8.17.8, https://dlmf.nist.gov/8.17

    Examples:
        >>> student_t_log_sf([0.0, 2.0, 1e30], [3.0, 50.0, 20.0]).round(2).tolist()
        [-0.69, -3.67, -1354.02]
    """
    t, df = np.broadcast_arrays(np.asarray(t, float), np.asarray(df, float))
    tail = special.stdtr(df, -t)
    log_tail = np.log(np.maximum(tail, TINY), where=tail > TINY, out=np.full(t.shape, np.nan))
    # series of the incomplete beta function where the tail underflows
    far = tail <= TINY
    a, root = df[far] / 2, np.sqrt(df[far])
    log_x = 2 * (np.log(root) - np.log(np.hypot(root, t[far])))
    x = np.exp(log_x)
    series = special.hyp2f1(a + 0.5, 1.0, a + 1.0, x)
    log_tail[far] = np.log(0.5 * series / a) + a * log_x + 0.5 * np.log1p(-x) - special.betaln(a, 0.5)
    return log_tail


EXPANDED_DF, EXPANDED_T = 500.0, 4.0


LARGE_DF = 1e5
"""Above this, a t value of 5 is within 0.0003 of normal; larger degrees of freedom are replaced by this value."""


def student_t_to_normal(t: ArrayLike, df: ArrayLike) -> Floats:
    r"""The z-score with the tail probability of a t value, :math:`\Phi^{-1}(F_\nu(t))`; finite and monotone.

    Args:
        t: Values of a Student t variable; NaN stays NaN.
        df: Degrees of freedom, broadcast against t.

    Returns:
        z of the shape of t.

    References:
        Fisher (1925), Expansion of Student's integral in powers of n^-1, Metron 5:109-112 (used for |t| <= 4 and at
        least 500 degrees of freedom)

    Examples:
        >>> student_t_to_normal([0.0, 2.0, -100.0], 50.0).round(3)
        array([  0.   ,   1.952, -16.233])
    """
    t, df = np.broadcast_arrays(np.asarray(t, float), np.minimum(df, LARGE_DF))
    if t.size and df.min() >= EXPANDED_DF:
        z = np.asarray(_expanded(t, df))
        far = np.abs(t) > EXPANDED_T
        z[far] = _tail_to_normal(t[far], df[far])
        return z
    return _tail_to_normal(t, df)


def _expanded(t: Floats, df: Floats) -> Floats:
    """Fisher's expansion in 1 / nu, within 2e-6 for nu >= 500 and |t| <= 4; twenty times as fast as the tails."""
    s, u = t * t, 1 / df
    third = u * (((35 * s + 19) * s + 1) * s - 15) / 384
    z: Floats = t * (1 - u * ((s + 1) / 4 - u * (((13 * s + 8) * s + 3) / 96 - third)))
    return z


def _tail_to_normal(t: Floats, df: Floats) -> Floats:
    """The z with the same tail probability, computed in the log domain."""
    return np.where(t == 0, 0.0, -np.sign(t) * special.ndtri_exp(student_t_log_sf(np.abs(t), df)))


def normal_to_student_t(z: ArrayLike, df: ArrayLike) -> Floats:
    """The t value with the tail probability of a z-score, the inverse of `student_t_to_normal`; |z| up to 37.

    Examples:
        >>> normal_to_student_t([1.952, -16.233], 50.0).round(1)
        array([   2., -100.])
    """
    z = np.asarray(z, float)
    t: Floats = -np.sign(z) * special.stdtrit(np.minimum(df, LARGE_DF), special.ndtr(-np.abs(z)))
    return t
