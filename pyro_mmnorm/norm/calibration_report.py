"""The calibration report of a norm: is it right about the healthy people that nothing was fitted on?"""

from typing import Any

import numpy as np
import xarray as xr

from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.evaluation.assess import assess
from pyro_mmnorm.evaluation.sentences import about_p
from pyro_mmnorm.evaluation.sums import Prediction
from pyro_mmnorm.norm.normative_model import NormativeModel
from pyro_mmnorm.stats.contrasts import share_significant
from pyro_mmnorm.stats.metrics import known_mean
from pyro_mmnorm.stats.regression import ShrunkRegression

__all__ = ["calibration_report"]

LEVEL = 0.05
CONFORMAL = (("Regions", "note"), ("Omnibus", "omnibus_note"))


def calibration_report(norm: NormativeModel, cohort: Cohort, *, seed: int = 0) -> dict[str, Any]:
    """The calibration report of every calibrated kind, on test controls.

    Args:
        norm: Calibrated.
        cohort: Its training controls give means, SDs and what covariates alone predict; its calibration controls are
            those that the norm was calibrated on; its test controls are reported on.
        seed: Of the bootstrap.

    Returns:
        kind -> what `assess` gives; for `latent` the share of test controls with p < .05, which should be .05.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=2)).calibrate(cohort.calibrate)
        >>> list(calibration_report(norm, cohort))
        ['reconstruction']
    """
    design, observed = norm.preprocess.design(cohort.train), norm.preprocess.observed(cohort.train)
    covariates = ShrunkRegression.fit(design, observed, norm.preprocess.groups)
    reports = {kind: _assessment(norm, cohort, kind, covariates, seed) for kind in norm.calibrators}
    if "latent" not in norm.kinds:
        return reports
    dev = norm.deviations(cohort.test, "latent")
    shares = {name: share_significant(dev[name].to_numpy()[:, None]) for name in ("latent_p", "latent_conformal_p")}
    told = {name: {"value": s.value[0], "low": s.low[0], "high": s.high[0]} for name, s in shares.items()}
    smallest = 1 / (len(cohort.calibrate) + 1)
    return reports | {"latent": {"people": len(cohort.test), "smallest_p": smallest, "share_p_below_0.05": told}}


def _assessment(
    norm: NormativeModel, cohort: Cohort, kind: str, covariates: ShrunkRegression, seed: int
) -> dict[str, Any]:
    raws = [norm.raw(part, kind) for part in (cohort.calibrate, cohort.test)]
    calibrate, test = (
        (raw["z_raw"].to_numpy(), norm.preprocess.design(part))
        for raw, part in zip(raws, (cohort.calibrate, cohort.test), strict=True)
    )
    train = norm.preprocess.observed(cohort.train)
    prediction = Prediction(
        observed=norm.preprocess.observed(cohort.test),
        expected=raws[1]["expected"].to_numpy(),
        sd=raws[1]["sd"].to_numpy(),
        mean=np.nanmean(train, 0),
        spread=np.nanstd(train, 0),
        by_covariates=covariates.predict(test[1])[0],
    )
    calibrator, modality = norm.calibrators[kind], raws[0]["modality"].to_numpy()
    predictive = kind in ("cross_modal", "normative")
    people = cohort.test.covariates
    report = assess(
        calibrator,
        calibrate,
        test,
        people,
        cohort.kinds,
        modality,
        prediction=prediction,
        regions=raws[0]["region"].to_numpy(),
        predictive=predictive,
        seed=seed,
    )
    n, conformal = len(cohort.calibrate), calibrator.conformal
    told = {
        "name": calibrator.name,
        "people": n,
        "smallest_p": conformal.smallest,
        "smallest_p_in_every_region": 1 / (int(conformal.count.min()) + 1),
        "p_values": about_p(n, conformal.smallest, len(modality)),
    }
    report["conformal"] = _conformal_shares(norm.at_site("")(raws[1], test[1], kind))
    within = norm.at_site("").conformal_notes(kind)
    if within:
        told["conformal_within"] = {"by": norm.conformal_within, **within}
        notes = (f"{what}, p within {norm.conformal_within}: {within[key]}" for what, key in CONFORMAL if within[key])
        report["warnings"] = [*report["warnings"], *notes]
    return report | {"calibrator": told}


def _conformal_shares(dev: xr.Dataset) -> dict[str, dict[str, float]]:
    """Share of p at or below .05 in test controls: of regions, person by person, and of people by the omnibus p."""
    people = known_mean(np.where(np.isfinite(dev["p"]), dev["p"] <= LEVEL, np.nan))
    people = people[np.isfinite(people)]  # of whom any region was observed
    value, half = float(people.mean()), 1.96 * float(people.std(ddof=1)) / np.sqrt(len(people))
    omnibus = share_significant(dev["omnibus_p"].to_numpy()[:, None])
    return {
        "regions_p_below_0.05": {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half)},
        "omnibus_p_below_0.05": {"value": omnibus.value[0], "low": omnibus.low[0], "high": omnibus.high[0]},
    }
