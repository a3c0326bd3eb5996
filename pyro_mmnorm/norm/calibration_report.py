"""The calibration report of a norm on test controls, on whom nothing was fitted."""

from typing import Any

import numpy as np
import xarray as xr

from pyro_mmnorm.calibration.calibrated import Calibrated
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.evaluation.assess import assess
from pyro_mmnorm.evaluation.sentences import about_p
from pyro_mmnorm.evaluation.sums import Prediction
from pyro_mmnorm.norm.normative_model import NormativeModel
from pyro_mmnorm.results.schema import PREDICTIVE_KINDS
from pyro_mmnorm.stats.contrasts import share_significant
from pyro_mmnorm.stats.metrics import known_mean
from pyro_mmnorm.stats.regression import ShrunkRegression

__all__ = ["calibration_report"]

LEVEL = 0.05
CONFORMAL = (("Regions", "note"), ("Omnibus", "omnibus_note"))


def calibration_report(
    norm: NormativeModel, cohort: Cohort, deviations: xr.Dataset | None = None, *, site: str = "", seed: int = 0
) -> dict[str, Any]:
    """The calibration report of every calibrated kind, on test controls.

    Args:
        norm: Calibrated.
        cohort: Its calibration controls must be those on whom the norm was calibrated (or adapted to the site). The
            report describes its test controls. Its training controls, if any, give means, SDs and predictions from
            covariates alone, with which the predictions of the norm are compared.
        deviations: Deviations of the test controls, and optionally of other people, dims (kind, subject, region);
            computed when None.
        site: A site to which the norm was adapted; '' for the sites of the training.
        seed: Seed of the bootstrap.

    Returns:
        Kind -> the report of `assess`; for `latent` the share of test controls with p < .05, expected to be .05.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=2)).calibrate(cohort.calibrate)
        >>> list(calibration_report(norm, cohort))
        ['reconstruction']
    """
    test, reports = cohort.test, {}
    for kind in norm.at_site(site).calibrators:
        dev = norm.deviations(test, kind) if deviations is None else _select(deviations.sel(kind=kind), test)
        reports[kind] = _regional_report(norm, cohort, dev, kind, site, seed)
    if "latent" in norm.kinds and not site:
        if deviations is not None and "latent_p" in deviations:
            dev = _select(deviations, test)
        else:
            dev = norm.deviations(test, "latent")
        reports["latent"] = _latent_report(dev, cohort)
    return reports


def _select(deviations: xr.Dataset, people: Cohort) -> xr.Dataset:
    """The deviations of these people."""
    return deviations.sel(subject=people.ids.to_numpy(object).astype(str))


def _regional_report(
    norm: NormativeModel, cohort: Cohort, dev: xr.Dataset, kind: str, site: str, seed: int
) -> dict[str, Any]:
    """The report of one regional kind: measures of z, the calibrator, and shares of small conformal p."""
    calibrated, test = norm.at_site(site), cohort.test
    controls = norm.controls(cohort.calibrate, site)
    calibrator, design = calibrated.calibrators[kind], norm.preprocess.design(test)
    report = assess(
        calibrator,
        (controls.raw[kind], controls.design),
        (dev["z_raw"].to_numpy(), design),
        test.covariates,
        test.kinds,
        dev["modality"].to_numpy(),
        prediction=_prediction(norm, cohort, calibrated, dev, design, kind) if len(cohort.train) else None,
        regions=dev["region"].to_numpy(),
        predictive=kind in PREDICTIVE_KINDS,
        seed=seed,
    )
    people, conformal = len(cohort.calibrate), calibrator.conformal
    report["conformal"] = _conformal_shares(dev)
    report["calibrator"] = {
        "name": calibrator.name,
        "people": people,
        "smallest_p": conformal.smallest,
        "smallest_p_in_every_region": 1 / (int(conformal.count.min()) + 1),
        "p_values": about_p(people, conformal.smallest, dev.sizes["region"]),
    }
    if within := calibrated.conformal_notes(kind):
        by = norm.conformal_within
        report["calibrator"]["conformal_within"] = {"by": by, **within}
        notes = (f"{what}, p within {by}: {within[key]}" for what, key in CONFORMAL if within[key])
        report["warnings"] = [*report["warnings"], *notes]
    return report


def _prediction(
    norm: NormativeModel, cohort: Cohort, calibrated: Calibrated, dev: xr.Dataset, design: Floats, kind: str
) -> Prediction:
    """Values of test controls, with the predictions of the model, of the training mean and of the covariates."""
    train = norm.preprocess.observed(cohort.train)
    covariates = ShrunkRegression.fit(norm.preprocess.design(cohort.train), train, norm.preprocess.groups)
    expected, sd = calibrated.uncalibrated(dev, design, kind)
    return Prediction(
        observed=norm.preprocess.observed(cohort.test),
        expected=expected,
        sd=sd,
        mean=np.nanmean(train, 0),
        spread=np.nanstd(train, 0),
        by_covariates=covariates.predict(design)[0],
    )


def _latent_report(dev: xr.Dataset, cohort: Cohort) -> dict[str, Any]:
    """Shares of test controls with a small p of the latent distance."""
    shares = {name: _share_below(dev[name].to_numpy()) for name in ("latent_p", "latent_conformal_p")}
    smallest = 1 / (len(cohort.calibrate) + 1)
    return {"people": len(cohort.test), "smallest_p": smallest, "share_p_below_0.05": shares}


def _share_below(p: Floats) -> dict[str, float]:
    """Share of people [n] with p < .05, with its interval."""
    share = share_significant(p[:, None])
    return {"value": share.value[0], "low": share.low[0], "high": share.high[0]}


def _conformal_shares(dev: xr.Dataset) -> dict[str, dict[str, float]]:
    """Shares of conformal p <= .05 in test controls: mean over people of the share of regions, and the omnibus p."""
    people = known_mean(np.where(np.isfinite(dev["p"]), dev["p"] <= LEVEL, np.nan))
    people = people[np.isfinite(people)]  # people with an observed region
    value, half = float(people.mean()), 1.96 * float(people.std(ddof=1)) / np.sqrt(len(people))
    return {
        "regions_p_below_0.05": {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half)},
        "omnibus_p_below_0.05": _share_below(dev["omnibus_p"].to_numpy()),
    }
