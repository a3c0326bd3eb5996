"""New sites: fine-tuning of the decoder for a site with many controls, and the split of local controls."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyro_mmnorm.calibration.gaussian import variance_prior
from pyro_mmnorm.calibration.site import FEWEST_CONTROLS
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.preprocess import SiteUnits
from pyro_mmnorm.norm.normative_model import NormativeModel

__all__ = ["FEWEST_TUNED", "SHARE", "fine_tuned", "local_split", "site_units"]

FEWEST_TUNED = 50
"""Fewest local controls for fine-tuning."""
FOLDS = 5
JUDGES = ("cross_modal", "normative", "reconstruction", "local")
"""Fine-tuning is judged by the first of these kinds that is calibrated; predictive kinds come first."""
SHARE = 2 / 3
"""Share of the controls of a new site (but at least 10 people) used for adaptation; the others are test controls."""


def fine_tuned(norm: NormativeModel, controls: Cohort, *, seed: int = 0) -> tuple[NormativeModel, dict[str, Any]]:
    r"""Adapt a norm, with a fine-tuned decoder for each new site where this improves held-out prediction.

    For any likelihood, the decoder f and its noise get a location and a scale per region,

    .. math:: x_{ij} = a_j + b_j \tilde x_{ij}, \qquad \tilde x \sim p(\cdot \mid f(z, c_i)),

    and the latents are inferred from :math:`(x - a) / b`, so that a shift or scale of the scanner is not attributed to
    anatomy. (`adapt` alone shifts z after the inference of the latents.) a_j is the mean of the residuals of the local
    controls under `normative`, in SDs of the norm, shrunk towards the mean of all regions. b_j^2 is their variance,
    shrunk as in `variance_prior`.

    Five-fold cross-validation over the local controls decides. Each fold is scored by a norm adapted to the others,
    with and without fine-tuning, by the normal log density at the predicted mean and SD of each cell. The fine-tuned
    decoder is kept where the mean gain per person exceeds its standard error. The calibrator of the site is then fitted
    to raw z of people whose own fold was not used for a and b.

    Args:
        norm: Calibrated.
        controls: As in `NormativeModel.adapt`; for sites with fewer than 50 of them there is no fine-tuning.
        seed: Seed of the folds.

    Returns:
        The adapted norm, and for each new site: controls, fine_tuned, why, and after fine-tuning gain (nats per region,
        mean over people) with its standard_error.

    Raises:
        InputError: As in `NormativeModel.adapt`.

    References:
        Johnson, Li & Rabinovic (2007), Adjusting batch effects, https://doi.org/10.1093/biostatistics/kxj037

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, sites=2, seed=1).to_cohort()
        >>> model = mm.LinearGaussian.for_cohort(cohort, "regression")
        >>> norm = mm.NormativeModel(model).calibrate(cohort.calibrate)
        >>> fine_tuned(norm, cohort.test)
        Traceback (most recent call last):
        ...
        pyro_mmnorm.core.errors.InputError: adapt: only sites met in training; expected ...
    """
    adapted, sites = norm.adapt(controls), norm.new_sites(controls)
    reports: dict[str, Any] = {}
    for site in sorted(set(sites) - {""}):
        people = controls[(sites == site).to_numpy()]
        reports[site] = {"controls": len(people), "fine_tuned": False}
        if len(people) < FEWEST_TUNED:
            reports[site]["why"] = f"fewer than {FEWEST_TUNED} controls"
            continue
        fold = np.random.default_rng(seed).permutation(len(people)) % FOLDS
        try:
            reports[site] |= _gain(norm, people, site, fold)
        except InputError as error:  # with positive likelihoods a shift may leave the support
            reports[site]["why"] = f"fine-tuning is not possible: {error}"
            continue
        if reports[site]["fine_tuned"]:
            adapted = _with_fine_tuned_site(norm, adapted, people, site, fold)
    return adapted, reports


def _gain(norm: NormativeModel, people: Cohort, site: str, fold: NDArray[np.int64]) -> dict[str, Any]:
    """Cross-validated gain in log density of fine-tuning over adaptation alone; kept if above its standard error."""
    kind = next(kind for kind in JUDGES if kind in norm.calibrators)
    plain, gains = norm.only(kind), np.empty(len(people))
    for k in range(FOLDS):
        others, left_out = people[fold != k], people[fold == k]
        tuned = plain.with_units(site, site_units(plain, others))
        before, after = (_log_density(one.adapt(others), left_out, kind) for one in (plain, tuned))
        gains[fold == k] = after - before
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    kept = gain > error
    why = f"held-out controls are predicted {'better' if kept else 'no better'} (kind {kind})"
    return {"fine_tuned": kept, "gain": gain, "standard_error": error, "why": why}


def _log_density(norm: NormativeModel, people: Cohort, kind: str) -> Floats:
    """Mean normal log density over the observed regions of each person, up to a constant, [n]."""
    dev = norm.deviations(people, kind)
    unit = (norm.preprocess.observed(people) - dev["expected"].to_numpy()) / dev["sd"].to_numpy()
    density: Floats = np.nanmean(-0.5 * unit**2 - np.log(dev["sd"].to_numpy()), axis=1)
    return density


def site_units(norm: NormativeModel, people: Cohort) -> SiteUnits:
    """Location and scale of every region at a new site, in the units of the table; see `fine_tuned`.

    Args:
        norm: Calibrated on other sites.
        people: Controls of the new site.
    """
    raw, (loc, scale) = norm.as_population().raw(people, "normative"), norm.preprocess.units_at("")
    expected, sd = raw["expected"].to_numpy(), raw["sd"].to_numpy()
    values = norm.preprocess.observed(people)
    seen = np.isfinite(values)
    count, known = np.maximum(seen.sum(0), 2), seen.sum(0) > 2
    # variance of the standardised residuals of each region, shrunk towards their typical variance
    unit = np.where(seen & known, (values - expected) / sd, np.where(known, np.nan, 0.0))
    variance = np.where(known, np.nanvar(unit, axis=0, ddof=1), 1.0)
    df, typical = variance_prior(variance[known], (count - 1.0)[known])
    prior = 0.0 if np.isinf(df) else 1 / df  # 0: regions differ by no more than chance
    shrunk = (typical + prior * (count - 1) * variance) / (1 + prior * (count - 1))
    b = np.sqrt(np.where(known, shrunk, typical))
    # mean residual after that scaling, shrunk towards the mean of all regions as far as chance explains it
    residual = np.where(seen, (values - loc - b * (expected - loc)) / sd, 0.0)
    mean, chance = residual.sum(0) / count, b**2 / count
    average = float(mean[known].mean())
    between = max(0.0, float(((mean - average)[known] ** 2).mean() - chance[known].mean()))
    a = average + np.where(known, between / (between + chance), 0.0) * (mean - average)
    # back from SDs of the norm to the units of the table
    width = np.where(known, np.where(seen, sd, 0.0).sum(0) / count, 0.0)
    return SiteUnits(tuple((loc + width * a).tolist()), tuple((b * scale).tolist()))


def _with_fine_tuned_site(
    norm: NormativeModel, adapted: NormativeModel, people: Cohort, site: str, fold: NDArray[np.int64]
) -> NormativeModel:
    """The adapted norm with the units of the site, and a calibrator of the site fitted to out-of-fold raw z."""
    raw: dict[str, Floats] = {kind: np.empty((len(people), len(norm.preprocess.names))) for kind in norm.calibrators}
    latents: Floats | None = None
    for k in range(FOLDS):
        left_out = people[fold == k]
        own = norm.with_units(site, site_units(norm, people[fold != k])).as_population()
        for kind, z in raw.items():
            z[fold == k] = own.raw(left_out, kind)["z_raw"].to_numpy()
        if norm.latent:
            mean = own.posterior_mean(left_out)
            latents = np.empty((len(people), mean.shape[1])) if latents is None else latents
            latents[fold == k] = mean
    tuned = adapted.with_units(site, site_units(norm, people))
    return tuned.with_site(site, norm.calibrate_site(site, people, raw, latents))


def local_split(sites: pd.Series, healthy: pd.Series, given: pd.Series | None = None, *, seed: int = 0) -> pd.Series:
    r"""Split people of new sites: controls for adaptation (`calibrate`), other controls (`test`), the rest (`target`).

    Of n controls of a site, :math:`\max(10, \lceil 2n/3 \rceil)` are drawn for adaptation. The draw depends on ids and
    seed, not on the order of rows.

    Args:
        sites: New site of each person; '' for a site that needs no adaptation. Indexed by id, [n].
        healthy: True for controls, [n].
        given: `calibrate`, `test`, `target` (or `train`, treated as `test`) of each person, instead of the draw.
        seed: Seed of the draw.

    Raises:
        InputError: When a site has fewer than 10 controls for adaptation; it names the site.

    Examples:
        >>> ids = [f"s{i:02d}" for i in range(40)]
        >>> split = local_split(pd.Series("Basel", ids), pd.Series([True] * 30 + [False] * 10, ids))
        >>> split.value_counts().sort_index().to_dict()
        {'calibrate': 20, 'target': 10, 'test': 10}
    """
    label = pd.Series(np.where(healthy, "test", "target"), index=sites.index, name="split", dtype=str)
    for site in sorted(set(sites) - {""}):
        controls = sites.index[(sites == site) & healthy].sort_values()
        if given is None:
            size = max(FEWEST_CONTROLS, math.ceil(SHARE * len(controls)))
            chosen = np.random.default_rng(seed).permutation(controls.to_numpy(object))[:size]
        else:
            chosen = controls[(given[controls] == "calibrate").to_numpy()].to_numpy(object)
        if len(chosen) < FEWEST_CONTROLS:
            todo = "add controls, or score without adaptation (mmnorm score, deviations.unseen_site: population)"
            raise InputError(f"site {site!r}", f"{len(chosen)} controls", f"at least {FEWEST_CONTROLS}", todo)
        label[chosen] = "calibrate"
    return label
