"""Cells: z-scores of people and regions made ready to be drawn, and how sure their pooled figures are."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.grouping import SMALLEST_GROUP, tertiles

__all__ = ["Moments", "band", "cells_of", "levels_of", "moments", "people_in"]


LEVEL = 0.95
DRAWS = 2000
FEW_VALUES = 3  # a number with no more distinct values than this has no thirds


def cells_of(z: ArrayLike) -> Floats:
    """The z-scores as [n, d], NaN where not observed.

    Raises:
        InputError: When z is no table, holds an infinite cell, or no observed one.

    Examples:
        >>> cells_of([[0, 1]])
        array([[0., 1.]])
    """
    values = np.asarray(z, float)
    if values.ndim != 2:
        raise InputError("z", f"{values.ndim} dimensions", "subjects x regions", "pass a table [n, d]")
    if np.isinf(values).any():
        raise InputError("z", f"{np.isinf(values).sum()} infinite cells", "finite numbers, or NaN", "mend the scores")
    if np.isnan(values).all():
        raise InputError("z", "no observed cell", "z-scores of test controls", "pass subjects with observed regions")
    return values


class Moments(NamedTuple):
    """Mean and SD of pooled cells, each with a 95 % interval."""

    n: int
    mean: float
    mean_low: float
    mean_high: float
    sd: float
    sd_low: float
    sd_high: float


def moments(z: Floats) -> Moments:
    """Pooled moments of z [n, d]; the standard errors take the person as the unit (cells of one brain depend).

    Examples:
        >>> moments(np.array([[-1.0, 1.0], [-1.0, 1.0]])).sd
        np.float64(1.0)
    """
    z = z[~np.isnan(z).all(1)]
    n, cells = len(z), np.count_nonzero(~np.isnan(z))
    mean = np.nansum(z) / cells
    square = (z - mean) ** 2
    variance = np.nansum(square) / cells
    by_person = np.stack([np.nansum(z - mean, 1), np.nansum(square - variance, 1)])
    half = stats.t.ppf(0.975, n - 1) * np.sqrt((by_person**2).sum(1) * n / (n - 1)) / cells
    sd, half_sd = np.sqrt(variance), half[1] / (2 * np.sqrt(variance))
    return Moments(n, mean, mean - half[0], mean + half[0], sd, sd - half_sd, sd + half_sd)


def band(by_person: Floats, *, n_calibrate: int | None = None) -> Floats:
    r"""Half width of a simultaneous 95 % band of sums over people: the whole curve stays inside 95 times in 100.

    .. math:: \pm c\, s_k, \qquad s_k^2 = \textstyle\sum_i a_{ik}^2, \qquad
        P\big(\max_k |\sum_i g_i a_{ik}| / s_k \le c\big) = 0.95, \quad g_i \sim \mathcal{N}(0, 1)

    with a_ik what person i adds to point k of the curve beyond what is expected: cells of one brain depend, so people
    are the unit. With `n_calibrate` the band is wider by :math:`\sqrt{1 + n / n_{cal}}`, for the error of a calibrator
    that was fitted on so many people.

    Args:
        by_person: a, [n, K].
        n_calibrate: People behind the calibrator; None leaves its error out.

    Returns:
        [K]; 0 where nobody adds anything.

    References:
        Chernozhukov, Chetverikov & Kato (2013), Gaussian approximations and multiplier bootstrap for maxima of sums of
        high-dimensional random vectors, https://doi.org/10.1214/13-AOS1161

    Examples:
        >>> one_point = np.random.default_rng(0).normal(size=(400, 1)) / 20
        >>> round(float(band(one_point)[0]), 1)  # 1.96 standard errors
        2.0
    """
    spread = np.sqrt((by_person**2).sum(0))
    drawn = np.random.default_rng(0).standard_normal((DRAWS, len(by_person))) @ by_person
    largest = np.divide(np.abs(drawn), spread, out=np.zeros_like(drawn), where=spread > 0).max(1)
    factor = np.sqrt(1 + len(by_person) / n_calibrate) if n_calibrate else 1.0
    half: Floats = np.quantile(largest, LEVEL) * spread * factor
    return half


def levels_of(covariate: pd.Series) -> pd.Series:
    """Thirds of a number, or the levels of a category, as the calibration report tells them; NaN under 20 people.

    Examples:
        >>> levels_of(pd.Series(range(90))).value_counts(sort=False).to_dict()
        {'below 29.67': 30, '29.67 to 59.33': 30, '59.33 and above': 30}
    """
    known = covariate.dropna()
    number = pd.api.types.is_numeric_dtype(known) and known.nunique() > FEW_VALUES
    found = tertiles(known) if number else known.astype(str)
    count = found.value_counts()
    return found.where(found.isin(count.index[count >= SMALLEST_GROUP])).reindex(covariate.index)


def people_in(z: Floats) -> str:
    """How many people have any region, in words.

    Examples:
        >>> people_in(np.array([[0.0], [np.nan]]))
        '1 test controls'
    """
    return f"{np.count_nonzero(~np.isnan(z).all(1)):,} test controls"
