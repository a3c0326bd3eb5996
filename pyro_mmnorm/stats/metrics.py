"""Metrics of calibration and prediction (numpy and scipy only)."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.bootstrap import resampled_weights

__all__ = [
    "COVERAGE_LEVELS",
    "MACE_LEVELS",
    "TAILS",
    "calibrated_log_density",
    "crps_quantiles",
    "known_mean",
    "moments",
    "pit_test",
    "pooled_sd",
    "shapiro_w",
    "square_spread",
    "uniformity",
]


COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Levels of the central intervals whose coverage is reported."""
TAILS = (1.96, 2.58, 3.29)
"""Bounds of |z| with nominal two-sided tail shares of 5, 1 and 0.1 %."""
MACE_LEVELS = (0.01, 0.05, *np.arange(0.1, 0.95, 0.1).round(1), 0.95, 0.99)
"""Levels of the mean absolute centile error (MACE): its mean over these of |share below the centile - level|."""


def pooled_sd(n: Floats, total: Floats, squares: Floats) -> Floats:
    """SD (with n - 1) of all cells, from the number, the sum and the sum of squares of the cells of each person.

    Args:
        n, total, squares: [..., people] each.

    Examples:
        >>> pooled_sd(np.array([1.0, 2.0]), np.array([1.0, 5.0]), np.array([1.0, 13.0])).item()
        1.0
    """
    n, total, squares = (part.sum(-1) for part in (n, total, squares))
    return np.sqrt(np.maximum(squares - total**2 / n, 0) / (n - 1))


def moments(total: ArrayLike) -> dict[str, Floats]:
    """Mean, SD, skew and excess kurtosis from sums of z^0 ... z^4, [..., 5]."""
    total = np.asarray(total, float)
    one, two, three, four = (ratio(total[..., i], total[..., 0]) for i in range(1, 5))
    variance = np.maximum(two - one**2, 0)
    third = three - 3 * one * two + 2 * one**3
    fourth = four - 4 * one * three + 6 * one**2 * two - 3 * one**4
    return {
        "mean": one,
        "sd": np.sqrt(variance),
        "skew": ratio(third, variance**1.5),
        "kurtosis": ratio(fourth, variance**2) - 3,
    }


def square_spread(total: ArrayLike) -> dict[str, Floats]:
    r"""Mean square over regions of the mean of z and of SD - 1, unbiased by sampling error; can be negative by chance.

    .. math:: \overline{\bar z_j^2 - s_j^2 / n_j}, \qquad
        \overline{(s_j^2 - 1)^2 - \widehat{\mathrm{var}}(s_j^2)} \Big/ \Big(1 + \sqrt{\overline{s_j^2}}\Big)^2, \qquad
        \widehat{\mathrm{var}}(s^2) = \frac{2 n s^4 + (n - 1) k_4}{n (n + 1)}

    with s^2 the unbiased variance and k_4 the fourth k-statistic: each term is unbiased for n of at least 4 and any
    distribution, so that values do not depend on the number of people.

    Args:
        total: Sums of z^0 ... z^4 of each region, [..., d, 5].

    Returns:
        rms_mean and rms_sd before taking the square root, [...].

    References:
        Fisher (1930), Moments and product moments of sampling distributions, https://doi.org/10.1112/plms/s2-30.1.199

    Examples:
        >>> z = np.random.default_rng(0).normal(size=(14, 5000))
        >>> squares = square_spread(np.stack([z**i for i in range(5)], -1).sum(0))
        >>> max(abs(value) for value in squares.values()) < 0.005
        np.True_
    """
    total = np.asarray(total, float)
    m = moments(total)
    n = np.where(total[..., 0] > 3, total[..., 0], np.nan)
    second = m["sd"] ** 2
    variance = second * n / (n - 1)
    # k_4, and the sampling variance of s^2
    fourth = n**2 * second**2 * ((n + 1) * (m["kurtosis"] + 3) - 3 * (n - 1)) / ((n - 1) * (n - 2) * (n - 3))
    error = (2 * n * variance**2 + (n - 1) * fourth) / (n * (n + 1))
    typical = 1 + np.sqrt(known_mean(variance))
    return {
        "rms_mean": known_mean(m["mean"] ** 2 - variance / n),
        "rms_sd": known_mean((variance - 1) ** 2 - error) / typical**2,
    }


