"""z-scores for figures: validation, pooled moments with intervals, simultaneous bands, levels of covariates."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.grouping import SMALLEST_GROUP, tertiles

__all__ = ["Moments", "band", "cells_of", "half_width", "levels_of", "moments", "people_in", "pooled"]

LEVEL = 0.95  # of simultaneous bands
DRAWS = 2000  # of the multiplier bootstrap
FEW_VALUES = 3  # a numeric covariate with at most this many distinct values is not cut into tertiles


def cells_of(z: ArrayLike) -> Floats:
    """The z-scores as [n, d], NaN where not observed.

    Raises:
        InputError: When z is not a table, has an infinite value, or no observed one.

    Examples:
        >>> cells_of([[0, 1]])
        array([[0., 1.]])
    """
    values = np.asarray(z, float)
    if values.ndim != 2:
        raise InputError("z", f"{values.ndim} dimensions", "subjects x regions", "pass a table [n, d]")
    if np.isinf(values).any():
        raise InputError("z", f"{np.isinf(values).sum()} infinite values", "finite numbers, or NaN", "correct them")
    if np.isnan(values).all():
        raise InputError("z", "no observed value", "z-scores of test controls", "pass subjects with observed regions")
    return values


class Moments(NamedTuple):
    """Number of people, and mean and SD of their pooled values, each with a 95 % interval."""

    n: int
    mean: float
    mean_low: float
    mean_high: float
    sd: float
    sd_low: float
    sd_high: float


def moments(z: Floats) -> Moments:
    r"""Pooled moments of z [n, d]; people are the sampling units, as regions of one person are correlated.

    With :math:`r_i` the sum over regions of the deviations of person i from the pooled mean (or variance), the standard
    error is :math:`\sqrt{\sum_i r_i^2\, n / (n - 1)} / \#\text{values}`.

    Examples:
        >>> moments(np.array([[-1.0, 1.0], [-1.0, 1.0]])).sd
        np.float64(1.0)
    """
    z = z[~np.isnan(z).all(1)]
    n, cells = len(z), np.count_nonzero(~np.isnan(z))
    mean = np.nansum(z) / cells
    square = (z - mean) ** 2
    variance = np.nansum(square) / cells
    # sums of residuals over the regions of a person, for the cluster-robust standard errors
    by_person = np.stack([np.nansum(z - mean, 1), np.nansum(square - variance, 1)])
    half = stats.t.ppf(0.975, n - 1) * np.sqrt((by_person**2).sum(1) * n / (n - 1)) / cells
    sd, half_sd = np.sqrt(variance), half[1] / (2 * np.sqrt(variance))  # delta method
    return Moments(n, mean, mean - half[0], mean + half[0], sd, sd - half_sd, sd + half_sd)


def half_width(rows: pd.DataFrame) -> Floats:
    r"""Half width of the 95 % t interval of the mean z, :math:`t_{n - 1}\, s / \sqrt n`, from columns `n` and `sd_z`.

    Examples:
        >>> half_width(pd.DataFrame({"n": [9], "sd_z": [1.5]})).round(2)
        array([1.15])
    """
    n = rows["n"].to_numpy(float)
    half: Floats = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * rows["sd_z"].to_numpy(float) / np.sqrt(n)
    return half


def band(by_person: Floats, *, n_calibrate: int | None = None) -> Floats:
    r"""Half width of a simultaneous 95 % band of sums over people.

    .. math:: \pm c\, s_k, \qquad s_k^2 = \textstyle\sum_i a_{ik}^2, \qquad
        P\big(\max_k |\sum_i g_i a_{ik}| / s_k \le c\big) = 0.95, \quad g_i \sim \mathcal{N}(0, 1)

    with a_ik the contribution of person i to point k of the curve, minus its expectation. People are the sampling
    units, as regions of one person are correlated. With `n_calibrate` the band is wider by the factor
    :math:`\sqrt{1 + n / n_{cal}}`, for the sampling error of the calibrator.

    Args:
        by_person: a, [n, K].
        n_calibrate: Number of people on whom the calibrator was fitted; None: its error is not included.

    Returns:
        [K]; 0 where all contributions are 0.

    References:
        Chernozhukov, Chetverikov & Kato (2013), Gaussian approximations and multiplier bootstrap for maxima of sums of
        high-dimensional random vectors, https://doi.org/10.1214/13-AOS1161

    Examples:
        >>> one_point = np.random.default_rng(0).normal(size=(400, 1)) / 20
        >>> round(float(band(one_point)[0]), 1)  # 1.96 standard errors
        2.0
    """
    spread = np.sqrt((by_person**2).sum(0))
    # multiplier bootstrap of the largest standardised deviation over the points of the curve
    drawn = np.random.default_rng(0).standard_normal((DRAWS, len(by_person))) @ by_person
    largest = np.divide(np.abs(drawn), spread, out=np.zeros_like(drawn), where=spread > 0).max(1)
    factor = np.sqrt(1 + len(by_person) / n_calibrate) if n_calibrate else 1.0
    half: Floats = np.quantile(largest, LEVEL) * spread * factor
    return half


def levels_of(covariate: pd.Series) -> pd.Series:
    """Tertiles of a number or levels of a category, as in the calibration report; NaN for levels under 20 people.

    Examples:
        >>> levels_of(pd.Series(range(90))).value_counts(sort=False).to_dict()
        {'below 29.67': 30, '29.67 to 59.33': 30, '59.33 and above': 30}
    """
    known = covariate.dropna()
    number = pd.api.types.is_numeric_dtype(known) and known.nunique() > FEW_VALUES
    found = tertiles(known) if number else known.astype(str)
    count = found.value_counts()
    return found.where(found.isin(count.index[count >= SMALLEST_GROUP])).reindex(covariate.index)


def pooled(covariate: pd.Series, fewest: int) -> tuple[pd.Series, str]:
    """Levels of a category as text, rare and missing ones pooled; and the name of the pooled level.

    Examples:
        >>> pooled(pd.Series(["A", "A", "B", "C"]), 2)[0].tolist()
        ['A', 'A', 'others, under 2 each', 'others, under 2 each']
    """
    text, rare = covariate.astype(str), f"others, under {fewest} each"
    frequent = covariate.notna() & (text.map(text.value_counts()) >= fewest)
    return text.where(frequent, rare), rare


def people_in(z: Floats) -> str:
    """The number of people with at least one observed region, in words.

    Examples:
        >>> people_in(np.array([[0.0], [np.nan]]))
        '1 test controls'
    """
    return f"{np.count_nonzero(~np.isnan(z).all(1)):,} test controls"
