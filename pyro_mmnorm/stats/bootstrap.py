"""The bootstrap over people: draws, the statistic of every draw, and percentile intervals."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.intervals import FEWEST, Estimate

__all__ = [
    "bootstrap_interval",
    "percentile_interval",
    "resampled_people",
    "resampled_statistic",
    "resampled_weights",
]

BLOCK = 50


def resampled_people(strata: ArrayLike, repeats: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of people drawn with replacement within strata, [repeats, n]; every stratum keeps its number of people.

    Args:
        strata: Group of each person, [n]; one value for all draws from everybody.
        repeats: Number of draws.
        rng: Source of the draws.

    Returns:
        Row numbers, the strata one after another in sorted order.

    Examples:
        >>> resampled_people(["b", "a", "a"], 2, np.random.default_rng(0)).tolist()
        [[2, 2, 0], [2, 1, 0]]
    """
    strata = np.asarray(strata)
    members = [np.flatnonzero(strata == label) for label in np.unique(strata)]
    return np.concatenate([rows[rng.integers(0, len(rows), (repeats, len(rows)))] for rows in members], axis=1)


def resampled_weights(n: int, repeats: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each of n people is in each draw, [repeats, n]: a bootstrap of sums is a matrix product with these.

    Examples:
        >>> resampled_weights(3, 2, np.random.default_rng(0)).sum(1).tolist()
        [3, 3]
    """
    return rng.multinomial(n, np.full(n, 1 / n), size=repeats)


def resampled_statistic(
    statistic: Callable[..., Any], columns: Sequence[NDArray[Any]], rows: NDArray[np.int64]
) -> NDArray[Any]:
    """A statistic of every draw, [repeats, ...], computed in blocks of draws so that memory stays small.

    Args:
        statistic: Takes the columns as arrays [..., n] and returns [...].
        columns: The same people in each, [n].
        rows: From `resampled_people`, [repeats, n].

    Examples:
        >>> resampled_statistic(lambda x: x.sum(-1), [np.array([1, 2])], np.array([[0, 0], [0, 1]]))
        array([2, 3])
    """
    blocks = np.array_split(rows, max(1, len(rows) // BLOCK))
    return np.concatenate([np.asarray(statistic(*(column[block] for column in columns))) for block in blocks])


def percentile_interval(drawn: ArrayLike, centre: ArrayLike | None = None) -> Floats:
    """The 2.5 and 97.5 % quantiles of draws over axis 0, [2, ...].

    Args:
        drawn: The statistic of every draw, [repeats, ...].
        centre: The statistic itself, [...]; the draws are then shifted so that their mean is this value. For statistics
            that are biased in a resample, in which people occur several times.

    Examples:
        >>> percentile_interval(np.arange(101.0)), percentile_interval(np.arange(101.0), centre=0)
        (array([ 2.5, 97.5]), array([-47.5,  47.5]))
    """
    drawn = np.asarray(drawn, float)
    shift = 0.0 if centre is None else np.asarray(centre, float) - drawn.mean(0)
    return shift + np.quantile(drawn, [0.025, 0.975], axis=0)


def bootstrap_interval(
    statistic: Callable[..., Any],
    *columns: ArrayLike,
    rng: np.random.Generator,
    repeats: int = 1000,
    strata: ArrayLike | None = None,
) -> Estimate:
    """A statistic with its percentile bootstrap interval; the person is the unit.

    Args:
        statistic: Takes the columns as arrays [..., n] and returns [...].
        columns: The same people in each, [n]; a person is drawn with the values of all columns.
        rng: Source of the draws.
        repeats: Number of draws.
        strata: Group of each person, [n]; every group then keeps its number of people.

    Raises:
        InputError: When there are fewer than 3 people, the columns differ in length, or the statistic is not
            finite, or so often the same that its interval has width 0.

    References:
        Efron & Tibshirani (1993), An introduction to the bootstrap, https://doi.org/10.1201/9780429246593

    Examples:
        >>> x = np.random.default_rng(0).normal(size=100)
        >>> median = bootstrap_interval(lambda x: np.median(x, axis=-1), x, rng=np.random.default_rng(1))
        >>> median.low < median.value < median.high
        True
    """
    data = [np.asarray(column) for column in columns]
    n, groups = len(data[0]), np.zeros(len(data[0])) if strata is None else np.asarray(strata)
    lengths = sorted({len(column) for column in (*data, groups)})
    if n < FEWEST or len(lengths) > 1:
        todo = "give the same people in every column and in the strata, at least 3"
        raise InputError("bootstrap", f"columns of {lengths} people", f"at least {FEWEST}, the same in all", todo)
    rows = resampled_people(groups, repeats, rng)
    value, drawn = float(statistic(*data)), resampled_statistic(statistic, data, rows)
    if not np.isfinite([value, *drawn]).all():
        todo = "leave out people who were not observed, or use strata"
        raise InputError("bootstrap", "a statistic that is not finite", "a number in every draw", todo)
    low, high = percentile_interval(drawn)
    if low == high:
        todo = "report the value without an interval"
        got = f"an interval of width 0 at {low:.3g}"
        raise InputError("bootstrap", got, "a statistic that varies over people", todo)
    within = "" if strata is None else " within groups"
    test = f"bootstrap over people{within}, {repeats} draws"
    return Estimate(value=value, low=float(low), high=float(high), n=n, test=test)
