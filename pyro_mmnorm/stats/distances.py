"""Distances: in how many regions the flags of two people differ (numpy only)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.intervals import FEWEST, NORMAL_95, Estimate

__all__ = ["hamming", "pair_totals"]

type Flags = NDArray[np.bool_]


def pair_totals(flagged: Flags, seen: Flags, others: tuple[Flags, Flags] | None = None) -> tuple[Floats, Floats]:
    """For each person, summed over all others: regions in which the flags differ, and regions observed in both, [n].

    Args:
        flagged, seen: Flags and observed regions of the people, [n, d].
        others: The same arrays for another group; None compares the people with one another.

    Examples:
        >>> flags = np.array([[True, False], [False, False], [True, True]])
        >>> differ, both = pair_totals(flags, np.ones_like(flags))
        >>> differ.tolist(), both.tolist()
        ([2.0, 3.0, 3.0], [4.0, 4.0, 4.0])
    """
    yes, no, here = (x.astype(float) for x in (flagged & seen, ~flagged & seen, seen))
    if others is None:
        return yes @ no.sum(0) + no @ yes.sum(0), here @ (here.sum(0) - 1.0)
    there, known = others
    return yes @ (~there & known).sum(0) + no @ (there & known).sum(0), here @ known.sum(0)


def hamming(flagged: Flags, seen: Flags, others: tuple[Flags, Flags] | None = None) -> Estimate:
    r"""Mean Hamming distance of pairs of people: the share of regions observed in both in which the flags differ.

    .. math:: \hat\theta = \frac{\sum_{i \ne j} \delta_{ij}}{\sum_{i \ne j} d_{ij}}, \qquad
        \mathrm{var}(\hat\theta) = \sum_g \frac{a_g^2}{n_g} \mathrm{var}_{i \in g}
        \frac{\delta_{i\cdot} - \hat\theta\, d_{i\cdot}}{\bar d_{g}}

    with delta the regions that differ, d those observed in both, a = 2 for pairs within a group and 1 for pairs between
    two groups: the variance of a U-statistic, whose unit is the person. A bootstrap would pair people with themselves.

    Args:
        flagged, seen: Flags and observed regions, [n, d].
        others: The same arrays for another group, for distances between the two; None: within the group.

    Raises:
        InputError: When a group has fewer than 3 people, no pair has a region in common, or nothing varies.

    References:
        Hoeffding (1948), A class of statistics with asymptotically normal distribution,
        https://doi.org/10.1214/aoms/1177730196

    Examples:
        >>> flags = np.random.default_rng(0).random((50, 20)) < 0.1
        >>> abs(hamming(flags, np.ones_like(flags)).value - 0.18) < 0.03
        True
    """
    groups = [(flagged, seen)] if others is None else [(flagged, seen), others]
    sizes = tuple(len(flags) for flags, _ in groups)
    if min(sizes) < FEWEST:
        got = f"groups of {list(sizes)} people"
        raise InputError("Hamming distance", got, f"at least {FEWEST} in each", "leave this distance out")
    if others is None:
        totals, weight = [pair_totals(flagged, seen)], 2.0
    else:
        totals, weight = [pair_totals(flagged, seen, others), pair_totals(*others, (flagged, seen))], 1.0
    differ, both = totals[0][0].sum(), totals[0][1].sum()
    value = float(differ / both) if both else np.nan
    se = weight * _se(value, totals)
    if not (se > 0):
        raise InputError("Hamming distance", "flags that are the same in everybody", "flags that vary", "leave it out")
    low, high = max(0.0, value - NORMAL_95 * se), min(1.0, value + NORMAL_95 * se)
    test = "U-statistic over people"
    return Estimate(value=value, low=low, high=high, n=sum(sizes), test=test, se=se, sizes=sizes)


def _se(value: float, totals: Sequence[tuple[Floats, Floats]]) -> float:
    parts = [((differ - value * both) / both.mean()).var(ddof=1) / len(both) for differ, both in totals if both.any()]
    return float(np.sqrt(sum(parts)))