def known_mean(x: ArrayLike) -> Floats:
    """Mean of the finite values over the last axis, NaN without any."""
    x = np.asarray(x, float)
    seen = np.isfinite(x)
    return ratio(np.where(seen, x, 0.0).sum(-1), seen.sum(-1))


def uniformity(share: ArrayLike, drawn: ArrayLike) -> tuple[float, float]:
    r"""Largest distance of the shares below the centiles of MACE_LEVELS from their levels, with a bootstrap p-value.

    .. math:: D = \max_q |F(q) - q|, \qquad T = \max_q \frac{|F(q) - q|}{\sqrt{q (1 - q)}}, \qquad
        p = \frac{1 + \#\{b : T_b \ge T\}}{B + 1}

    where T_b has F_b(q) minus its mean over the bootstrap in place of F(q) - q.

    Args:
        share: F, shares below the centiles, [L].
        drawn: F_b, the same in each bootstrap sample, [B, L].

    Returns:
        D and p.

    References:
        Anderson & Darling (1952), Asymptotic theory of certain goodness of fit criteria,
        https://doi.org/10.1214/aoms/1177729437 (the weight)
    """
    share, drawn, level = np.asarray(share, float), np.asarray(drawn, float), np.array(MACE_LEVELS)
    off, around, weight = np.abs(share - level), np.abs(drawn - drawn.mean(0)), np.sqrt(level * (1 - level))
    as_large = (around / weight).max(1) >= (off / weight).max()
    return float(off.max()), float((1 + as_large.sum()) / (len(drawn) + 1))


def pit_test(z: ArrayLike, rng: np.random.Generator, repeats: int = 999) -> tuple[float, float]:
    r"""Test of uniformity of u = Phi(z) by a bootstrap over people, since cells of one person are dependent.

    Args:
        z: [n, d], NaN where not observed.
        rng: Source of the draws.
        repeats: Number of bootstrap samples.

    Returns:
        The largest difference between the share of u below a level and that level, and p (see `uniformity`).

    Examples:
        >>> z = np.random.default_rng(0).normal(size=(200, 1)).repeat(50, axis=1)  # 200 numbers, not 10,000
        >>> distance, p = pit_test(z, np.random.default_rng(1))
        >>> p > 0.05
        True
    """
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    below = np.stack([(np.where(seen, z, np.inf) <= at).sum(1) for at in special.ndtri(MACE_LEVELS)], 1)
    n = seen.sum(1)
    weights = resampled_weights(len(z), repeats, rng)
    return uniformity(below.sum(0) / n.sum(), (weights @ below) / (weights @ n)[:, None])


def shapiro_w(z: ArrayLike) -> Floats:
    """Shapiro-Wilk W of each region, 1 for a normal sample; [n, d] in, [d] out, NaN below 3 distinct values.

    References:
        Shapiro & Wilk (1965), An analysis of variance test for normality, https://doi.org/10.1093/biomet/52.3-4.591
    """
    seen = (column[np.isfinite(column)] for column in np.asarray(z, float).T)
    return np.array([stats.shapiro(x[:5000])[0] if len(np.unique(x)) > 2 else np.nan for x in seen])


def calibrated_log_density(z: ArrayLike, slope: ArrayLike) -> Floats:
    r"""Log density of y whose calibrated z is standard normal, :math:`\log \phi(z) + \log dz/dy`.

    Args:
        z: Calibrated z of y.
        slope: dz/dy > 0, the Jacobian of the calibration and of the CDF of the model together.
    """
    return -0.5 * np.asarray(z, float) ** 2 - 0.5 * np.log(2 * np.pi) + np.log(slope)


def crps_quantiles(y: ArrayLike, quantiles: ArrayLike) -> Floats:
    r"""Continuous ranked probability score of quantiles x_k at levels (k - 1/2) / K, in the units of y; 0 is best.

    .. math:: \frac2K \sum_k \left(1[y < x_k] - \frac{k - 1/2}{K}\right) (x_k - y)

    Args:
        y: Observed.
        quantiles: x_k, ascending along axis 0.

    References:
        Bröcker (2012), Evaluating raw ensembles with the CRPS, https://doi.org/10.1002/qj.1891

    Examples:
        >>> crps_quantiles(0.0, [-1.0, 1.0])
        np.float64(0.5)
    """
    x, y = np.asarray(quantiles, float), np.asarray(y, float)
    levels = (np.arange(len(x)) + 0.5) / len(x)
    total = sum(((y < at) - level) * (at - y) for at, level in zip(x, levels, strict=True))
    return 2 * np.asarray(total) / len(x)
