"""Subgroups of the calibration report: by covariate, modality and pattern of missing modalities."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["SMALLEST_GROUP", "Group", "groups", "tertiles"]

SMALLEST_GROUP = 20
"""Levels with fewer people are pooled."""


class Group(NamedTuple):
    """A subgroup: what it is grouped by, its level, and its people [n] and regions [d] as masks."""

    by: str
    level: str
    people: NDArray[np.bool_]
    regions: NDArray[np.bool_]


def groups(
    covariates: pd.DataFrame,
    kinds: Mapping[str, str],
    seen: NDArray[np.bool_],
    modality: NDArray[np.str_],
    patterns: Sequence[str] | None = None,
) -> list[Group]:
    """All people and regions first, then tertiles and levels of covariates, modalities, patterns of missing modalities.

    Args:
        covariates: Covariates of the people, [n, ...], by name.
        kinds: covariate -> spline, linear or category.
        seen: Observed cells, [n, d].
        modality: Modality of each region, [d].
        patterns: Names of the modalities of each person, [n]; taken from `seen` when None.
    """
    names, everyone, everywhere = list(dict.fromkeys(modality.tolist())), np.ones(len(seen), bool), modality == modality
    subgroups = [Group("overall", "all", everyone, everywhere)]
    for name, kind in kinds.items():
        if kind == "category":
            subgroups += _levels(name, covariates[name].astype(str), everywhere)
        else:
            thirds = tertiles(covariates[name])
            order = thirds[covariates[name].sort_values().index].unique().tolist()
            subgroups += _levels(f"{name} tertile", thirds, everywhere, order)
    subgroups += [Group("modality", m, everyone, modality == m) for m in names]
    present = np.stack([seen[:, modality == m].any(1) for m in names], 1)
    pattern = patterns or [" + ".join(np.array(names)[row]) or "nothing" for row in present]
    if len(set(pattern)) > 1:
        subgroups += _levels("modalities present", pd.Series(list(pattern)), everywhere)
    return subgroups


def tertiles(x: pd.Series) -> pd.Series:
    """The tertile of each person, named by its bounds.

    Examples:
        >>> tertiles(pd.Series([10.0, 20.0, 30.0])).tolist()
        ['below 16.67', '16.67 to 23.33', '23.33 and above']
    """
    cuts = np.unique(np.quantile(x, [1 / 3, 2 / 3]))
    labels = [
        f"below {cuts[0]:.4g}",
        *(f"{a:.4g} to {b:.4g}" for a, b in pairwise(cuts)),
        f"{cuts[-1]:.4g} and above",
    ]
    return pd.Series(np.array(labels)[np.searchsorted(cuts, x, side="right")], index=x.index)


def _levels(by: str, labels: pd.Series, regions: NDArray[np.bool_], order: Sequence[str] = ()) -> list[Group]:
    """One group per level, sorted by name without an order; levels with too few people are pooled, and come last."""
    count = labels.value_counts()
    small = count.index[count < SMALLEST_GROUP]
    small = small if len(small) > 1 else small[:0]  # a single small level keeps its name
    others = f"{len(small)} levels under {SMALLEST_GROUP} people, pooled"
    pooled = labels.where(~labels.isin(small), others)
    levels = [level for level in order or sorted(labels.unique()) if level not in small] + [others] * bool(len(small))
    return [Group(by, str(level), (pooled == level).to_numpy(), regions) for level in levels]
