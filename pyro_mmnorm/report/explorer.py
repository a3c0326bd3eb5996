"""Explorer: what the page holds of every person, in a form that its script can read."""

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
"""People x regions on the page, at 13 bytes a cell."""
MISSING = 65535
LIMIT = 4.0
CELLS = ("z", "p", "q", "observed", "expected")
FIGURES = {
    "n_observed": "regions observed",
    "mean_abs_z": "mean |z| (0.798 if nothing deviates)",
    "mean_z": "mean z",
    "n_outliers": "regions with |z| > 1.96",
    "n_significant": "regions with q < 0.05",
    "omnibus_p": "omnibus p",
    "latent_distance": "latent distance",
    "latent_p": "latent distance, p",
}


class Explorer(NamedTuple):
    """Data for the script, the maps it paints, the table it fills, and what the reader must know."""

    data: dict[str, Any]
    brains: list[BrainFigure]
    table: Table
    notes: list[str]


def explorer(run: RunResults) -> Explorer:
    """Every person of a run, or as many as fit: the most deviant ones first."""
    subjects = run.subjects.sort_values("mean_abs_z", ascending=False, kind="stable")
    room = max(1, MOST_CELLS // max(1, run.z.shape[1]))
    notes = []
    if len(subjects) > room:
        notes.append(
            f"The page holds the {room:,} of {len(subjects):,} people with the largest mean |z|; z.csv holds all."
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
    strongest = Table("The ten strongest regions", head, [[Cell("", right=name not in head[:2]) for name in head]])
    return Explorer(data, brains, strongest, notes + left_out)


def _facts(run: RunResults, subjects: pd.DataFrame) -> list[tuple[str, list[str]]]:
    columns = {"group": group_of(subjects)}
    columns |= {name: subjects[name] for key in ("covariates", "scores") for name in run.named(key)}
    columns |= {words: subjects[name] for name, words in FIGURES.items() if name in subjects}
    keys = {words: name for name, words in FIGURES.items()}
    return [(plain(words), [number(keys.get(words, words), value) for value in x]) for words, x in columns.items()]


def _cautions(subjects: pd.DataFrame) -> list[str]:
    """What is shaky about each person's answer; '' for nothing."""
    outside = subjects["outside_range"].astype(object).fillna("").astype(str) if "outside_range" in subjects else None
    told = []
    for i in range(len(subjects)):
        words = []
        if outside is not None and outside.iloc[i]:
            words.append(f"Beyond the range of training: {outside.iloc[i]}.")
        if "site_known" in subjects and str(subjects["site_known"].iloc[i]) == "False":
            words.append("The site was not in training: the answer is that for the population.")
        told.append(" ".join(words))
    return told


def _cells(run: RunResults, ids: pd.Index) -> dict[str, Any]:
    """Name -> people x regions, packed; what the run did not keep is absent."""
    tables = {"z": run.z.loc[ids].to_numpy()}
    for name in CELLS[1:]:
        if name in run.deviations:
            tables[name] = run.deviations[name].sel(subject=list(ids), region=list(run.z.columns)).to_numpy()
    return {name: packed(table) for name, table in tables.items()}


def packed(table: Any) -> dict[str, Any]:
    r"""Numbers in two bytes each: :math:`x_{ij} = l_j + s_j c_{ij}` with c from 0 to 65534, and 65535 for nothing.

    No number is off by more than a 130,000th of the range of its column.

    Args:
        table: [n, d], NaN where there is nothing.

    Returns:
        low, step: [d]; codes: row by row, little-endian, base64.

    Examples:
        >>> told = packed([[0.0, 5.0], [65534.0, float("nan")]])
        >>> told["low"], told["step"], base64.b64decode(told["codes"]).hex(" ", 2)
        ([0.0, 5.0], [1.0, 1.0], '0000 0000 feff ffff')
    """
    x = np.asarray(table, float)
    seen = np.isfinite(x)
    low = np.where(seen, x, np.inf).min(0, initial=np.inf)
    high = np.where(seen, x, -np.inf).max(0, initial=-np.inf)
    known = low <= high
    low, step = np.where(known, low, 0.0), np.where(known, high - low, 0.0) / (MISSING - 1)
    step = np.where(step > 0, step, 1.0)
    codes = np.where(seen, np.rint((np.where(seen, x, low) - low) / step), MISSING).astype("<u2")
    return {"low": low.tolist(), "step": step.tolist(), "codes": base64.b64encode(codes.tobytes()).decode()}


def _curves(centiles: xr.Dataset, subjects: pd.DataFrame, columns: list[str]) -> dict[str, Any] | None:
    """Centile curves by profile and region, and where on them each person stands."""
    if "value" not in centiles or (by := str(centiles["value"].dims[-1])) not in subjects:
        return None
    values = centiles["value"].sel(region=columns)
    traits = [str(name) for name, x in centiles.coords.items() if x.dims == ("profile",)]
    profiles = pd.DataFrame({name: centiles[name].to_numpy().astype(str) for name in traits})
    keys = {tuple(row): i for i, row in enumerate(profiles.itertuples(index=False, name=None))}
    who = zip(*(subjects[name].astype(str) for name in traits), strict=True) if traits else [()] * len(subjects)
    fixed = [f"{name} {number('', x.item())}" for name, x in centiles.coords.items() if x.dims == ()]
    told = [", ".join([*(f"{name} {x}" for name, x in zip(traits, row, strict=True)), *fixed]) for row in keys or [()]]
    return {
        "by": by,
        "grid": [float(x) for x in values[by]],
        "centiles": [float(x) for x in values["centile"]],
        "profiles": told,
        "profile": [keys.get(tuple(row), -1) if traits else 0 for row in who],
        "at": [None if pd.isna(x) else float(x) for x in subjects[by]],
        "values": packed(values.transpose("profile", "centile", by, "region").to_numpy().reshape(-1, len(columns))),
    }
