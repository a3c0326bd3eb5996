"""Regions: the columns of a table that are brain regions, and their observed cells."""

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
"""Columns of FreeSurfer tables that are sums, ratios, counts, or not brain regions (FreeSurfer 5 to 8 spellings)."""


@dataclass(frozen=True, kw_only=True)
class RegionRules:
    """Rules for the regions of one modality.

    Args:
        include, exclude: Name patterns, case sensitive, with `*`, `?` and `[...]`.
        totals: `set_aside` (exclude) or `keep` the columns of `TOTALS`.
        zeros: `missing`: an exact 0 in a column without negative values is a failed parcel, not observed.
        varying: Exclude columns that are constant or never observed. False for new people, whose table must keep the
            regions of training.
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
        """Why the name of a column excludes it from the regions; '' if it does not."""
        if self.totals == "set_aside" and _matches(column, TOTALS):
            return "total"
        if not _matches(column, self.include):
            return "not included"
        return "excluded" if _matches(column, self.exclude) else ""


def failed_parcels(table: pd.DataFrame) -> pd.DataFrame:
    """True where a value is exactly 0 in a column without negative values, [n, d].

    FreeSurfer's aparcstats2table writes 0.0 for a region that was not found in a subject.

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
        table: Columns of one or more tables, joined by subject, [n, columns].
        rules: Rules for regions.
        modality: Its name, for messages.
        notes: Sentences on excluded columns and cells are appended.

    Returns:
        The regions [n, d], and the excluded columns with the reason (`total`, `not included`, `excluded`,
        `never observed`, `constant`).

    Raises:
        InputError: On a cell that is not a finite number, two different columns of one name, or no region left.

    Examples:
        >>> table = pd.DataFrame({"insula": [2.9, 2.7], "lh_MeanThickness_thickness": [2.5, 2.4]}, index=["a", "b"])
        >>> regions, excluded = usable_regions(table, RegionRules(), modality="thickness", notes=[])
        >>> list(regions), excluded
        (['insula'], {'lh_MeanThickness_thickness': 'total'})
    """
    where = f"modality {modality!r}"
    names = [str(column) for column in table]
    unmatched = [
        pattern
        for pattern in (*rules.include, *rules.exclude)
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names)
    ]
    notes.extend(f"{where}: the pattern {pattern!r} matches no column" for pattern in unmatched)
    excluded = {name: reason for name in names if (reason := rules.reason(name))}
    regions = _numbers(table.loc[:, ~table.columns.isin(list(excluded))], where)
    observed = regions.mask(failed_parcels(regions)) if rules.zeros == "missing" else regions
    flat = [column for column in observed.columns.astype(str) if rules.varying and observed[column].nunique() < 2]
    excluded |= {column: "never observed" if regions[column].isna().all() else "constant" for column in flat}
    observed = observed.drop(columns=flat)
    failed = regions[observed.columns].notna() & observed.isna()
    if count := int(failed.to_numpy().sum()):
        hit = failed.columns[failed.any()]
        notes.append(
            f"{where}: {counted(count, 'cell')} of exactly 0 taken as not observed (failed parcels): {named(hit)}"
        )
    for reason in dict.fromkeys(excluded.values()):
        columns = [column for column in excluded if excluded[column] == reason]
        notes.append(f"{where}: {counted(len(columns), 'column')} excluded ({reason}): {named(columns)}")
    if not len(observed.columns):
        got = f"no usable region among {counted(len(table.columns), 'column')}"
        raise InputError(where, got, "at least one region that varies", "check its table, include, exclude and totals")
    return observed, excluded


def _numbers(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Every column as numbers; of identical columns with the same name one is kept."""
    numbers: dict[str, pd.Series] = {}
    for place, name in enumerate(table.columns.astype(str)):
        region = as_numbers(table.iloc[:, place], where)
        if name in numbers and not region.equals(numbers[name]):
            todo = "rename one, or keep one of the tables"
            raise InputError(where, f"two different columns named {name!r}", "distinct region names", todo)
        numbers[name] = region
    return pd.DataFrame(numbers, index=table.index, dtype=float)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
