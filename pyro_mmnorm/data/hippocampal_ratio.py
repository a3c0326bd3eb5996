"""Hippocampal volume divided by intracranial volume: the only region of a baseline."""

from dataclasses import replace

import pandas as pd

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.atlas import region_of
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.column_roles import plain_word

__all__ = ["hippocampal_ratio", "select_baseline_regions"]

ICV = ("icv", "etiv", "tiv", "intracranialvol", "intracranialvolume", "estimatedtotalintracranialvol")


def select_baseline_regions(baseline: str | None, cohort: Cohort) -> Cohort:
    """The cohort with the regions that a baseline uses: all, except for `hippocampal_volume`."""
    return hippocampal_ratio(cohort) if baseline == "hippocampal_volume" else cohort


def hippocampal_ratio(cohort: Cohort) -> Cohort:
    """The same people with a single region, `hippocampus.volume_over_icv`.

    The volume is the sum of both hippocampi if the tables have them, else of the hippocampal subfields, in one
    modality; NaN if a part was not observed.

    Args:
        cohort: Cohort with hippocampi by name (see `atlas.region_of`) and a covariate such as icv or eTIV.

    Raises:
        InputError: Without such regions or covariate, or if an ICV is not positive.

    Examples:
        >>> import numpy as np
        >>> ids = [f"sub-{i:02d}" for i in range(60)]
        >>> people = pd.DataFrame({"icv": np.linspace(1e6, 2e6, 60)}, index=ids)
        >>> table = pd.DataFrame({side: np.linspace(3e3, 4e3, 60) for side in ("lh_hippo", "rh_hippo")}, index=ids)
        >>> cohort = Cohort.from_frames({"aseg": table}, people, covariates={"icv": "linear"})
        >>> hippocampal_ratio(cohort).values["hippocampus"].iloc[0, 0]
        np.float64(0.006)
    """
    name = next((name for name in cohort.kinds if plain_word(name) in ICV), None)
    frames = [frame for frame in map(_hippocampus, cohort.values.values()) if frame is not None]
    if name is None or not frames:
        got = "no ICV among the covariates" if name is None else "no region that is a hippocampus"
        todo = "omit this baseline, or use names such as icv, eTIV, Left-Hippocampus or left_CA1"
        raise InputError("baseline hippocampal_volume", got, "both", todo)
    icv = cohort.covariates[name].to_numpy(float)
    if not (icv > 0).all():
        got = f"{int((icv <= 0).sum())} values of 0 or less, the smallest {icv.min():g}"
        raise InputError(f"covariate {name!r}", got, "positive volumes", f"use {name} as a volume, not standardised")
    whole = next((frame for frame, is_whole in frames if is_whole), frames[0][0])
    volume = whole.sum(axis=1, skipna=False)
    return replace(cohort, values={"hippocampus": (volume / icv).to_frame("volume_over_icv")}, set_aside={})


def _hippocampus(frame: pd.DataFrame) -> tuple[pd.DataFrame, bool] | None:
    """The hippocampi of a table and True, or their subfields and False; None without either."""
    known = {name: region_of(name) for name in frame}
    whole = [name for name, region in known.items() if region and region.name == "Hippocampus"]
    parts = [name for name, region in known.items() if region and region.system == "hippocampus"]
    return (frame[whole or parts], bool(whole)) if whole or parts else None
