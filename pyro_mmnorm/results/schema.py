"""Schema of results: kinds of deviation, labels of groups, and results of several groups of people as one."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.core.errors import InputError

__all__ = [
    "ALL_TARGETS",
    "KINDS",
    "MEMBER_SD",
    "PREDICTIVE_KINDS",
    "REGIONAL",
    "TEST_CONTROLS",
    "group_of",
    "groups_of",
    "joined",
    "labels",
    "order_of",
]

REGIONAL = ("reconstruction", "cross_modal", "normative", "local")
"""Kinds of deviation that give a score per region."""


KINDS = (*REGIONAL, "latent")
"""Kinds of deviation; docs/deviations.md defines the question that each answers."""


PREDICTIVE_KINDS = ("cross_modal", "normative")
"""Kinds whose score of a region does not use the observed value of that region."""


TEST_CONTROLS = "test controls"
"""The group of reference subjects that nothing was fitted on."""


ALL_TARGETS = "all targets"
"""The groups of target subjects together, where there are several."""


def labels(split: pd.Series, group: pd.Series) -> pd.Series:
    """The group of a target subject; test controls are a group of their own.

    Raises:
        InputError: When a group has a name that the tables need.

    Examples:
        >>> labels(pd.Series(["test", "target"]), pd.Series(["CN", "AD"])).tolist()
        ['test controls', 'AD']
    """
    if taken := sorted({TEST_CONTROLS, ALL_TARGETS}.intersection(group)):
        raise InputError("group", f"a group named {taken[0]!r}", "another name", "rename it in the participants")
    return group.astype(str).mask(split == "test", TEST_CONTROLS)


def order_of(people: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """The labels that have members: test controls, then target groups in their order.

    Raises:
        InputError: When target subjects are in a group that `groups` lacks.

    Examples:
        >>> order_of(pd.DataFrame({"label": ["AD", "MCI", "test controls"]}), ["CN", "MCI", "AD"])
        ['test controls', 'MCI', 'AD']
    """
    found = set(people["label"])
    if beyond := sorted(found - {TEST_CONTROLS, *groups}):
        raise InputError("groups", f"target subjects of group {beyond[0]!r}", f"one of {list(groups)}", "add it")
    return [name for name in (TEST_CONTROLS, *groups) if name in found]


def group_of(subjects: pd.DataFrame) -> pd.Series:
    """The group of every subject, `test controls` for the reference subjects of the test split.

    Examples:
        >>> group_of(pd.DataFrame({"split": ["test", "target"], "group": ["CN", "AD"]})).tolist()
        ['test controls', 'AD']
    """
    return subjects["group"].astype(str).mask(subjects["split"] == "test", TEST_CONTROLS)


def groups_of(regions: pd.DataFrame) -> list[str]:
    """The groups of target subjects of regions.csv in their order.

    Examples:
        >>> groups_of(pd.DataFrame({"group": ["test controls", "MCI", "AD", "all targets"]}))
        ['MCI', 'AD']
    """
    return [str(group) for group in regions["group"].unique() if group not in (TEST_CONTROLS, ALL_TARGETS)]


MEMBER_SD = "_member_sd"
"""Ends the name of an SD over ensemble members."""


def joined(parts: Iterable[xr.Dataset], people: int) -> xr.Dataset:
    """Deviations of some people after those of others, each written into its place: one part is held beside the whole.

    Args:
        parts: With the same variables, by subject; taken one after the other.
        people: How many all parts are of.

    Examples:
        >>> one = xr.Dataset({"z": ("subject", [1.0, 2.0])}, {"subject": ["a", "b"]})
        >>> joined([one, one.assign_coords(subject=["c", "d"])], people=4)["z"].to_series().to_dict()
        {'a': 1.0, 'b': 2.0, 'c': 1.0, 'd': 2.0}
    """
    whole: dict[str, tuple[tuple[Hashable, ...], NDArray[Any]]] = {}
    coordinates, begin = [], 0
    for part in parts:
        end = begin + part.sizes["subject"]
        if whole and set(part.data_vars) != set(whole):
            raise ValueError(
                f"parts differ in {sorted(set(map(str, part.data_vars)) ^ set(whole))}; nothing is filled in"
            )
        for name, x in part.data_vars.items():
            at = x.get_axis_num("subject")
            if name not in whole:
                whole[str(name)] = x.dims, np.empty([*x.shape[:at], people, *x.shape[at + 1 :]], x.dtype)
            whole[str(name)][1].swapaxes(0, at)[begin:end] = x.to_numpy().swapaxes(0, at)
        coordinates.append(part.drop_vars(list(part.data_vars)))
        begin = end
    return xr.concat(coordinates, "subject", join="exact").assign(whole)
