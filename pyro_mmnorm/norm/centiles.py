"""Charts: centile curves of a region over age, and the values of people for comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.covariates import SITE, Term
from pyro_mmnorm.data.preprocess import LOCAL, Preprocess
from pyro_mmnorm.norm.normative_model import NormativeModel

__all__ = ["CENTILES", "centiles", "people_beside", "profile_centiles"]

CENTILES = (1, 5, 25, 50, 75, 95, 99)
"""Default centiles of a chart."""
PROFILE_CENTILES, PROFILES, DRAWS = (5, 25, 50, 75, 95), 12, 256


def centiles(
    norm: NormativeModel,
    region: str | Sequence[str],
    centiles: Sequence[float] = CENTILES,
    *,
    by: str = "age",
    at: Mapping[str, Any] | None = None,
    points: int = 60,
    draws: int | None = None,
) -> xr.DataArray:
    r"""Centile curves of regions over the training range of a covariate, in the units of the table.

    A value on the curve of centile q has the calibrated `normative` z :math:`\Phi^{-1}(q / 100)` among people with the
    covariates `at`. Curves of one chart never cross.

    Args:
        norm: Calibrated for kind `normative`.
        region: `<modality>.<region>`, or several of them at little additional cost.
        centiles: In increasing order, between 0 and 100.
        by: A covariate of kind spline or linear.
        at: Value of every other covariate, such as {"sex": "F", "site": "Bern"}; a site to which the norm was adapted
            has its own calibration.
        points: Number of points of the grid over `by`, at least 2.
        draws: Draws from the prior; None: as many as the norm has. 512 suffice for an overview of many regions.

    Returns:
        dims (centile, `by`), named as the region, with the covariates `at` as coordinates; for several regions
        (region, centile, `by`).

    Raises:
        InputError: For a norm without kind `normative`, an unknown region or covariate, or a value outside the range of
            training.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=2), normative_draws=64)
        >>> norm = norm.calibrate(cohort.calibrate, ("normative",))
        >>> curves = mm.centiles(norm, "cortical.region01", (5, 50, 95), at={"sex": "F"}, points=10)
        >>> curves.dims, bool((curves.diff("centile") > 0).all())
        (('centile', 'age'), True)
        >>> mm.centiles(norm, norm.preprocess.names[:3], (50,), at={"sex": "F"}, points=2).sizes["region"]
        3
    """
    names = [region] if isinstance(region, str) else list(region)
    at, preprocess = dict(at or {}), norm.preprocess
    if "normative" not in norm.kinds:
        todo = 'call calibrate(cohort.calibrate, ("normative",)), or list it in deviations.kinds'
        raise InputError("centiles", "a norm not calibrated for kind 'normative'", "one that is", todo)
    for name in names:
        if name not in preprocess.names:
            raise InputError("region", repr(name), f"one of {preprocess.names[:5]} ...", "correct the name")
    q = np.asarray(centiles, float)
    if not len(q) or not (np.diff(q) > 0).all() or not ((q > 0) & (q < 100)).all() or points < 2:
        want = "increasing centiles between 0 and 100, at 2 or more points"
        raise InputError("centiles", f"{centiles} at {points} points", want, "correct them")
    term = _checked(preprocess, by, at)
    grid = np.linspace(term.low or 0.0, term.high or 0.0, points)
    design = preprocess.encoded(pd.DataFrame({by: grid, **{name: [value] * points for name, value in at.items()}}))
    site = str(at.get(SITE, LOCAL))
    calibrator, (loc, scale) = norm.at_site(site).calibrators["normative"], preprocess.units_at(site)
    raw = np.stack([calibrator.inverse_transform(z, design) for z in special.ndtri(q / 100)])
    predictive = (norm.with_draws(normative_draws=draws) if draws else norm).predictive
    values = np.full((len(names), len(q), points), np.nan)
    for m, regions in preprocess.regions.items():
        own = [i for i, name in enumerate(names) if name.partition(".")[0] == m]
        if own:
            columns = [preprocess.names.index(names[i]) for i in own]
            places = [regions.index(names[i].partition(".")[2]) for i in own]
            x = predictive.quantile(preprocess.blank(design), raw[..., columns], m, places)
            values[own] = np.moveaxis(x * scale[columns] + loc[columns], -1, 0)
    curves = xr.DataArray(values, {"region": names, "centile": q, by: grid, **at}, ("region", "centile", by))
    return curves[0].drop_vars("region").rename(region) if isinstance(region, str) else curves


def profile_centiles(norm: NormativeModel, calibrate: Cohort, people: Cohort, *, points: int = 7) -> xr.Dataset:
    """Centile curves of every region for the most frequent profiles of categorical covariates.

    A profile is a value of every covariate of kind category, such as women of one site. The 12 most frequent profiles
    known to the norm are used. The curves run over age, or over the first numeric covariate if none is called `age`.
    All other numeric covariates are at their median. A norm without kind `normative` is calibrated for it in a copy.

    Args:
        norm: Calibrated for any kind.
        calibrate: The controls on whom it was calibrated.
        people: The people whose profiles are counted.
        points: Number of points of the grid.

    Returns:
        `value`, dims (profile, region, centile, age), in the units of the table. Categorical covariates are coordinates
        of the profiles, the others are scalars. Empty without a numeric covariate.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=2)).calibrate(cohort.calibrate)
        >>> curves = profile_centiles(norm, cohort.calibrate, cohort.test, points=2)
        >>> dict(curves["value"].sizes), sorted(curves["sex"].to_numpy().tolist())
        ({'profile': 2, 'region': 42, 'centile': 5, 'age': 2}, ['F', 'M'])
    """
    terms = {term.name: term for term in norm.preprocess.terms}
    numbers = [name for name, term in terms.items() if term.low is not None]
    if not numbers:
        return xr.Dataset()
    by = "age" if "age" in numbers else numbers[0]
    traits = [name for name in terms if name not in numbers]
    known = people.covariates[people.covariates[traits].isin({name: terms[name].levels for name in traits}).all(axis=1)]
    profiles = known.value_counts(traits).head(PROFILES).index.to_frame(index=False) if traits else pd.DataFrame([{}])
    fixed = {name: float(calibrate.covariates[name].median()) for name in numbers if name != by}
    if not len(profiles):
        return xr.Dataset()
    if "normative" not in norm.kinds:
        norm = norm.with_draws(normative_draws=DRAWS).calibrate(calibrate, ("normative",))
    curves = [
        centiles(
            norm, norm.preprocess.names, PROFILE_CENTILES, by=by, at={**fixed, **at}, points=points, draws=DRAWS
        ).drop_vars(list(at))
        for at in ({str(name): value for name, value in row.items()} for row in profiles.to_dict("records"))
    ]
    values = xr.concat(curves, "profile", join="exact").to_dataset(name="value")
    return values.assign_coords({name: ("profile", profiles[name].to_numpy(str)) for name in traits})


def people_beside(curves: xr.DataArray, cohort: Cohort) -> pd.DataFrame:
    """Values of the people to whom a chart applies: those with its values of the categorical covariates.

    Args:
        curves: Result of `centiles`.
        cohort: People, such as test controls and patients.

    Returns:
        A row per person in whom the region was observed: covariate of the chart, value, group; indexed by id.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> curves = xr.DataArray([[1.0, 1.0]], {"centile": [50], "age": [50, 60], "sex": "F"}, ("centile", "age"))
        >>> list(people_beside(curves.rename("cortical.region01"), cohort.test))
        ['age', 'value', 'group']
    """
    (m, _, name), by = str(curves.name).partition("."), str(curves.dims[1])
    people = pd.DataFrame(
        {by: cohort.covariates[by], "value": cohort.values[m][name], "group": cohort.group}, index=cohort.ids
    )
    matches = pd.Series(True, index=cohort.ids)
    for covariate, kind in cohort.kinds.items():
        if kind == "category" and covariate in curves.coords:
            matches &= cohort.covariates[covariate] == curves.coords[covariate].item()
    return people[matches & people["value"].notna()]


def _checked(preprocess: Preprocess, by: str, at: Mapping[str, Any]) -> Term:
    """The covariate of the horizontal axis, after a check that `at` gives all others within their range."""
    terms = {term.name: term for term in preprocess.terms}
    numbers = [name for name, term in terms.items() if term.low is not None]
    if by not in numbers:
        raise InputError("by", repr(by), f"one of {numbers}", "choose a covariate of kind spline or linear")
    if set(at) != set(terms) - {by}:
        wrong = sorted(set(at) ^ (set(terms) - {by}))
        want = f"{sorted(set(terms) - {by})}"
        raise InputError("at", f"{wrong} missing or not needed", want, "give exactly these covariates")
    for name in numbers:
        low, high = terms[name].low or 0.0, terms[name].high or 0.0
        if name != by and not low <= at[name] <= high:
            raise InputError(
                f"at: {name}", repr(at[name]), f"{low:g} to {high:g}, as in training", "choose a value in this range"
            )
    return terms[by]
