"""Schema of results: kinds of deviation, labels of groups, and concatenation of results."""

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
    "Labels",
    "group_of",
    "groups_of",
    "joined",
    "order_of",
]

type Labels = NDArray[np.str_]
"""The group of each person, [n]."""


REGIONAL = ("reconstruction", "cross_modal", "normative", "local")
"""Kinds of deviation that give a score per region."""


KINDS = (*REGIONAL, "latent")
"""Kinds of deviation; docs/deviations.md defines the question that each answers."""


PREDICTIVE_KINDS = ("cross_modal", "normative")
"""Kinds whose score of a region does not use the observed value of that region."""


TEST_CONTROLS = "test controls"
"""The group of held-out reference subjects, on whom nothing was fitted."""


ALL_TARGETS = "all targets"
"""All groups of target subjects together."""


def group_of(subjects: pd.DataFrame) -> pd.Series:
    """The group of every person; the reference subjects of the test split form the group `test controls`.

    Args:
        subjects: With split and group.

    Raises:
        InputError: When a group of target subjects has a reserved name.

    Examples:
        >>> group_of(pd.DataFrame({"split": ["test", "target"], "group": ["CN", "AD"]})).tolist()
        ['test controls', 'AD']
    """
    group, controls = subjects["group"].astype(str), subjects["split"] == "test"
    if taken := sorted({TEST_CONTROLS, ALL_TARGETS}.intersection(group[~controls])):
        raise InputError("group", f"a group named {taken[0]!r}", "another name", "rename it in the participants")
    return group.mask(controls, TEST_CONTROLS)


def order_of(people: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """The labels that occur: test controls, then target groups in their order.

    Args:
        people: With label, from `group_of`.
        groups: The groups in their order.

    Raises:
        InputError: When target subjects are in a group that `groups` lacks.

    Examples:
        >>> order_of(pd.DataFrame({"label": ["AD", "MCI", "test controls"]}), ["CN", "MCI", "AD"])
        ['test controls', 'MCI', 'AD']
    """
    present = set(people["label"])
    if unknown := sorted(present - {TEST_CONTROLS, *groups}):
        raise InputError("groups", f"target subjects of group {unknown[0]!r}", f"one of {list(groups)}", "add it")
    return [name for name in (TEST_CONTROLS, *groups) if name in present]


def groups_of(regions: pd.DataFrame) -> list[str]:
    """The groups of target subjects in regions.csv in their order.

    Examples:
        >>> groups_of(pd.DataFrame({"group": ["test controls", "MCI", "AD", "all targets"]}))
        ['MCI', 'AD']
    """
    return [str(group) for group in regions["group"].unique() if group not in (TEST_CONTROLS, ALL_TARGETS)]


MEMBER_SD = "_member_sd"
"""Suffix of the name of an SD over ensemble members."""


def joined(parts: Iterable[xr.Dataset], people: int) -> xr.Dataset:
    """Concatenate results of people along `subject` into preallocated arrays: one part is in memory beside the result.

    Args:
        parts: Datasets with the same variables, by subject; read one after the other.
        people: Number of people in all parts together.

    Raises:
        ValueError: When the parts have different variables.

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
            different = sorted(set(map(str, part.data_vars)) ^ set(whole))
            raise ValueError(f"the parts differ in {different}; expected the same variables in all")
        for name, x in part.data_vars.items():
            at = x.get_axis_num("subject")
            if name not in whole:
                whole[str(name)] = x.dims, np.empty([*x.shape[:at], people, *x.shape[at + 1 :]], x.dtype)
            whole[str(name)][1].swapaxes(0, at)[begin:end] = x.to_numpy().swapaxes(0, at)
        coordinates.append(part.drop_vars(list(part.data_vars)))
        begin = end
    return xr.concat(coordinates, "subject", join="exact").assign(whole)
