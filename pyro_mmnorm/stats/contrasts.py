"""Contrasts of a group with controls in every column of a table, and shares per column (numpy and scipy only)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.intervals import FEWEST, observed
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg, p_values
from pyro_mmnorm.stats.rates import exact_interval

__all__ = ["GroupContrast", "Share", "column_moments", "group_contrast", "share_significant"]


def column_moments(x: ArrayLike) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Number of observed people, mean and SD (with n - 1) per column; [n, d] in, three [d] out, NaN below 3 people.

    Examples:
        >>> column_moments([[1.0, 5.0], [2.0, np.nan], [3.0, np.nan]])
        (array([3, 1]), array([ 2., nan]), array([ 1., nan]))
    """
    x = observed(x, "x", axes=2)
    seen = np.isfinite(x)
    n, enough = seen.sum(0), seen.sum(0) >= FEWEST
    mean = np.divide(np.where(seen, x, 0.0).sum(0), n, out=np.full(n.shape, np.nan), where=enough)
    square = (np.where(seen, x - mean, 0.0) ** 2).sum(0)
    varies = np.where(seen, x, -np.inf).max(0, initial=-np.inf) > np.where(seen, x, np.inf).min(0, initial=np.inf)
    variance = np.divide(np.where(varies, square, 0.0), n - 1, out=np.full(n.shape, np.nan), where=enough)
    return n, mean, np.sqrt(variance)


@dataclass(frozen=True, kw_only=True)
class GroupContrast:
    """A group against controls, column by column; every field is an array [d].

    Args:
        n, n_controls: Number of observed people.
        difference, difference_low, difference_high: Mean of the group minus mean of the controls, Welch interval.
        hedges_g, hedges_g_low, hedges_g_high: The difference in pooled SDs, corrected for small-sample bias.
        welch_t, welch_p, welch_q: Welch's test, and its BH-FDR q over columns.
        mannwhitney_p, mannwhitney_q: Mann-Whitney test (normal approximation), and its BH-FDR q over columns.
    """

    n: NDArray[np.int64]
    n_controls: NDArray[np.int64]
    difference: Floats
    difference_low: Floats
    difference_high: Floats
    hedges_g: Floats
    hedges_g_low: Floats
    hedges_g_high: Floats
    welch_t: Floats
    welch_p: Floats
    welch_q: Floats
    mannwhitney_p: Floats
    mannwhitney_q: Floats


def group_contrast(x: ArrayLike, controls: ArrayLike) -> GroupContrast:
    r"""Compare a group with controls in every column, without assuming equal variances.

    .. math:: g = J(\nu) \frac{\bar x - \bar y}{s_p}, \qquad
        \mathrm{var}(g) \approx \frac{s_x^2 / n + s_y^2 / m}{s_p^2} + \frac{g^2}{2 s_p^4}
        \sum_i \left(\frac{n_i - 1}{\nu}\right)^2 \frac{s_i^4}{n_i - 1}

    with the pooled SD s_p, nu = n + m - 2 and the gamma-function factor J. The interval of g uses the t quantile with
    Welch's degrees of freedom; the usual noncentral t interval covers .80, not .95, if a group of 10 has twice the SD
    of 50 controls.

    Args:
        x: The group, [n, d], NaN where not observed.
        controls: The controls, [m, d].

    Returns:
        The contrast; NaN in a column where either group has fewer than 3 people, or neither varies.

    Raises:
        InputError: When the two tables have different numbers of columns.

    References:
        Hedges (1981), https://doi.org/10.3102/10769986006002107 (J); Bonett (2008), Confidence intervals for
        standardized linear contrasts of means, https://doi.org/10.1037/1082-989X.13.2.99 (unequal variances)

    Examples:
        >>> contrast = group_contrast([[1.0], [2.0], [3.0]], [[2.0], [4.0], [6.0]])
        >>> contrast.difference, contrast.hedges_g.round(2), contrast.welch_t.round(2)
        (array([-2.]), array([-1.01]), array([-1.55]))
    """
    x, controls = observed(x, "group", axes=2), observed(controls, "controls", axes=2)
    if x.shape[1] != controls.shape[1]:
        got = f"{x.shape[1]} columns, and {controls.shape[1]} of the controls"
        raise InputError("group", got, "the same regions in both", "select the same regions")
    # Welch: variance of the difference of means and its degrees of freedom
    (n, mean_x, sd_x), (m, mean_y, sd_y) = column_moments(x), column_moments(controls)
    error_x, error_y, df = sd_x**2 / np.maximum(n, 1), sd_y**2 / np.maximum(m, 1), np.maximum(n + m - 2, 1)
    usable = error_x + error_y > 0
    parts = (error_x + error_y, ((n - 1) * sd_x**2 + (m - 1) * sd_y**2) / df, mean_x - mean_y)
    total, pooled, difference = (np.where(usable, part, np.nan) for part in parts)
    welch_df = total**2 / (error_x**2 / np.maximum(n - 1, 1) + error_y**2 / np.maximum(m - 1, 1))
    t, quantile = difference / np.sqrt(total), special.stdtrit(welch_df, 0.975)
    # Hedges' g and its variance
    unbiased = np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    g = unbiased * difference / np.sqrt(pooled)
    spread = ((n - 1) * sd_x**4 + (m - 1) * sd_y**4) / (df * pooled) ** 2
    half = quantile * np.sqrt(total / pooled + g**2 / 2 * spread)
    welch_p = 2 * special.stdtr(welch_df, -np.abs(t))
    rank_p = np.full(n.shape, np.nan)
    for j in np.flatnonzero(usable):
        a, b = (part[np.isfinite(part[:, j]), j] for part in (x, controls))
        rank_p[j] = stats.mannwhitneyu(a, b, method="asymptotic").pvalue
    return GroupContrast(
        n=n,
        n_controls=m,
        difference=difference,
        difference_low=difference - quantile * np.sqrt(total),
        difference_high=difference + quantile * np.sqrt(total),
        hedges_g=g,
        hedges_g_low=g - half,
        hedges_g_high=g + half,
        welch_t=t,
        welch_p=welch_p,
        welch_q=benjamini_hochberg(welch_p),
        mannwhitney_p=rank_p,
        mannwhitney_q=benjamini_hochberg(rank_p),
    )


@dataclass(frozen=True, kw_only=True)
class Share:
    """Share of people per column with its exact 95 % interval; every field is an array [d].

    Args:
        count: Number of people below the level.
        n: Number of observed people.
        value, low, high: count / n and its Clopper-Pearson interval; NaN where nobody was observed.
    """

    count: NDArray[np.int64]
    n: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats


def share_significant(p: ArrayLike, level: float = 0.05) -> Share:
    """Share of people with p < `level` in each column; [n, d] in, NaN where not observed.

    Raises:
        InputError: When a p-value lies outside [0, 1].

    References:
        Clopper & Pearson (1934), https://doi.org/10.1093/biomet/26.4.404

    Examples:
        >>> share = share_significant([[0.01], [0.2], [0.03], [np.nan]])
        >>> share.count, share.n, share.low.round(3), share.high.round(3)
        (array([2]), array([3]), array([0.094]), array([0.992]))
    """
    p = p_values(observed(p, "p-values", axes=2))
    count, n = (p < level).sum(0), np.isfinite(p).sum(0)
    low, high = exact_interval(count, n)
    return Share(count=count, n=n, value=ratio(count, n), low=low, high=high)
