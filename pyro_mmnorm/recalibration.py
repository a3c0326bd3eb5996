"""Recalibration: what everybody's z would be, had other healthy people been calibrated on."""

import numpy as np
import xarray as xr

from pyro_mmnorm.cohort import Cohort
from pyro_mmnorm.deviations import NormativeModel
from pyro_mmnorm.progress import bar

__all__ = ["refitted"]


def refitted(
    norm: NormativeModel, dev: xr.Dataset, calibrate: Cohort, everyone: Cohort, *, repeats: int = 20, seed: int = 0
) -> xr.Dataset:
    """Deviations with `z_refit` (refit, subject, region): z by calibrators fitted to resampled calibration people.

    No network runs again: raw z stay, and a calibrator is refitted with its strengths of shrinkage kept. So 20 refits
    cost less than one inference. The spread of a figure over them is what it owes to who was calibrated on.

    Args:
        norm: Calibrated on `calibrate`.
        dev: Its deviations of one kind, dims (subject, region), of `everyone`; the coordinate `kind` says which.
        calibrate: The calibration controls.
        everyone: Who was scored.
        repeats: Number of refits; the SD of n of them is off by a share of 1 / sqrt(2 n - 2).
        seed: Of the resampling.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.LinearGaussian.for_cohort(cohort, "regression")).calibrate(cohort.calibrate)
        >>> dev = norm.deviations(cohort.target).assign_coords(kind="reconstruction")
        >>> again = refitted(norm, dev, cohort.calibrate, cohort.target, repeats=5)
        >>> again["z_refit"].sizes["refit"], 0 < float(again["z_refit"].std("refit").mean()) < 0.3
        (5, True)
    """
    kind = str(dev["kind"].item())
    calibrator, rng = norm.calibrators[kind], np.random.default_rng(seed)
    raw, design = norm.raw(calibrate, kind)["z_raw"].to_numpy(), norm.preprocess.design(calibrate)
    scored, of = dev["z_raw"].to_numpy(), norm.preprocess.design(everyone)
    rows = rng.integers(0, len(raw), (repeats, len(raw)))
    again = [calibrator.refit(raw[row], design[row])(scored, of) for row in bar(rows, "refits", unit="refit")]
    return dev.assign(z_refit=(("refit", "subject", "region"), np.stack(again)))
