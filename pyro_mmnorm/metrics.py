"""How good z-scores and predictions are, in numbers (numpy and scipy only)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "COVERAGE_LEVELS",
    "MACE_LEVELS",
    "TAILS",
    "coverage",
    "mace",
    "mace_null",
    "moments",
    "region_spread",
    "tail_share",
]

type Floats = NDArray[np.float64]

COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Central intervals whose coverage is told."""
TAILS = (1.96, 2.58, 3.29)
"""Bounds whose two-sided nominal shares are 5, 1 and 0.1 %."""
MACE_LEVELS = (0.01, 0.05, *np.arange(0.1, 0.95, 0.1).round(1), 0.95, 0.99)
"""Centiles that the mean absolute centile error is taken over."""


def coverage(z: ArrayLike, level: float) -> Floats:
    """Share of observed z inside the central `level` interval of the standard normal, per region; [n, d] in, [d] out.

    Examples:
        >>> coverage(np.array([[0.0], [1.0], [2.0], [-3.0]]), 0.95)
        array([0.5])
    """
    return 1 - tail_share(z, special.ndtri(0.5 + level / 2))


def tail_share(z: ArrayLike, bound: float) -> Floats:
    """Share of observed |z| above `bound`, per region; [n, d] in, [d] out, NaN where nobody was observed."""
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    return _ratio((np.abs(np.where(seen, z, 0.0)) > bound).sum(0), seen.sum(0))


def mace(z: ArrayLike) -> Floats:
    r"""Mean absolute centile error per region; [n, d] in, [d] out.

    .. math:: \frac1L \sum_q |q - \#\{\Phi(z) \le q\} / n|

    The levels q are 1, 5, 10, 20, ..., 90, 95 and 99 %. Chance alone gives a value above 0: see `mace_null`.
    """
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    below = np.stack([(np.where(seen, z, np.inf) <= special.ndtri(q)).sum(0) for q in MACE_LEVELS])
    error = np.abs(np.array(MACE_LEVELS)[:, None] - _ratio(below, seen.sum(0)))
    out: Floats = error.mean(0)
    return out


def mace_null(n: int) -> float:
    r"""Expected MACE of n perfectly calibrated people, by the normal approximation.

    .. math:: \frac1L \sum_q \sqrt{2 q (1 - q) / (\pi n)}

    Examples:
        >>> round(mace_null(100), 3)
        0.027
    """
    q = np.array(MACE_LEVELS)
    return float(np.sqrt(2 * q * (1 - q) / (np.pi * n)).mean())


def moments(total: ArrayLike) -> dict[str, Floats]:
    """Mean, SD, skew and excess kurtosis from sums of z^0 ... z^4, [..., 5]."""
    total = np.asarray(total, float)
    one, two, three, four = (_ratio(total[..., i], total[..., 0]) for i in range(1, 5))
    variance = np.maximum(two - one**2, 0)
    third = three - 3 * one * two + 2 * one**3
    fourth = four - 4 * one * three + 6 * one**2 * two - 3 * one**4
    return {
        "mean": one,
        "sd": np.sqrt(variance),
        "skew": _ratio(third, variance**1.5),
        "kurtosis": _ratio(fourth, variance**2) - 3,
    }


def region_spread(z: ArrayLike) -> dict[str, float]:
    r"""RMS over regions of the mean of z and of SD - 1, with the sampling error of n people removed.

    .. math:: \sqrt{\max(0, \overline{b_j^2} - \overline{v_j})}

    with v_j the sampling variance: s_j^2 / n for the mean and s_j^2 (kurtosis_j - 1) / (4 n) for the SD.
    """
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    filled = np.where(seen, z, 0.0)
    m = moments(np.stack([seen.sum(0), *((filled**i).sum(0) for i in range(1, 5))], -1))
    n = np.maximum(seen.sum(0), 1)
    error_mean, error_sd = m["sd"] ** 2 / n, m["sd"] ** 2 * np.maximum(m["kurtosis"] + 2, 0) / (4 * n)
    return {
        "rms_mean": float(np.sqrt(max(0.0, np.nanmean(m["mean"] ** 2 - error_mean)))),
        "rms_sd": float(np.sqrt(max(0.0, np.nanmean((m["sd"] - 1) ** 2 - error_sd)))),
    }


def _ratio(a: ArrayLike, b: ArrayLike) -> Floats:
    a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
