"""How good z-scores and predictions are, in numbers (numpy and scipy only)."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from pyro_mmnorm.core.typing import Floats

__all__ = [
    "COVERAGE_LEVELS",
    "MACE_LEVELS",
    "TAILS",
    "calibrated_log_density",
    "coverage",
    "crps_ensemble",
    "crps_normal",
    "crps_quantiles",
    "expv",
    "known_mean",
    "mace",
    "mace_null",
    "moments",
    "msll",
    "pit_test",
    "region_spread",
    "shapiro_w",
    "smse",
    "square_spread",
    "tail_share",
    "uniformity",
]


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

    The root of `square_spread`, 0 where regions differ by less than people make them; [n, d] in.
    """
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    filled = np.where(seen, z, 0.0)
    found = square_spread(np.stack([seen.sum(0), *((filled**i).sum(0) for i in range(1, 5))], -1))
    return {name: float(np.sqrt(np.maximum(0.0, value))) for name, value in found.items()}


def square_spread(total: ArrayLike) -> dict[str, Floats]:
    r"""Mean square over regions of the mean of z and of SD - 1, without sampling error; below 0 by chance alone.

    .. math:: \overline{\bar z_j^2 - s_j^2 / n_j}, \qquad
        \overline{(s_j^2 - 1)^2 - \widehat{\mathrm{var}}(s_j^2)} \Big/ \Big(1 + \sqrt{\overline{s_j^2}}\Big)^2, \qquad
        \widehat{\mathrm{var}}(s^2) = \frac{2 n s^4 + (n - 1) k_4}{n (n + 1)}

    with s^2 the unbiased variance and k_4 the fourth k-statistic: each term is free of bias for any n from 4 on and any
    distribution, so that small groups are not accused of what few people do.

    Args:
        total: Sums of z^0 ... z^4 of each region, [..., d, 5].

    Returns:
        rms_mean and rms_sd before the root is taken, [...].

    References:
        Fisher (1930), Moments and product moments of sampling distributions, https://doi.org/10.1112/plms/s2-30.1.199

    Examples:
        >>> z = np.random.default_rng(0).normal(size=(14, 5000))
        >>> found = square_spread(np.stack([z**i for i in range(5)], -1).sum(0))
        >>> max(abs(value) for value in found.values()) < 0.005
        np.True_
    """
    total = np.asarray(total, float)
    m = moments(total)
    n = np.where(total[..., 0] > 3, total[..., 0], np.nan)
    second = m["sd"] ** 2
    variance = second * n / (n - 1)
    fourth = n**2 * second**2 * ((n + 1) * (m["kurtosis"] + 3) - 3 * (n - 1)) / ((n - 1) * (n - 2) * (n - 3))
    error = (2 * n * variance**2 + (n - 1) * fourth) / (n * (n + 1))
    typical = 1 + np.sqrt(known_mean(variance))
    return {
        "rms_mean": known_mean(m["mean"] ** 2 - variance / n),
        "rms_sd": known_mean((variance - 1) ** 2 - error) / typical**2,
    }


def known_mean(x: ArrayLike) -> Floats:
    """Mean over the last axis of what is finite, NaN where nothing is."""
    x = np.asarray(x, float)
    seen = np.isfinite(x)
    return _ratio(np.where(seen, x, 0.0).sum(-1), seen.sum(-1))


def uniformity(share: ArrayLike, drawn: ArrayLike) -> tuple[float, float]:
    r"""How far shares below the centiles of MACE_LEVELS lie from their levels, and how often chance does as much.

    .. math:: D = \max_q |F(q) - q|, \qquad T = \max_q \frac{|F(q) - q|}{\sqrt{q (1 - q)}}, \qquad
        p = \frac{1 + \#\{b : T_b \ge T\}}{B + 1}

    where T_b has the difference of a bootstrap share from their mean in place of F(q) - q.

    Args:
        share: F, [L].
        drawn: F_b, [B, L].

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
    r"""Test whether u = Phi(z) is uniform, by bootstrap over people: cells of one person depend on one another.

    Args:
        z: [n, d], NaN where not observed.
        rng: Source of the draws.
        repeats: Bootstrap samples.

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
    weights = rng.multinomial(len(z), np.full(len(z), 1 / len(z)), size=repeats)
    return uniformity(below.sum(0) / n.sum(), (weights @ below) / (weights @ n)[:, None])


def shapiro_w(z: ArrayLike) -> Floats:
    """Shapiro and Wilk's W of each region, 1 for a normal sample; [n, d] in, [d] out, NaN under 3 different values.

    References:
        Shapiro & Wilk (1965), An analysis of variance test for normality, https://doi.org/10.1093/biomet/52.3-4.591
    """
    found = (column[np.isfinite(column)] for column in np.asarray(z, float).T)
    return np.array([stats.shapiro(x[:5000])[0] if len(np.unique(x)) > 2 else np.nan for x in found])


