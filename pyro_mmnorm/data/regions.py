"""Regions: which columns of a modality's table are brain regions, and which of their cells were observed."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from pyro_mmnorm.core.errors import InputError, check_known
from pyro_mmnorm.data.frames import as_numbers, counted, named

__all__ = ["TOTALS", "RegionRules", "failed_parcels", "usable_regions"]

TOTALS = (
    "*MeanThickness*", "*WhiteSurfArea*", "*PialSurfArea*", "BrainSegVol*", "*CortexVol", "*CorticalWhiteMatterVol",
    "*CerebralWhiteMatterVol", "SubCortGrayVol", "TotalGrayVol", "SupraTentorialVol*", "MaskVol*", "*SurfaceHoles",
    "*-to-eTIV", "eTIV", "*IntraCranialVol", "ICV", "*Whole_hippocamp*", "*hippocampal-fissure*", "*-vessel",
    "*choroid-plexus", "5th-Ventricle", "*hypointensities",
)  # fmt: skip
"""Columns of FreeSurfer tables that are sums, ratios, counts, or no brain region (FreeSurfer 5 to 8 spellings)."""


@dataclass(frozen=True, kw_only=True)
class RegionRules:
    """What counts as a region of one modality.

    Args:
        include, exclude: Name patterns, case sensitive, with `*`, `?` and `[...]`.
        totals: `set_aside` or `keep` the columns of `TOTALS`.
        zeros: `missing`: an exact 0 in a column of otherwise positive sizes is a failed parcel, not observed.
        varying: Set aside columns that are constant or were never observed. Not for new people, whose table
            must keep the regions of the training.
    """

    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    totals: Literal["set_aside", "keep"] = "set_aside"
    zeros: Literal["missing", "keep"] = "missing"
    varying: bool = True

    def __post_init__(self) -> None:
        check_known("totals", self.totals, ("set_aside", "keep"))
        check_known("zeros", self.zeros, ("missing", "keep"))

    def reason(self, column: str) -> str:
        """Why a column is no region of this modality by its name; '' when it is one."""
        if self.totals == "set_aside" and _matches(column, TOTALS):
            return "total"
        if not _matches(column, self.include):
            return "not included"
        return "excluded" if _matches(column, self.exclude) else ""


def failed_parcels(table: pd.DataFrame) -> pd.DataFrame:
    """True where a size is exactly 0 in a column without negative numbers, [n, d].

    FreeSurfer's aparcstats2table writes 0.0 for a region that a subject does not have.

    Examples:
        >>> failed_parcels(pd.DataFrame({"insula": [2.9, 0.0], "gain": [-1.0, 0.0]})).sum().tolist()
        [1, 0]
    """
    return (table == 0) & (table.min() >= 0)


def usable_regions(
    table: pd.DataFrame, rules: RegionRules, *, modality: str, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The regions of a modality as numbers, NaN where not observed.

    Args:
        table: Columns of one or more tables side by side, indexed by subject, [n, columns].
        rules: What counts as a region.
        modality: Its name.
        notes: Gains a sentence for whatever was set aside.

    Returns:
        The regions [n, d], and the columns set aside with the reason (`total`, `not included`, `excluded`,
        `never observed`, `constant`).

    Raises:
        InputError: On a cell that is no finite number, two different columns of one name, or no region left.

    Examples:
        >>> table = pd.DataFrame({"insula": [2.9, 2.7], "lh_MeanThickness_thickness": [2.5, 2.4]}, index=["a", "b"])
        >>> regions, aside = usable_regions(table, RegionRules(), modality="thickness", notes=[])
        >>> list(regions), aside
        (['insula'], {'lh_MeanThickness_thickness': 'total'})
    """
    where = f"modality {modality!r}"
    names = [str(column) for column in table]
    idle = [
        pattern
        for pattern in (*rules.include, *rules.exclude)
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names)
    ]
    notes.extend(f"{where}: the pattern {pattern!r} matches no column" for pattern in idle)
    aside = {name: reason for name in names if (reason := rules.reason(name))}
    regions = _numbers(table.loc[:, ~table.columns.isin(list(aside))], where)
    observed = regions.mask(failed_parcels(regions)) if rules.zeros == "missing" else regions
    flat = [column for column in observed.columns.astype(str) if rules.varying and observed[column].nunique() < 2]
    aside |= {column: "never observed" if regions[column].isna().all() else "constant" for column in flat}
    observed = observed.drop(columns=flat)
    failed = regions[observed.columns].notna() & observed.isna()
    if count := int(failed.to_numpy().sum()):
        hit = failed.columns[failed.any()]
        notes.append(
            f"{where}: {counted(count, 'cell')} of exactly 0 taken as not observed (failed parcels): {named(hit)}"
        )
    for reason in dict.fromkeys(aside.values()):
        gone = [column for column in aside if aside[column] == reason]
        notes.append(f"{where}: {counted(len(gone), 'column')} set aside ({reason}): {named(gone)}")
    if not len(observed.columns):
        got = f"no usable region among {counted(len(table.columns), 'column')}"
        raise InputError(where, got, "at least one region that varies", "check its table, include, exclude and totals")
    return observed, aside


def _numbers(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Every column as numbers; a name may stand twice only over identical columns, of which one is kept."""
    numbers: dict[str, pd.Series] = {}
    for place, name in enumerate(table.columns.astype(str)):
        region = as_numbers(table.iloc[:, place], where)
        if name in numbers and not region.equals(numbers[name]):
            todo = "rename one, or keep one of the tables"
            raise InputError(where, f"two different columns named {name!r}", "region names that differ", todo)
        numbers[name] = region
    return pd.DataFrame(numbers, index=table.index, dtype=float)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
