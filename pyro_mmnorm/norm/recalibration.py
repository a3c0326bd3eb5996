"""Recalibration: z from calibrators refitted to resampled calibration controls."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.norm.normative_model import NormativeModel
from pyro_mmnorm.stats.bootstrap import resampled_people

__all__ = ["REFITS", "calibration_controls", "refitted_z", "with_refits"]

REFITS = 20
"""Default number of refits; the relative standard error of the SD over n of them is 1 / sqrt(2 n - 2)."""


def calibration_controls(norm: NormativeModel, kind: str, calibrate: Cohort, everyone: Cohort) -> xr.Dataset:
    """The data of refits: raw z and design of the calibration controls, and the design of the scored people.

    Args:
        norm: Calibrated on `calibrate`.
        kind: Regional kind of deviation.
        calibrate: The calibration controls.
        everyone: The scored people.

    Returns:
        z_raw (control, region) and design (control, column) of the controls; scored_design (subject, column).
    """
    controls = norm.controls(calibrate)
    return xr.Dataset(
        {
            "z_raw": (("control", "region"), controls.raw[kind]),
            "design": (("control", "column"), controls.design),
            "scored_design": (("subject", "column"), norm.preprocess.design(everyone)),
        },
        {
            "subject": everyone.ids.to_numpy(str),
            "control": calibrate.ids.to_numpy(object).astype(str),
            "region": norm.preprocess.names,
        },
    )


def refitted_z(calibrator: Calibrator, controls: xr.Dataset, z_raw: ArrayLike, refit: int) -> NDArray[np.float64]:
    """z [n, d] from a calibrator refitted to a bootstrap sample of its calibration controls.

    Raw z stay the same and the calibrator keeps its strengths of shrinkage, so that 20 refits cost less than one
    inference. The spread of a measure over refits is its sampling error due to the calibration controls.

    Args:
        calibrator: Fitted on `controls`.
        controls: Result of `calibration_controls`.
        z_raw: Raw z of the scored people, in the order of `subject` in `controls`, [n, d].
        refit: Index of the refit, the seed of the sample: equal for all calibrators with the same number of controls.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.LinearGaussian.for_cohort(cohort, "regression")).calibrate(cohort.calibrate)
        >>> controls = calibration_controls(norm, "reconstruction", cohort.calibrate, cohort.target)
        >>> raw = norm.raw(cohort.target, "reconstruction")["z_raw"]
        >>> again = [refitted_z(norm.calibrators["reconstruction"], controls, raw, i) for i in range(5)]
        >>> bool(0 < np.std(again, axis=0).mean() < 0.3)
        True
    """
    raw, design = controls["z_raw"].to_numpy(), controls["design"].to_numpy()
    rows = resampled_people(np.zeros(len(raw)), 1, np.random.default_rng((refit, 0)))[0]
    again = calibrator.refit(raw[rows], design[rows])
    return np.asarray(again(np.asarray(z_raw, float), controls["scored_design"].to_numpy()))


def with_refits(calibrator: Calibrator, controls: xr.Dataset, dev: xr.Dataset) -> xr.Dataset:
    """Deviations of one kind with `z_refit` (refit, subject, region), for `findings`.

    Args:
        calibrator, controls: As in `refitted_z`.
        dev: With z_raw; people in the order of `subject` in `controls`.
    """
    again = [refitted_z(calibrator, controls, dev["z_raw"], i) for i in bar(range(REFITS), "refits", unit="refit")]
    return dev.assign(z_refit=(("refit", "subject", "region"), np.stack(again)))
