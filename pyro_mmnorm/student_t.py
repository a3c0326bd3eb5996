"""The tail of Student's t in the log domain (numpy and scipy only)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["student_t_log_sf"]

TINY = 1e-290


def student_t_log_sf(t: ArrayLike, df: ArrayLike) -> NDArray[np.float64]:
    r"""The logarithm of the upper tail, :math:`\log P(T_\nu > t)` for t >= 0; finite far beyond underflow.

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
    far = tail <= TINY
    a, root = df[far] / 2, np.sqrt(df[far])
    log_x = 2 * (np.log(root) - np.log(np.hypot(root, t[far])))
    x = np.exp(log_x)
    series = special.hyp2f1(a + 0.5, 1.0, a + 1.0, x)
    log_tail[far] = np.log(0.5 * series / a) + a * log_x + 0.5 * np.log1p(-x) - special.betaln(a, 0.5)
    return log_tail
