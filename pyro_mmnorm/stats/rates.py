"""Rates: shares of people, and how they compare between cases and controls (numpy and scipy only)."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.intervals import Estimate, observed

__all__ = ["likelihood_ratio", "share"]

LEVEL = 0.95


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
    low, high = _exact(count, n, LEVEL)
    return Estimate(value=count / n, low=low, high=high, n=n, test="Clopper-Pearson")


def likelihood_ratio(controls: ArrayLike, cases: ArrayLike) -> Estimate:
    r"""How many times as often cases are flagged as controls: share of cases by share of controls.

    The interval is exact: with Clopper-Pearson limits of both shares at level :math:`\sqrt{.95}`, all of

    .. math:: [\, l_{cases} / u_{controls},\ u_{cases} / l_{controls}\, ]

    holds at .95 or more, since cases and controls are independent. p is Fisher's exact test of equal shares.

    Args:
        controls: Who of them is flagged, [m], NaN where not observed.
        cases: [n].

    Raises:
        InputError: When nobody of a group was observed, or no control is flagged: then there is no ratio.

    References:
        Clopper & Pearson (1934), https://doi.org/10.1093/biomet/26.4.404

    Examples:
        >>> controls, cases = [True] * 5 + [False] * 95, [True] * 30 + [False] * 70
        >>> one = likelihood_ratio(controls, cases)
        >>> round(one.value, 1), round(one.low, 1), round(one.high, 1)
        (6.0, 1.6, 30.1)
    """
    (few, m), (many, n) = (_counted(flags, name) for flags, name in ((controls, "controls"), (cases, "cases")))
    level = float(np.sqrt(LEVEL))
    (low_m, high_m), (low_n, high_n) = _exact(few, m, level), _exact(many, n, level)
    if few == 0:
        got = f"none of {m} controls is flagged, so the ratio is {low_n / high_m:.3g} or more"
        raise InputError("likelihood ratio", got, "at least one", "give more controls")
    p = float(stats.fisher_exact([[many, n - many], [few, m - few]]).pvalue)
    value = many / n / (few / m)
    test = "exact: Clopper-Pearson of both shares, Fisher"
    return Estimate(value=value, low=low_n / high_m, high=high_n / low_m, n=m + n, test=test, p=p, sizes=(m, n))


def _counted(flags: ArrayLike, where: str) -> tuple[int, int]:
    """How many are flagged, of how many observed."""
    x = observed(flags, where)
    x = x[np.isfinite(x)]
    if not len(x):
        raise InputError(where, "nobody observed", "people", "leave this share out")
    return int((x > 0).sum()), len(x)


def _exact(count: int, n: int, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low = float(special.betaincinv(count, n - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return low, high
