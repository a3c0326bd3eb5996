"""The calibration report of a norm on healthy people that nothing was fitted on."""

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
        cohort: Its calibration controls are those that the norm was calibrated on (or adapted on, for a site); the
            report is about its test controls. Its training controls, where it has any, give means, SDs and the
            prediction from covariates alone, with which the predictions of the norm are compared.
        deviations: Deviations of the test controls, and perhaps of other people, dims (kind, subject, region); they are
            computed when None.
        site: A site that the norm was adapted to; '' for the sites of the training.
        seed: Seed of the bootstrap.

    Returns:
        kind -> the report of `assess`; for `latent` the share of test controls with p < .05, which should be .05.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=2)).calibrate(cohort.calibrate)
        >>> list(calibration_report(norm, cohort))
        ['reconstruction']
    """
    test, reports = cohort.test, {}
    for kind in norm.at_site(site).calibrators:
        dev = norm.deviations(test, kind) if deviations is None else _of(deviations.sel(kind=kind), test)
        reports[kind] = _of_kind(norm, cohort, dev, kind, site, seed)
    if "latent" in norm.kinds and not site:
        given = deviations is not None and "latent_p" in deviations
        reports["latent"] = _of_latents(_of(deviations, test) if given else norm.deviations(test, "latent"), cohort)
    return reports


def _of(deviations: xr.Dataset, people: Cohort) -> xr.Dataset:
    return deviations.sel(subject=people.ids.to_numpy(object).astype(str))


def _of_kind(norm: NormativeModel, cohort: Cohort, dev: xr.Dataset, kind: str, site: str, seed: int) -> dict[str, Any]:
    """The report of one regional kind: figures of z, the calibrator, and shares of small conformal p."""
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
    """Values of test controls beside the predictions of the model, of the training mean and of the covariates."""
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


def _of_latents(dev: xr.Dataset, cohort: Cohort) -> dict[str, Any]:
    shares = {name: share_significant(dev[name].to_numpy()[:, None]) for name in ("latent_p", "latent_conformal_p")}
    figures = {name: {"value": s.value[0], "low": s.low[0], "high": s.high[0]} for name, s in shares.items()}
    smallest = 1 / (len(cohort.calibrate) + 1)
    return {"people": len(cohort.test), "smallest_p": smallest, "share_p_below_0.05": figures}


def _conformal_shares(dev: xr.Dataset) -> dict[str, dict[str, float]]:
    """Share of p at or below .05 in test controls: of regions, person by person, and of people by the omnibus p."""
    people = known_mean(np.where(np.isfinite(dev["p"]), dev["p"] <= LEVEL, np.nan))
    people = people[np.isfinite(people)]  # people with an observed region
    value, half = float(people.mean()), 1.96 * float(people.std(ddof=1)) / np.sqrt(len(people))
    omnibus = share_significant(dev["omnibus_p"].to_numpy()[:, None])
    return {
        "regions_p_below_0.05": {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half)},
        "omnibus_p_below_0.05": {"value": omnibus.value[0], "low": omnibus.low[0], "high": omnibus.high[0]},
    }
