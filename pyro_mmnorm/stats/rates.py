"""Rates: shares of people, and how they compare between cases and controls (numpy and scipy only)."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.intervals import Estimate, observed

__all__ = ["exact_interval", "likelihood_ratio", "log_likelihood_ratio", "pooled_share", "share"]

LEVEL = 0.95


def exact_interval(count: ArrayLike, n: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Clopper and Pearson's exact limits of a share, from `count` of `n` people; NaN where n is 0.

    References:
        Clopper & Pearson (1934), https://doi.org/10.1093/biomet/26.4.404

    Examples:
        >>> low, high = exact_interval([0, 2], [4, 4])
        >>> low.round(3), high.round(3)
        (array([0.   , 0.068]), array([0.602, 0.932]))
    """
    count, n = np.asarray(count), np.asarray(n)
    none, every, tail = count == 0, count == n, (1 - level) / 2
    low = np.where(none, 0.0, special.betaincinv(np.where(none, 1, count), n - count + 1, tail))
    high = np.where(every, 1.0, special.betaincinv(count + 1, np.where(every, 1, n - count), 1 - tail))
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def share(flags: ArrayLike) -> Estimate:
    """Share of people who are flagged, with its exact interval; [n] in, NaN where not observed.

    Raises:
        InputError: When nobody was observed.

    References:
        Clopper & Pearson (1934), https://doi.org/10.1093/biomet/26.4.404

    Examples:
        >>> one = share([True, False, False, False])
        >>> one.value, round(one.low, 4), round(one.high, 3)
        (0.25, 0.0063, 0.806)
    """
    count, n = _counted(flags, "share")
    low, high = exact_interval(count, n)
    return Estimate(value=count / n, low=float(low), high=float(high), n=n, test="Clopper-Pearson")


def pooled_share(flagged: Floats, seen: Floats) -> Floats:
    """Share of flagged cells over all people, from the flagged and the observed cells of each; [..., n] in, [...] out.

    Examples:
        >>> pooled_share(np.array([1.0, 0.0]), np.array([2.0, 2.0])).item()
        0.25
    """
    return ratio(flagged.sum(-1), seen.sum(-1))


def likelihood_ratio(controls: ArrayLike, cases: ArrayLike) -> Estimate:
    r"""Positive likelihood ratio: the share of flagged cases divided by that of flagged controls.

    The interval is exact: with Clopper-Pearson limits of both shares at level :math:`\sqrt{.95}`, the interval

    .. math:: [\, l_{cases} / u_{controls},\ u_{cases} / l_{controls}\, ]

    covers the ratio with probability .95 or more, since cases and controls are independent. p is Fisher's exact test of
    equal shares.

    Args:
        controls: 1 for flagged controls, 0 for others, NaN where not observed, [m].
        cases: The same for cases, [n].

    Raises:
        InputError: When nobody of a group was observed, or no control is flagged: then the ratio is not defined.

    References:
        Clopper & Pearson (1934), https://doi.org/10.1093/biomet/26.4.404

    Examples:
        >>> controls, cases = [True] * 5 + [False] * 95, [True] * 30 + [False] * 70
        >>> one = likelihood_ratio(controls, cases)
        >>> round(one.value, 1), round(one.low, 1), round(one.high, 1)
        (6.0, 1.6, 30.1)
    """
    (few, m), (many, n) = (_counted(flags, name) for flags, name in ((controls, "controls"), (cases, "cases")))
    low, high = exact_interval([few, many], [m, n], float(np.sqrt(LEVEL)))
    if few == 0:
        got = f"none of {m} controls is flagged, so the ratio is {low[1] / high[0]:.3g} or more"
        raise InputError("likelihood ratio", got, "at least one", "give more controls")
    return Estimate(
        value=many / n / (few / m),
        low=float(low[1] / high[0]),
        high=float(high[1] / low[0]),
        n=m + n,
        test="exact: Clopper-Pearson of both shares, Fisher",
        p=float(stats.fisher_exact([[many, n - many], [few, m - few]]).pvalue),
        sizes=(m, n),
    )


def log_likelihood_ratio(flag: Floats, case: Floats) -> Floats:
    """Log of the positive likelihood ratio, with half a person added to all counts (Haldane); finite without flags.

    Args:
        flag: 1 for flagged people, 0 for others, [..., n].
        case: 1 for cases, 0 for controls, [..., n].

    Examples:
        >>> flag, case = np.array([1, 0, 0, 0, 1, 1, 0, 0]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
        >>> round(float(np.exp(log_likelihood_ratio(flag, case))), 2)
        1.67
    """
    (many, n), (few, m) = (((flag * group).sum(-1) + 0.5, group.sum(-1) + 1) for group in (case, 1 - case))
    return np.asarray(np.log(many / n * m / few))


def _counted(flags: ArrayLike, where: str) -> tuple[int, int]:
    """Number of flagged people, and of observed people."""
    x = observed(flags, where)
    x = x[np.isfinite(x)]
    if not len(x):
        raise InputError(where, "nobody observed", "people", "leave this share out")
    return int((x > 0).sum()), len(x)