def smse(y: ArrayLike, predicted: ArrayLike) -> Floats:
    r"""Standardised mean squared error per region, :math:`\overline{(y - \hat y)^2} / \mathrm{var}(y)`; 0 is best.

    Args:
        y: Observed, [n, d], NaN where not; a region without variance gives NaN.
        predicted: Of the same shape.

    References:
        Rasmussen & Williams (2006), Gaussian processes for machine learning, ch. 2, http://gaussianprocess.org/gpml

    Examples:
        >>> smse([[1.0], [2.0], [3.0]], [[1.0], [2.0], [4.0]])
        array([0.5])
    """
    y, error = _both(y, predicted)
    return _ratio(np.nanmean(error**2, 0), np.nanvar(y, 0))


def expv(y: ArrayLike, predicted: ArrayLike, baseline: ArrayLike = 0.0) -> Floats:
    r"""Explained variance per region, :math:`1 - \mathrm{var}(y - \hat y) / \mathrm{var}(y - y_0)`; 1 is best.

    Args:
        y: Observed, [n, d], NaN where not; a region without variance gives NaN.
        predicted: Of the same shape.
        baseline: y_0; what the covariates alone predict gives the variance explained beyond them.

    Examples:
        >>> expv([[1.0], [2.0], [3.0]], [[2.0], [3.0], [4.0]])
        array([1.])
    """
    y, error = _both(y, predicted)
    return 1 - _ratio(np.nanvar(error, 0), np.nanvar(y - np.asarray(baseline, float), 0))


def msll(log_density: ArrayLike, y: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> Floats:
    r"""Mean standardised log loss per region, :math:`\overline{-\log p(y)} - \overline{-\log N(y; m, s^2)}`.

    Below 0: better than the mean and SD of the training controls.

    Args:
        log_density: log p(y), [n, d], NaN where not observed; of calibrated z see `calibrated_log_density`.
        y: Observed, [n, d].
        mean, sd: Of training controls, [d].

    References:
        Rasmussen & Williams (2006), Gaussian processes for machine learning, ch. 2, http://gaussianprocess.org/gpml

    Examples:
        >>> msll(stats.norm.logpdf([[0.0], [2.0]]), [[0.0], [2.0]], 0.0, 1.0)
        array([0.])
    """
    y, mean, sd = (np.asarray(part, float) for part in (y, mean, sd))
    trivial = -0.5 * ((y - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    return np.nanmean(trivial - np.asarray(log_density, float), 0)


def calibrated_log_density(z: ArrayLike, slope: ArrayLike) -> Floats:
    r"""Log density of y whose calibrated z is standard normal, :math:`\log \phi(z) + \log dz/dy`.

    Args:
        z: Calibrated z of y.
        slope: dz/dy, the Jacobian of the calibration and of the model's own CDF together, > 0.
    """
    return -0.5 * np.asarray(z, float) ** 2 - 0.5 * np.log(2 * np.pi) + np.log(slope)


def crps_normal(y: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Floats:
    r"""Continuous ranked probability score of N(loc, scale^2), in the units of y; 0 is best.

    .. math:: \sigma\left[w (2 \Phi(w) - 1) + 2 \phi(w) - \pi^{-1/2}\right], \qquad w = (y - \mu) / \sigma

    References:
        Gneiting & Raftery (2007), Strictly proper scoring rules, https://doi.org/10.1198/016214506000001437

    Examples:
        >>> crps_normal(0.0, 0.0, 1.0).round(4)
        np.float64(0.2337)
    """
    y, loc, scale = (np.asarray(part, float) for part in (y, loc, scale))
    w = (y - loc) / scale
    density = np.exp(-0.5 * w**2) / np.sqrt(2 * np.pi)
    return scale * (w * (2 * special.ndtr(w) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def crps_quantiles(y: ArrayLike, quantiles: ArrayLike) -> Floats:
    r"""The same score of the quantiles x_k at levels (k - 1/2) / K, rising along axis 0.

    .. math:: \frac2K \sum_k \left(1[y < x_k] - \frac{k - 1/2}{K}\right) (x_k - y)

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


def crps_ensemble(y: ArrayLike, draws: ArrayLike) -> Floats:
    r"""The same score of draws along axis 0, :math:`E|X - y| - \tfrac12 E|X - X'|`: they are their own quantiles.

    Examples:
        >>> crps_ensemble(0.0, [1.0, -1.0])
        np.float64(0.5)
    """
    return crps_quantiles(y, np.sort(np.asarray(draws, float), axis=0))


def _both(y: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    """Observed values and errors, NaN where either is unknown."""
    y = np.asarray(y, float)
    error = y - np.asarray(predicted, float)
    return np.where(np.isfinite(error), y, np.nan), error


def _ratio(a: ArrayLike, b: ArrayLike) -> Floats:
    a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
