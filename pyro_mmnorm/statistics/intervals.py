"""Intervals: a figure over people, how sure it is, and how that was found (numpy and scipy only)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pyro_mmnorm.errors import InputError

__all__ = ["FEWEST", "MEAN_ABS_Z", "Estimate", "bootstrap_interval", "mean_interval", "observed"]

type Floats = NDArray[np.float64]

MEAN_ABS_Z = float(np.sqrt(2 / np.pi))
"""Mean |z| of a standard normal z, sqrt(2 / pi) = 0.798: what calibrated controls have, in any number of regions."""

FEWEST = 3
"""A group with fewer people has no mean, SD or test."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its 95 % interval.

    Args:
        value: The figure.
        low, high: Its 95 % interval.
        n: People it rests on.
        test: How the interval and p were found.
        p: Two-sided p-value, where there is a test.
        se: Standard error of the value, where the interval rests on one.
        sizes: People in each group, where there are groups.

    Examples:
        >>> Estimate(value=0.8, low=0.7, high=0.9, n=50, test="DeLong").to_dict()
        {'value': 0.8, 'low': 0.7, 'high': 0.9, 'n': 50, 'test': 'DeLong'}
    """

    value: float
    low: float
    high: float
    n: int
    test: str
    p: float | None = None
    se: float | None = None
    sizes: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields that are there, for JSON."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in told.items() if value is not None and value != ()}


def observed(x: ArrayLike, where: str, *, axes: int = 1) -> Floats:
    """Numbers with `axes` axes, in which NaN means not observed.

    Raises:
        InputError: On another number of axes, or an infinite number.

    Examples:
        >>> observed([1, np.nan], "score")
        array([ 1., nan])
    """
    x = np.asarray(x, float)
    if x.ndim != axes:
        raise InputError(where, f"an array of shape {x.shape}", f"one with {axes} axes", "reshape it")
    if np.isinf(x).any():
        raise InputError(where, "infinite numbers", "finite ones, NaN where not observed", "mend what computed them")
    return x


def mean_interval(x: ArrayLike) -> Estimate:
    """Mean of a figure over people with its t interval; [n] in.

    Raises:
        InputError: When fewer than 3 people were observed.

    Examples:
        >>> mean_interval([0.7, 0.8, 0.9, np.nan]).value.__round__(3)
        0.8
    """
    x = observed(x, "mean")
    x = x[np.isfinite(x)]
    n = len(x)
    if n < FEWEST:
        raise InputError("mean", f"{n} people", f"at least {FEWEST}", "leave this group out")
    mean, se = float(x.mean()), float(x.std(ddof=1) / np.sqrt(n))
    half = float(special.stdtrit(n - 1, 0.975)) * se
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n, test="t interval", se=se)


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    rng: np.random.Generator,
    repeats: int = 1000,
    strata: ArrayLike | None = None,
) -> Estimate:
    """A statistic with its percentile bootstrap interval; the person is the unit.

    Args:
        statistic: Takes the arrays, returns a number.
        arrays: Each with the same people along axis 0; their rows are drawn together.
        rng: Source of the draws.
        repeats: Number of draws.
        strata: Group of each person, [n]; the groups then keep their sizes.

    Raises:
        InputError: When there are fewer than 3 people, the arrays differ in length, or the statistic is not
            finite or the same in every draw, from which no interval follows.

    References:
        Efron & Tibshirani (1993), An introduction to the bootstrap, https://doi.org/10.1201/9780429246593

    Examples:
        >>> x = np.random.default_rng(0).normal(size=100)
        >>> median = bootstrap_interval(np.median, x, rng=np.random.default_rng(1))
        >>> median.low < median.value < median.high
        True
    """
    data = [np.asarray(array) for array in arrays]
    n, sizes = len(data[0]), sorted({len(array) for array in data})
    if n < FEWEST or len(sizes) > 1:
        todo = "give the same people to every array"
        raise InputError("bootstrap", f"arrays of {sizes} people", f"at least {FEWEST}, the same in all", todo)
    labels = np.zeros(n) if strata is None else np.asarray(strata)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = [rows[rng.integers(0, len(rows), (repeats, len(rows)))] for rows in members]
    values = [float(statistic(*(array[rows] for array in data))) for rows in np.concatenate(drawn, axis=1)]
    value = float(statistic(*data))
    if not np.isfinite([value, *values]).all():
        todo = "leave out who was not observed, or use strata"
        raise InputError("bootstrap", "a statistic that is not finite", "a number in every draw", todo)
    low, high = np.quantile(values, [0.025, 0.975])
    if low == high:
        todo = "tell the value without an interval"
        raise InputError("bootstrap", f"{value:.3g} in every draw", "a figure that varies over people", todo)
    within = "" if strata is None else " within groups"
    test = f"bootstrap over people{within}, {repeats} draws"
    return Estimate(value=value, low=float(low), high=float(high), n=n, test=test)
