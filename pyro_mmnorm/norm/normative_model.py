"""NormativeModel: a trained model with its calibrators, and the deviations of people from it."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from pyro_mmnorm.calibration.calibrated import Calibrated, Controls, conformal_groups
from pyro_mmnorm.calibration.calibrators import CALIBRATORS
from pyro_mmnorm.calibration.conformal import mean_square
from pyro_mmnorm.calibration.mahalanobis import LatentNorm
from pyro_mmnorm.calibration.missing_patterns import calibrated_by_pattern, widths_of
from pyro_mmnorm.calibration.protocol import Calibrator, Fit
from pyro_mmnorm.config import DEVIATION_DEFAULTS as DEFAULTS
from pyro_mmnorm.core.errors import InputError, check_known
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.covariates import SITE
from pyro_mmnorm.data.preprocess import LOCAL, Preprocess, SiteUnits
from pyro_mmnorm.distributions.latent import DiagonalNormal
from pyro_mmnorm.inference.evidence import evidence
from pyro_mmnorm.inference.predictive import predictor
from pyro_mmnorm.inference.raw_deviations import Predictor
from pyro_mmnorm.models.linear import LinearGaussian
from pyro_mmnorm.models.vae import MMVAE
from pyro_mmnorm.norm import checkpoint
from pyro_mmnorm.results.person_measures import member_spread
from pyro_mmnorm.results.schema import KINDS, REGIONAL, joined

__all__ = ["SETTINGS", "NormativeModel", "load"]


REFINE = 5
"""Default number of refinement steps of each person's posterior, where it can be refined."""
FEWEST = 10
"""Fewest calibration controls."""
SMALLEST_SPREAD = 1e-3
CELLS = 2**19
"""People x regions whose deviations are computed at once: 4 MiB per variable, of which there are about 20."""


