"""Bootstrap over people."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.intervals import FEWEST, Estimate

__all__ = ["bootstrap_interval"]


def bootstrap_interval(
    statistic: Callable[..., Any],
    *arrays: ArrayLike,
    rng: np.random.Generator,
    repeats: int = 1000,
    strata: ArrayLike | None = None,
    batched: bool = False,
) -> Estimate:
    """A statistic with its percentile bootstrap interval; the person is the unit.

    Args:
        statistic: Takes the arrays, returns a number.
        arrays: Each with the same people along axis 0; their rows are drawn together.
        rng: Source of the draws.
        repeats: Number of draws.
        strata: Group of each person, [n]; the groups then keep their sizes.
        batched: The statistic takes arrays [..., n] and returns [...], which is quick.

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
    draws = np.concatenate(drawn, axis=1)
    if batched:
        values = np.asarray(statistic(*(array[draws] for array in data)))
    else:
        values = np.array([float(statistic(*(array[rows] for array in data))) for rows in draws])
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
