"""Fine tuning: a decoder with location and scale of its own for a new site, kept where held-out controls agree."""

import copy
import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyro_mmnorm.calibration.gaussian import squeezed_variance
from pyro_mmnorm.calibration.site import FEWEST_CONTROLS
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.preprocess import SiteUnits
from pyro_mmnorm.norm.normative_model import NormativeModel

__all__ = ["FEWEST_TUNED", "SHARE", "fine_tuned", "local_split", "site_units"]


FEWEST_TUNED = 50
"""Local controls from which fine tuning is tried."""
FOLDS = 5
JUDGES = ("cross_modal", "normative", "reconstruction", "local")  # a kind that predicts comes first


def fine_tuned(norm: NormativeModel, controls: Cohort, *, seed: int = 0) -> tuple[NormativeModel, dict[str, Any]]:
    r"""`norm.adapt(controls)`, with a decoder of its own for each new site whose held-out controls it predicts better.

    The decoder f and its noise get a location and a scale per region, whatever the likelihood,

    .. math:: x_{ij} = a_j + b_j \tilde x_{ij}, \qquad \tilde x \sim p(\cdot \mid f(z, c_i)),

    so that the posterior of the latents is that of :math:`(x - a) / b`: a shift or a stretch of a scanner no longer
    passes for anatomy. (`adapt` alone moves z, after the latents were inferred.) From the residuals of the local
    controls under `normative`, in SDs of the norm, a_j is their mean, shrunk towards the mean of all regions, and b_j^2
    their variance, shrunk as in `squeezed_variance`.

    Five folds of the local controls decide: a fold is scored by a norm adapted to the others, with and without, by the
    log density of a normal with the expected value and SD of each cell. The new decoder is kept where the mean gain a
    person is above its standard error. The calibrator of the site is then fitted to raw z of people whose own fold took
    no part in a and b.

    Args:
        norm: Calibrated.
        controls: As for `NormativeModel.adapt`; sites with fewer than 50 of them are only adapted to.
        seed: Of the folds.

    Returns:
        The adapted norm, and for each new site: controls, fine_tuned, why, and where it was tried gain (nats a region,
        mean over people) with its standard error.

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
    told: dict[str, Any] = {}
    for site in sorted(set(sites) - {""}):
        people = controls[(sites == site).to_numpy()]
        told[site] = {"controls": len(people), "fine_tuned": False}
        if len(people) < FEWEST_TUNED:
            told[site]["why"] = f"fewer than {FEWEST_TUNED} controls"
            continue
        fold = np.random.default_rng(seed).permutation(len(people)) % FOLDS
        try:
            told[site] |= _gain(norm, people, site, fold)
        except InputError as error:  # a likelihood of positive values may not bear a shift
            told[site]["why"] = f"the new decoder cannot be had: {error}"
            continue
        if told[site]["fine_tuned"]:
            adapted = _calibrated(norm, adapted, people, site, fold)
    return adapted, told


def _gain(norm: NormativeModel, people: Cohort, site: str, fold: NDArray[np.int64]) -> dict[str, Any]:
    """How much better the fold that was left out is predicted with units of its own."""
    judge, gains = copy.copy(norm), np.empty(len(people))
    kind = next(kind for kind in JUDGES if kind in norm.calibrators)
    judge.calibrators, judge.latent = {kind: norm.calibrators[kind]}, None
    for k in range(FOLDS):
        others, left = people[fold != k], people[fold == k]
        tuned = judge.measured(site, site_units(judge, others))
        plain, own = (_log_density(one.adapt(others), left, kind) for one in (judge, tuned))
        gains[fold == k] = own - plain
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    kept = gain > error
    why = f"held-out controls are predicted {'better' if kept else 'no better'} (kind {kind})"
    return {"fine_tuned": kept, "gain": gain, "standard_error": error, "why": why}


def _log_density(norm: NormativeModel, people: Cohort, kind: str) -> Floats:
    """Mean over the observed regions of each person, [n]."""
    dev = norm.deviations(people, kind)
    unit = (norm.preprocess.observed(people) - dev["expected"].to_numpy()) / dev["sd"].to_numpy()
    density: Floats = np.nanmean(-0.5 * unit**2 - np.log(dev["sd"].to_numpy()), axis=1)
    return density


def site_units(norm: NormativeModel, people: Cohort) -> SiteUnits:
    """Location and scale of every region at the site of these controls; see `fine_tuned`.

    Args:
        norm: Of other sites.
        people: Controls of one new site.
    """
    anyone = copy.copy(norm)
    anyone.unseen_site = "population"
    raw, (loc, scale) = anyone.raw(people, "normative"), norm.preprocess.units_at("")
    expected, sd = raw["expected"].to_numpy(), raw["sd"].to_numpy()
    observed = norm.preprocess.observed(people)
    seen = np.isfinite(observed)
    count = np.maximum(seen.sum(0), 2)
    unit = np.where(seen, (observed - expected) / sd, np.nan)
    known = seen.sum(0) > 2
    variance = np.where(known, np.nanvar(np.where(known, unit, 0.0), axis=0, ddof=1), 1.0)
    df, typical = squeezed_variance(variance[known], (count - 1.0)[known])
    prior = 0.0 if np.isinf(df) else 1 / df  # 0: regions differ by no more than chance
    shrunk = (typical + prior * (count - 1) * variance) / (1 + prior * (count - 1))
    b = np.sqrt(np.where(known, shrunk, typical))
    away = np.where(seen, (observed - loc - b * (expected - loc)) / sd, 0.0)
    mean, chance = away.sum(0) / count, b**2 / count
    average = float(mean[known].mean())
    between = max(0.0, float(((mean - average)[known] ** 2).mean() - chance[known].mean()))
    a = average + np.where(known, between / (between + chance), 0.0) * (mean - average)
    width = np.where(seen, sd, 0.0).sum(0) / count
    return SiteUnits(tuple((loc + np.where(known, width, 0.0) * a).tolist()), tuple((b * scale).tolist()))


def _calibrated(
    norm: NormativeModel, adapted: NormativeModel, people: Cohort, site: str, fold: NDArray[np.int64]
) -> NormativeModel:
    """The adapted norm with units of the site, its calibrator fitted to raw z out of fold."""
    raw: dict[str, Floats] = {kind: np.empty((len(people), len(norm.preprocess.names))) for kind in norm.calibrators}
    latents: list[Floats] = []
    for k in range(FOLDS):
        own, left = norm.measured(site, site_units(norm, people[fold != k])), people[fold == k]
        own.unseen_site = "population"
        for kind, z in raw.items():
            z[fold == k] = own.raw(left, kind)["z_raw"].to_numpy()
        latents.append(own.predictive.posterior_mean(own.preprocess(left)) if norm.latent else np.empty((len(left), 0)))
    mean = np.empty((len(people), latents[0].shape[1]))
    for k, part in enumerate(latents):
        mean[fold == k] = part
    tuned, anyone = adapted.measured(site, site_units(norm, people)), copy.copy(norm)
    anyone.unseen_site = "population"
    design, groups = anyone.preprocess.design(people), norm.conformal_groups(people)
    told = (mean if norm.latent else None, design, norm.preprocess.groups, site, groups)
    tuned.sites[site] = norm.at_site("").to_site(raw, *told)
    return tuned


SHARE = 2 / 3
"""Of the controls of a new site, those that it is adapted on, but at least 10; the others test."""


def local_split(sites: pd.Series, healthy: pd.Series, given: pd.Series | None = None, *, seed: int = 0) -> pd.Series:
    r"""Who a new site is adapted on (`calibrate`), which other controls are left (`test`), and the rest (`target`).

    Of n controls of a site :math:`\max(10, \lceil 2n/3 \rceil)` are drawn; by ids and seed, whatever the order of rows.

    Args:
        sites: New site of each person; '' for a site that needs no adaptation. Indexed by id, [n].
        healthy: True for controls, [n].
        given: `calibrate`, `test`, `target` (or `train`, which tests) of each person, instead of the draw.
        seed: Of the draw.

    Raises:
        InputError: When a site has fewer than 10 controls to be adapted on; it names the site.

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
            todo = "find more, or take the answer for the population (mmnorm score, deviations.unseen_site: population)"
            raise InputError(f"site {site!r}", f"{len(chosen)} controls", f"at least {FEWEST_CONTROLS}", todo)
        label[chosen] = "calibrate"
    return label
