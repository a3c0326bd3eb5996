"""Explorer: the results of every person, packed for the script of the page."""

import base64
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from pyro_mmnorm.report.html_tables import Cell, Table
from pyro_mmnorm.report.maps import BrainFigure, blank_map, colours
from pyro_mmnorm.results.formatting import number, plain
from pyro_mmnorm.results.run_results import RunResults
from pyro_mmnorm.results.schema import group_of

__all__ = ["MOST_CELLS", "Explorer", "explorer", "packed"]

MOST_CELLS = 350_000
"""Most values of z (people x regions) on the page; each takes 13 bytes."""
MISSING = 65535
LIMIT = 4.0
CELLS = ("z", "p", "q", "observed", "expected")
EXTRAPOLATING = "Outside the range of the training data (extrapolating): {}."
UNKNOWN_SITE = "The site was not in the training data: the norm of the population is used."
MEASURES = {
    "n_observed": "regions observed",
    "mean_abs_z": "mean |z| (0.798 expected under calibration)",
    "mean_z": "mean z",
    "n_outliers": "regions with |z| > 1.96",
    "n_significant": "regions with q < 0.05",
    "omnibus_p": "omnibus p",
    "latent_distance": "latent distance",
    "latent_p": "p of the latent distance",
}


class Explorer(NamedTuple):
    """Data for the script, the maps that it colours, the table that it fills, and notes for the reader."""

    data: dict[str, Any]
    brains: list[BrainFigure]
    table: Table
    notes: list[str]


def explorer(run: RunResults) -> Explorer:
    """The people of a run in order of decreasing mean |z|, at most as many as fit on the page."""
    subjects = run.subjects.sort_values("mean_abs_z", ascending=False, kind="stable")
    room = max(1, MOST_CELLS // max(1, run.z.shape[1]))
    notes = []
    if len(subjects) > room:
        notes.append(
            f"The page shows the {room:,} of {len(subjects):,} people with the largest mean |z|; z.csv has all."
        )
    subjects = subjects.head(room)
    brains, left_out = blank_map(list(run.z.columns), LIMIT)
    regions = [name.partition(".")[::2] for name in run.z.columns]
    data = {
        "ids": list(subjects.index),
        "groups": group_of(subjects).tolist(),
        "facts": _facts(run, subjects),
        "cautions": _cautions(subjects),
        "regions": [region for _, region in regions],
        "modalities": [modality for modality, _ in regions],
        "cells": _cells(run, subjects.index),
        "colours": colours("diverging"),
        "limit": LIMIT,
        "kind": run.primary,
        "curves": _curves(run.centiles, subjects, list(run.z.columns)),
    }
    head = ["region", "modality", "z", "p", "q", "observed", "expected"]
    row = [Cell("", right=name not in head[:2]) for name in head]
    strongest = Table("The ten regions with the largest |z|", head, [row])
    return Explorer(data, brains, strongest, notes + left_out)


def _facts(run: RunResults, subjects: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Label -> a text per person: group, covariates, scores and measures."""
    names = {name: name for key in ("covariates", "scores") for name in run.named(key)}
    names |= {name: label for name, label in MEASURES.items() if name in subjects}
    facts = [(plain(label), [number(name, value) for value in subjects[name]]) for name, label in names.items()]
    return [("group", group_of(subjects).tolist()), *facts]


def _cautions(subjects: pd.DataFrame) -> list[str]:
    """Warnings about the results of each person; '' for none."""
    nothing = pd.Series("", subjects.index)
    outside = subjects.get("outside_range", nothing).astype(object).fillna("").astype(str)
    known = subjects.get("site_known", nothing).astype(str)
    return [
        " ".join([EXTRAPOLATING.format(names)] * bool(names) + [UNKNOWN_SITE] * (site == "False"))
        for names, site in zip(outside, known, strict=True)
    ]


def _cells(run: RunResults, ids: pd.Index) -> dict[str, Any]:
    """Name -> people x regions, packed; absent if the run has no such table."""
    tables = {"z": run.z.loc[ids].to_numpy()}
    for name in CELLS[1:]:
        if name in run.deviations:
            tables[name] = run.deviations[name].sel(subject=list(ids), region=list(run.z.columns)).to_numpy()
    return {name: packed(table) for name, table in tables.items()}


def packed(table: Any) -> dict[str, Any]:
    r"""Numbers in two bytes each: :math:`x_{ij} = l_j + s_j c_{ij}` with c from 0 to 65534; 65535 is no value.

    The rounding error is at most 1 / 130,000 of the range of the column.

    Args:
        table: [n, d], NaN where there is no value.

    Returns:
        low, step: [d]; codes: row by row, little-endian, base64.

    Examples:
        >>> numbers = packed([[0.0, 5.0], [65534.0, float("nan")]])
        >>> numbers["low"], numbers["step"], base64.b64decode(numbers["codes"]).hex(" ", 2)
        ([0.0, 5.0], [1.0, 1.0], '0000 0000 feff ffff')
    """
    x = np.asarray(table, float)
    known = np.isfinite(x)
    low = np.where(known, x, np.inf).min(0, initial=np.inf)
    high = np.where(known, x, -np.inf).max(0, initial=-np.inf)
    filled = low <= high
    low, step = np.where(filled, low, 0.0), np.where(filled, high - low, 0.0) / (MISSING - 1)
    step = np.where(step > 0, step, 1.0)
    codes = np.where(known, np.rint((np.where(known, x, low) - low) / step), MISSING).astype("<u2")
    return {"low": low.tolist(), "step": step.tolist(), "codes": base64.b64encode(codes.tobytes()).decode()}


def _curves(centiles: xr.Dataset, subjects: pd.DataFrame, columns: list[str]) -> dict[str, Any] | None:
    """Centile curves by profile (values of the other covariates) and region, and the profile of each person."""
    if "value" not in centiles or (by := str(centiles["value"].dims[-1])) not in subjects:
        return None
    values = centiles["value"].sel(region=columns)
    traits = [str(name) for name, x in centiles.coords.items() if x.dims == ("profile",)]
    profiles = pd.DataFrame({name: centiles[name].to_numpy().astype(str) for name in traits})
    keys = {tuple(row): i for i, row in enumerate(profiles.itertuples(index=False, name=None))}
    rows = zip(*(subjects[name].astype(str) for name in traits), strict=True) if traits else [()] * len(subjects)
    fixed = [f"{name} {number('', x.item())}" for name, x in centiles.coords.items() if x.dims == ()]
    names = [", ".join([*(f"{name} {x}" for name, x in zip(traits, key, strict=True)), *fixed]) for key in keys or [()]]
    return {
        "by": by,
        "grid": [float(x) for x in values[by]],
        "centiles": [float(x) for x in values["centile"]],
        "profiles": names,
        "profile": [keys.get(tuple(row), -1) if traits else 0 for row in rows],
        "at": [None if pd.isna(x) else float(x) for x in subjects[by]],
        "values": packed(values.transpose("profile", "centile", by, "region").to_numpy().reshape(-1, len(columns))),
    }