class NormativeModel:
    r"""A trained model with calibrators: the norm with which people are compared.

    For person i and region j the predictive distribution is the mixture over draws

    .. math:: F_{ij}(x) = \frac1S \sum_s F(x \mid z_s, c_i)

    with z_s drawn as the kind of deviation requires (see `Predictive`), and the raw deviation is
    :math:`z^{raw}_{ij} = \Phi^{-1}(F_{ij}(x_{ij}))`, negative when the region is smaller than expected. A calibrator
    fitted on held-out controls maps raw to calibrated z. Raw z of people who lack modalities are divided by the width
    of z in the same controls with these modalities masked, see `pattern_widths`.

    Args:
        model: Trained, with its preprocessing; a `LinearGaussian` needs no draws.
        draws: Draws of the latents per person (and ensemble member).
        normative_draws: Draws from the prior, for kind `normative`.
        refine: Refinement steps of each person's posterior; None: 5 where it is diagonal normal (poe, gpoe), else 0.
        calibrator: Name in `CALIBRATORS`, or a `Fit`.
        seed: Seed of the random draws, which are common to all people.
        unseen_site: People of a site that was neither in training nor adapted to: `refuse`, or `population`, which
            scores them without a site effect.
        outside_range: People with an age (or other number) beyond its range in training: `flag` or `refuse`.
        conformal_within: Conformal p among calibration controls of the same level of this category, or (`pattern`) with
            the same observed modalities; see `Mondrian`. None: among all calibration controls.

    Raises:
        InputError: For a model without preprocessing, or an unknown calibrator.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
        >>> model = mm.MMVAE.for_cohort(cohort, latent_dim=4)
        >>> history = mm.fit(model, cohort.train, mm.TrainConfig(epochs=2), progress=False)
        >>> norm = mm.NormativeModel(model).calibrate(cohort.calibrate)
        >>> norm.deviations(cohort.target)["z"].dims
        ('subject', 'region')
    """

    def __init__(
        self,
        model: MMVAE | LinearGaussian,
        *,
        draws: int = DEFAULTS.draws,
        normative_draws: int = DEFAULTS.normative_draws,
        refine: int | None = DEFAULTS.refine,
        calibrator: str | Fit = DEFAULTS.calibrator,
        seed: int = 0,
        unseen_site: Literal["refuse", "population"] = DEFAULTS.unseen_site,
        outside_range: Literal["flag", "refuse"] = DEFAULTS.outside_range,
        conformal_within: str | None = DEFAULTS.conformal_within,
    ) -> None:
        if model.preprocess is None:
            want, todo = "a model with preprocessing", "build it with MMVAE.for_cohort"
            raise InputError("NormativeModel", "a model without preprocessing", want, todo)
        if isinstance(calibrator, str) and calibrator not in CALIBRATORS:
            want, todo = f"one of {sorted(CALIBRATORS)}", "use one of these, or put your own in CALIBRATORS"
            raise InputError("deviations.calibrator", repr(calibrator), want, todo)
        check_known("deviations.unseen_site", unseen_site, ("refuse", "population"))
        check_known("deviations.outside_range", outside_range, ("flag", "refuse"))
        self.model, self.draws, self.normative_draws, self.seed = model, draws, normative_draws, seed
        self.refine, self.calibrator, self._trained = refine, calibrator, model.preprocess
        self.unseen_site, self.outside_range, self.conformal_within = unseen_site, outside_range, conformal_within
        self.calibration, self.sites = Calibrated(), dict[str, Calibrated]()
        self.spread: Floats | None = None
        self.widths: dict[str, dict[str, float]] = {}

    def calibrate(self, cohort: Cohort, kinds: tuple[str, ...] = ("reconstruction",)) -> Self:
        """Fit a calibrator per kind on held-out controls; earlier calibrations and sites are replaced. Returns self.

        Args:
            cohort: Controls that were not used in training (`cohort.calibrate`), at least 10.
            kinds: Some of `KINDS`.

        Raises:
            InputError: With fewer than 10 controls, or for an unknown kind.
        """
        if (n := len(cohort)) < FEWEST:
            raise InputError("calibrate", f"{n} controls", f"at least {FEWEST}", "hold out more healthy people")
        for kind in kinds:
            _check_kind(kind)
        fresh = self._copy_with(calibration=Calibrated(), sites={}, widths={}, spread=None)
        fresh.calibration = fresh._calibrated_on(cohort, kinds)
        vars(self).update(vars(fresh))  # only now: after an error the norm is as it was
        return self

    def deviations(self, cohort: Cohort, kind: str = "reconstruction") -> xr.Dataset:
        """Calibrated deviations of people; dims (subject, region), NaN where a region was not observed.

        Args:
            cohort: People.
            kind: A kind that is calibrated.

        Returns:
            z: calibrated z; z_raw: raw z; p: two-sided conformal p; q: Benjamini-Hochberg FDR of the p-value of z over
            the regions of a person; expected, sd: mean and SD that the norm predicts, in the units of the table;
            extrapolated: |z| above those of all calibration controls; left_out: cells excluded from the inference of
            the latents (kind `local`); omnibus, omnibus_p (subject): mean z^2 and its conformal p; mse (subject): mean
            squared error of the predicted mean, in training SDs. With `conformal_within`, also p_within and
            omnibus_p_within: whether a p is one within the person's group.

            Kind `latent` has dims (subject, latent) and other variables, see `LatentNorm`.

            Ensembles have z_member_sd, flagged_by_member and, by subject, <measure>_member_sd: the spread of the
            results of each member alone with the same calibrator, see `member_spread`. This doubles the computing time.

            Coordinates of the subjects: outside_range, the covariates beyond their range in training, and site_known
            where `site` is a covariate.

        Raises:
            InputError: Before `calibrate`; for people of an unknown site (unless `unseen_site` is `population`), or
                beyond the range of training (if `outside_range` is `refuse`).
        """
        if kind not in self.kinds:
            got = f"kind {kind!r} is not calibrated"
            raise InputError("deviations", got, f"one of {sorted(self.kinds)}", "call calibrate first")
        self.preprocess.outside(cohort, refuse=self.outside_range == "refuse")
        if kind == "latent":
            mean = (("subject", "latent"), self.posterior_mean(cohort))
            raw = xr.Dataset({"mean": mean}, self._person_coordinates(cohort), {"members": self.model.members})
            return self._calibrate_by_site(raw, cohort, kind)
        step = max(1, CELLS // len(self.preprocess.names))
        parts = (cohort[list(cohort.ids[begin : begin + step])] for begin in range(0, max(1, len(cohort)), step))
        return joined((self._regional_deviations(people, kind) for people in parts), len(cohort))

    def raw(self, cohort: Cohort, kind: str = "reconstruction", *, member: int | None = None) -> xr.Dataset:
        """Raw deviations of people; dims (subject, region).

        Args:
            cohort: People.
            kind: One of `REGIONAL`.
            member: Predictions of this ensemble member alone; None: of the mixture of all members.

        Returns:
            z_raw; expected, sd: mean and SD of the prediction, in the units of the table; left_out: cells excluded from
            the inference of the latents (kind `local`).

        Raises:
            InputError: For an unknown kind, or values outside the support of the likelihood.
        """
        _check_kind(kind, REGIONAL)
        batch, predictive = self.preprocess(cohort), self.predictive
        self.model.check_support(batch)
        scores = (predictive if member is None else predictive.member(member))(batch, kind)
        observed = np.concatenate([batch.observed[m].numpy() for m in self.preprocess.regions], 1)
        (loc, scale), width = self.preprocess.units_of(cohort), self._width(cohort, kind)
        variables = {
            "z_raw": np.where(observed, scores.z / width, np.nan),
            "expected": scores.loc * scale + loc,
            "sd": scores.scale * scale * width,
            "left_out": scores.flagged,
        }
        coords = self._person_coordinates(cohort) | self.preprocess.coordinates
        return xr.Dataset({name: (("subject", "region"), x) for name, x in variables.items()}, coords)

    def posterior_mean(self, cohort: Cohort) -> Floats:
        """Posterior means of the latents of people, [n, members * k]."""
        return self.predictive.posterior_mean(self.preprocess(cohort))

    def log_evidence(self, cohort: Cohort) -> pd.Series:
        """Log density of all observed values of each person, in model units; for an MMVAE a lower bound."""
        batch, steps = self.preprocess(cohort), self.refine_steps
        nats = evidence(self.model, batch, draws=self.draws, refine=steps, seed=self.seed)
        return pd.Series(nats, index=cohort.ids, name="log_evidence")

    @property
    def refine_steps(self) -> int:
        """Number of refinement steps of each posterior: `refine`, or the default for its family."""
        if self.refine is not None:
            return self.refine
        one = self.preprocess.blank()
        with torch.no_grad():
            return REFINE if isinstance(self.model.posterior(one), DiagonalNormal) else 0

    def adapt(self, controls: Cohort) -> Self:
        """A copy of this norm that is also valid for the sites of these controls.

        Every calibrated kind gets a calibrator of each new site, see `calibration.site.adapt`; the model stays the
        same. Kind `latent` is fitted anew, and is NaN for people of a site with too few controls for it.

        Args:
            controls: Healthy people of sites that were not in training, at least 10 of each; controls of other sites
                are ignored. A norm trained without the covariate `site` assigns them, and everybody later, to one new
                site.

        Raises:
            InputError: Before `calibrate`, without a new site, or with fewer than 10 controls of one.
        """
        sites = self.new_sites(controls)
        new = sorted(set(sites) - {""})
        if not self.kinds or not new:
            got = "only sites met in training" if self.kinds else "a norm that is not calibrated"
            want = "a calibrated norm and controls of a new site"
            raise InputError("adapt", got, want, "calibrate first, or score people of known sites without adaptation")
        population, adapted = self.as_population(), dict(self.sites)
        for site in new:
            people = controls[(sites == site).to_numpy()]
            raw = {kind: population.raw(people, kind)["z_raw"].to_numpy() for kind in self.calibrators}
            latents = population.posterior_mean(people) if self.latent else None
            adapted[site] = self.calibrate_site(site, people, raw, latents)
        return self._copy_with(sites=adapted)

    def calibrate_site(
        self, site: str, people: Cohort, raw: Mapping[str, Floats], latents: Floats | None
    ) -> Calibrated:
        """The calibration of a new site, see `Calibrated.to_site`.

        Args:
            site: Name of the site.
            people: Controls of the site.
            raw: Kind -> their raw z, [n, d].
            latents: Their posterior means, [n, k]; None: without kind `latent`.

        Raises:
            InputError: With fewer than 10 controls.
        """
        design = self.as_population().preprocess.design(people)
        return self.calibration.to_site(
            raw, latents, design, self.preprocess.groups, site, self.conformal_groups(people)
        )

    def controls(self, cohort: Cohort, site: str = "") -> Controls:
        """Raw z and design of the calibration controls, as kept by `calibrate` or `adapt`; a loaded norm infers them.

        Args:
            cohort: The controls on which this norm was calibrated, or adapted to the site.
            site: A site to which it was adapted; '' for the sites of the training.
        """
        calibration = self.at_site(site)
        if calibration.controls is not None:
            return calibration.controls
        raw = {kind: self.raw(cohort, kind)["z_raw"].to_numpy() for kind in calibration.calibrators}
        controls = Controls(raw, self.preprocess.design(cohort))
        if not site:
            self.calibration = replace(calibration, controls=controls)
        return controls

    def as_population(self) -> Self:
        """A copy that scores people of any site, those of unknown sites without a site effect."""
        return self._copy_with(unseen_site="population")

    def only(self, kind: str) -> Self:
        """A copy with one regional kind."""
        calibrators = {kind: self.calibrators[kind]}
        return self._copy_with(calibration=replace(self.calibration, calibrators=calibrators, latent=None))

    def with_draws(self, *, normative_draws: int) -> Self:
        """A copy with another number of draws from the prior."""
        return self._copy_with(normative_draws=normative_draws)

    def with_units(self, site: str, units: SiteUnits) -> Self:
        """A copy with a location and scale of every region for one site, see `norm.sites`."""
        return self._copy_with(_trained=replace(self._trained, units={**self._trained.units, site: units}))

    def with_site(self, site: str, calibration: Calibrated) -> Self:
        """A copy with the calibration of one more site."""
        return self._copy_with(sites={**self.sites, site: calibration})

    def new_sites(self, cohort: Cohort) -> pd.Series:
        """The site of each person if it was not in training, else ''; `local` for a norm without the covariate site.

        Raises:
            InputError: When the cohort lacks the covariate `site` of the training.
        """
        trained = self.preprocess.sites
        if trained is None:
            return pd.Series(LOCAL, index=cohort.ids)
        if SITE not in cohort.covariates:
            want, todo = "the site of each person, as in training", f"name a column for {SITE!r} in covariates"
            raise InputError(f"covariate {SITE!r}", "absent", want, todo)
        return cohort.covariates[SITE].mask(cohort.covariates[SITE].isin(trained), "")

    def at_site(self, site: str) -> Calibrated:
        """The calibration of a site to which the norm was adapted; for any other site that of `calibrate`."""
        return self.sites.get(site, self.calibration)

    def conformal_groups(self, cohort: Cohort) -> NDArray[np.str_] | None:
        """The group of each person for conformal p, see `calibrated.conformal_groups`; None without groups."""
        return conformal_groups(cohort, self.conformal_within) if self.conformal_within else None

    def save(self, folder: str | Path) -> None:
        """Write a model folder: weights and arrays in safetensors, the rest in JSON, with checksums."""
        arrays: dict[str, NDArray[Any]] = {f"model.{name}": x.numpy() for name, x in self.model.state_dict().items()}
        arrays |= self.calibration.to_arrays()
        for i, own in enumerate(self.sites.values()):
            arrays |= {f"site.{i}.{name}": x for name, x in own.to_arrays().items()}
        arrays |= {} if self.spread is None else {"spread": self.spread}
        record = {
            "model": self.model.record,
            "preprocess": self._trained.to_record(),
            **{name: getattr(self, name) for name in SETTINGS},
            "calibrator": self.calibrator if isinstance(self.calibrator, str) else {"custom": "calibrator"},
            **self.calibration.record,
            "widths": self.widths,
            "sites": [{"site": site, **own.record} for site, own in self.sites.items()],
        }
        checkpoint.write(folder, arrays, record)

    @property
    def preprocess(self) -> Preprocess:
        """The map from tables to model units, for sites of training or adaptation, or all with `population`."""
        return self._trained.admitting(None if self.unseen_site == "population" else tuple(self.sites))

    @property
    def predictive(self) -> Predictor:
        """The predictive distributions of the model, before calibration."""
        return predictor(
            self.model, draws=self.draws, normative_draws=self.normative_draws, refine=self.refine_steps,
            seed=self.seed, spread=self.spread,
        )  # fmt: skip

    @property
    def calibrators(self) -> Mapping[str, Calibrator]:
        """Regional kind -> calibrator for people of the training sites."""
        return self.calibration.calibrators

    @property
    def latent(self) -> LatentNorm | None:
        """The norm of the latents, for kind `latent`."""
        return self.calibration.latent

    @property
    def kinds(self) -> tuple[str, ...]:
        """The calibrated kinds."""
        return (*self.calibrators, *(["latent"] if self.latent else []))

    def _copy_with(self, **attributes: Any) -> Self:
        """A copy with other attributes; the norm itself stays as it is."""
        other = copy.copy(self)
        vars(other).update(attributes)
        return other

    def _calibrated_on(self, cohort: Cohort, kinds: tuple[str, ...]) -> Calibrated:
        """The calibration by these controls; sets `widths` and `spread`."""
        design, groups, latent = self.preprocess.design(cohort), self.preprocess.groups, None
        calibrators: dict[str, Calibrator] = {}
        controls = self._raw_controls(cohort, kinds, design)
        for kind, raw in controls.raw.items():
            calibrators[kind], widths = self._fit_calibrator(cohort, kind, raw, design)
            self.widths |= {kind: widths} if widths else {}
        if "latent" in kinds:
            latent = LatentNorm.fit(self.posterior_mean(cohort), design, groups, self.model.members)
        scaled = {kind: raw / self._width(cohort, kind) for kind, raw in controls.raw.items()}
        return Calibrated(calibrators, latent, self.conformal_groups(cohort), replace(controls, raw=scaled))

    def _raw_controls(self, cohort: Cohort, kinds: tuple[str, ...], design: Floats) -> Controls:
        """Raw z of calibration controls for every regional kind; sets the spread for `local`."""
        raw: dict[str, Floats] = {}
        for kind in dict.fromkeys(("reconstruction", *kinds) if "local" in kinds else kinds):
            if kind in REGIONAL:
                raw[kind] = self.raw(cohort, kind)["z_raw"].to_numpy()
            if kind == "reconstruction" and "local" in kinds:  # the SD, from the interquartile range
                spread = stats.iqr(raw[kind], axis=0, scale="normal", nan_policy="omit")
                self.spread = np.maximum(spread, SMALLEST_SPREAD)
        return Controls({kind: raw[kind] for kind in kinds if kind in REGIONAL}, design)

    def _fit_calibrator(
        self, cohort: Cohort, kind: str, raw: Floats, design: Floats
    ) -> tuple[Calibrator, dict[str, float]]:
        """The calibrator of a regional kind, and the width of raw z for patterns of missing modalities."""

        def score(people: Cohort) -> tuple[Floats, Floats]:
            return self.raw(people, kind)["z_raw"].to_numpy(), self.preprocess.design(people)

        fit = CALIBRATORS[self.calibrator] if isinstance(self.calibrator, str) else self.calibrator
        groups = self.preprocess.groups
        if kind == "normative" or self.calibrator == "none":
            return fit(raw, design, groups), {}
        return calibrated_by_pattern(fit, score, cohort, raw, design, groups, self.seed)

    def _regional_deviations(self, cohort: Cohort, kind: str) -> xr.Dataset:
        """Calibrated deviations of a regional kind, with their spread over ensemble members."""
        mixture, members = self._deviations_of(None, cohort, kind), range(self.model.members)
        if len(members) == 1:
            return mixture
        return mixture.assign(member_spread(self._deviations_of(e, cohort, kind) for e in members).data_vars)

    def _deviations_of(self, member: int | None, cohort: Cohort, kind: str) -> xr.Dataset:
        """Calibrated deviations of a regional kind from one ensemble member, or from the mixture of all."""
        raw = self.raw(cohort, kind, member=member)
        error = (self.preprocess.observed(cohort) - raw["expected"].to_numpy()) / self.preprocess.units_of(cohort)[1]
        return self._calibrate_by_site(raw.assign(mse=("subject", mean_square(error))), cohort, kind)

    def _calibrate_by_site(self, raw: xr.Dataset, cohort: Cohort, kind: str) -> xr.Dataset:
        """Raw deviations after the calibration of each person's site."""
        design, sites = self.preprocess.design(cohort), self.new_sites(cohort).to_numpy()
        own = np.where(np.isin(sites, list(self.sites)), sites, "")
        names = sorted(set(own)) or [""]
        parts = [self.at_site(site)(raw.isel(subject=own == site), design[own == site], kind) for site in names]
        return joined(parts, len(own)).sel(subject=raw["subject"]) if len(parts) > 1 else parts[0]

    def _width(self, cohort: Cohort, kind: str) -> Floats | float:
        """The width of raw z for each person's pattern of modalities, [n, 1]; 1 if no pattern has a width."""
        widths = self.widths.get(kind)
        return widths_of(cohort.modalities_present, widths) if widths else 1.0

    def _person_coordinates(self, cohort: Cohort) -> dict[str, Any]:
        """Coordinates of people: ids, covariates outside the range of training, known site and conformal group."""
        outside = self.preprocess.outside(cohort)
        names = outside.columns.to_numpy(str)
        coords: dict[str, Any] = {
            "outside_range": np.array([", ".join(names[row]) for row in outside.to_numpy(bool)], dtype=str)
        }
        if self.preprocess.sites is not None:
            coords["site_known"] = self.new_sites(cohort).isin(["", *self.sites]).to_numpy()
        if (groups := self.conformal_groups(cohort)) is not None:
            coords["conformal_group"] = groups
        ids = cohort.ids.to_numpy(object).astype(str)
        return {"subject": ids} | {name: ("subject", x) for name, x in coords.items()}


SETTINGS = ("draws", "normative_draws", "refine", "seed", "unseen_site", "outside_range", "conformal_within")
"""Arguments of `NormativeModel` that are saved as they are."""


def load(folder: str | Path, **parts: Any) -> NormativeModel:
    """The normative model in a folder written by `NormativeModel.save`; no code from the folder is executed.

    Args:
        folder: The model folder.
        **parts: Fusion, likelihood, prior or calibrator, where they are callables of your own: code is never saved.

    Raises:
        InputError: When a file is missing or was altered, or a callable was not given.

    Examples:
        >>> load("runs/none")
        Traceback (most recent call last):
        ...
        pyro_mmnorm.core.errors.InputError: runs/none/sha256.json: no such file; ...
    """
    arrays, record = checkpoint.read(folder)
    preprocess = Preprocess.from_record(record["preprocess"])
    for role, part in {**record["model"], "calibrator": record["calibrator"]}.items():
        if role not in parts and _is_custom(part):
            todo = f"call load(folder, {role}=...) with the same callable"
            raise InputError(str(folder), f"a {role} of your own, {part}", "the callable itself", todo)
    calibrator = parts.pop("calibrator", record["calibrator"])
    build = LinearGaussian if "baseline" in record["model"] else MMVAE.build
    model = build(preprocess, **{**record["model"], **parts})
    model.load_state_dict(checkpoint.tensors(arrays, "model.", model.state_dict()))
    norm = NormativeModel(model.eval(), calibrator=calibrator, **{name: record[name] for name in SETTINGS})
    norm.spread, norm.widths = arrays.get("spread"), record.get("widths", {})
    norm.calibration = Calibrated.from_arrays(arrays, record, preprocess.groups)
    for i, kept in enumerate(record["sites"]):
        norm.sites[kept["site"]] = Calibrated.from_arrays(arrays, kept, preprocess.groups, prefix=f"site.{i}.")
    return norm


def _check_kind(kind: str, known: tuple[str, ...] = KINDS) -> None:
    """Refuse an unknown kind."""
    if kind not in known:
        raise InputError("kind", repr(kind), f"one of {known}", "use one of these")


def _is_custom(part: object) -> bool:
    """Whether the record of a part, or of one of its parts, is that of a callable."""
    return isinstance(part, dict) and ("custom" in part or any(_is_custom(inner) for inner in part.values()))
