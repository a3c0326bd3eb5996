"""NormativeModel: a trained model and its calibrators; deviations of any person from the norm."""

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
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.covariates import SITE
from pyro_mmnorm.data.preprocess import LOCAL, Preprocess, SiteUnits
from pyro_mmnorm.distributions.latent import DiagonalNormal
from pyro_mmnorm.inference.evidence import log_evidence
from pyro_mmnorm.inference.exact import Exact
from pyro_mmnorm.inference.predictive import Predictive
from pyro_mmnorm.models.linear import LinearGaussian
from pyro_mmnorm.models.vae import MMVAE
from pyro_mmnorm.norm import checkpoint
from pyro_mmnorm.results.person_figures import member_spread
from pyro_mmnorm.results.schema import KINDS, REGIONAL, joined

__all__ = ["SETTINGS", "NormativeModel", "load"]


REFINE = 5
"""Local steps on each person's posterior where it can be refined, if nothing else is said."""
FEWEST, SMALLEST_SPREAD = 10, 1e-3
CELLS = 2**19
"""People x regions whose deviations are worked out at once: 4 MiB a variable, of which there are about 20."""


class NormativeModel:
    r"""A trained model with calibrators, the norm that people are compared with.

    For person i and region j the predictive distribution is the mixture over draws

    .. math:: F_{ij}(x) = \frac1S \sum_s F(x \mid z_s, c_i)

    with z_s drawn as the kind of deviation says (see `Predictive`), and the raw deviation
    :math:`z^{raw}_{ij} = \Phi^{-1}(F_{ij}(x_{ij}))`, negative when the region is smaller than expected. A calibrator
    fitted on held-out controls turns raw into calibrated z. Raw z of people who lack modalities are over the width that
    z of the same controls have with those modalities hidden, see `pattern_width`.

    Args:
        model: Trained, with its preprocessing; a `LinearGaussian` needs no draws.
        draws: Draws of the latents per person (and member).
        normative_draws: Draws from the prior, for kind `normative`.
        refine: Local steps on each person's posterior; None: 5 where it is diagonal normal (poe, gpoe), else 0.
        calibrator: Name in `CALIBRATORS`, or a callable of the same signature.
        seed: Of the common draws.
        unseen_site: People of a site that was neither in training nor adapted to: `refuse`, or `population`, which
            scores them as if of no site in particular.
        outside_range: People with an age (or other number) beyond its range in training: `flag` or `refuse`.
        conformal_within: Conformal p among calibration people of the same level of this category, or (`pattern`) with
            the same modalities; see `calibration.Mondrian`. None: among all.

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
        draws: int = 256,
        normative_draws: int = 4096,
        refine: int | None = None,
        calibrator: str | Fit = "empirical",
        seed: int = 0,
        unseen_site: Literal["refuse", "population"] = "refuse",
        outside_range: Literal["flag", "refuse"] = "flag",
        conformal_within: str | None = None,
    ) -> None:
        if model.preprocess is None:
            todo = "build it so"
            raise InputError("NormativeModel", "a model without preprocessing", "one of MMVAE.for_cohort", todo)
        if isinstance(calibrator, str) and calibrator not in CALIBRATORS:
            want, todo = f"one of {sorted(CALIBRATORS)}", "use one of these, or put your own in CALIBRATORS"
            raise InputError("deviations.calibrator", repr(calibrator), want, todo)
        self.model, self.draws, self.normative_draws, self.seed = model, draws, normative_draws, seed
        self.refine, self.calibrator, self._trained = refine, calibrator, model.preprocess
        self.unseen_site, self.outside_range, self.conformal_within = unseen_site, outside_range, conformal_within
        self.calibration, self.sites = Calibrated(), dict[str, Calibrated]()
        self.spread: Floats | None = None
        self.widths: dict[str, dict[str, float]] = {}

    @property
    def preprocess(self) -> Preprocess:
        """From tables to model units; it admits the sites met in training or adapted to, or any for `population`."""
        return self._trained.admitting(None if self.unseen_site == "population" else tuple(self.sites))

    def calibrate(self, cohort: Cohort, kinds: tuple[str, ...] = ("reconstruction",)) -> Self:
        """Fit a calibrator per kind on held-out controls, in place of earlier calibrations and sites; returns self.

        Args:
            cohort: Controls that the model was not trained on (`cohort.calibrate`), at least 10.
            kinds: Some of `KINDS`.
        """
        if (n := len(cohort)) < FEWEST:
            raise InputError("calibrate", f"{n} controls", f"at least {FEWEST}", "hold out more healthy people")
        for kind in kinds:
            _check_kind(kind)
        self.calibration, self.sites, self.widths = Calibrated(), {}, {}
        design, groups, latent = self.preprocess.design(cohort), self.preprocess.groups, None
        calibrators: dict[str, Calibrator] = {}
        controls = self._raw_controls(cohort, kinds, design)
        for kind, raw in controls.raw.items():
            calibrators[kind], widths = self._fit(cohort, kind, raw, design)
            self.widths |= {kind: widths} if widths else {}
        if "latent" in kinds:
            latent = LatentNorm.fit(self.posterior_mean(cohort), design, groups, self.model.members)
        scaled = {kind: raw / self._width(cohort, kind) for kind, raw in controls.raw.items()}
        people = self.conformal_groups(cohort)
        self.calibration = Calibrated(calibrators, latent, people, replace(controls, raw=scaled))
        return self

    def _raw_controls(self, cohort: Cohort, kinds: tuple[str, ...], design: Floats) -> Controls:
        """Raw z of calibration controls by every regional kind, inferred once; sets the spread that `local` needs."""
        raw: dict[str, Floats] = {}
        for kind in dict.fromkeys(("reconstruction", *kinds) if "local" in kinds else kinds):
            if kind in REGIONAL:
                raw[kind] = self.raw(cohort, kind)["z_raw"].to_numpy()
            if kind == "reconstruction":  # the SD, from the interquartile range
                spread = stats.iqr(raw[kind], axis=0, scale="normal", nan_policy="omit")
                self.spread = np.maximum(spread, SMALLEST_SPREAD) if "local" in kinds else None
        return Controls({kind: raw[kind] for kind in kinds if kind in REGIONAL}, design)

    def controls(self, cohort: Cohort, site: str = "") -> Controls:
        """Raw z and design of calibration controls: those that `calibrate` or `adapt` kept, inferred for a loaded norm.

        Args:
            cohort: The controls that this norm was calibrated on, or adapted to a site on.
            site: A site that it was adapted to; '' for the sites of the training.
        """
        calibration = self.at_site(site)
        if calibration.controls is not None:
            return calibration.controls
        raw = {kind: self.raw(cohort, kind)["z_raw"].to_numpy() for kind in calibration.calibrators}
        controls = Controls(raw, self.preprocess.design(cohort))
        if not site:
            self.calibration = replace(calibration, controls=controls)
        return controls

    def _fit(self, cohort: Cohort, kind: str, raw: Floats, design: Floats) -> tuple[Calibrator, dict[str, float]]:
        """The calibrator of a regional kind, and the width of its raw z by pattern of missing modalities."""

        def score(people: Cohort) -> tuple[Floats, Floats]:
            return self.raw(people, kind)["z_raw"].to_numpy(), self.preprocess.design(people)

        fit = CALIBRATORS[self.calibrator] if isinstance(self.calibrator, str) else self.calibrator
        groups = self.preprocess.groups
        if kind == "normative" or self.calibrator == "none":
            return fit(raw, design, groups), {}
        return calibrated_by_pattern(fit, score, cohort, raw, design, groups, self.seed)

    def adapt(self, controls: Cohort) -> Self:
        """A norm that also holds for the sites of these controls; this one is left as it is.

        Every calibrated kind gets a calibrator of each new site, see `calibration.adapt`; the model stays the same.
        Kind `latent` is fitted anew, and is NaN for people of a site with too few controls for it.

        Args:
            controls: Healthy people of sites that were not in training, at least 10 of each; others play no part. A
                norm trained without the covariate `site` takes them, and everybody later, for people of one new site.

        Raises:
            InputError: Before `calibrate`, without a new site, or with fewer than 10 controls of one.
        """
        sites = self.new_sites(controls)
        new = sorted(set(sites) - {""})
        if not self.kinds or not new:
            got = "only sites met in training" if self.kinds else "a norm that is not calibrated"
            raise InputError("adapt", got, "a calibrated norm and controls of a new site", "calibrate, or score them")
        population, adapted = self.as_population(), dict(self.sites)
        for site in new:
            people = controls[(sites == site).to_numpy()]
            raw = {kind: population.raw(people, kind)["z_raw"].to_numpy() for kind in self.calibrators}
            latents = population.posterior_mean(people) if self.latent else None
            adapted[site] = self.calibrate_site(site, people, raw, latents)
        return self._with(sites=adapted)

    def calibrate_site(
        self, site: str, people: Cohort, raw: Mapping[str, Floats], latents: Floats | None
    ) -> Calibrated:
        """The calibration of a new site, see `Calibrated.to_site`.

        Args:
            site: Its name.
            people: Its controls.
            raw: kind -> their raw z, [n, d].
            latents: Their posterior means [n, k]; None leaves kind `latent` out.
        """
        design = self.as_population().preprocess.design(people)
        return self.calibration.to_site(
            raw, latents, design, self.preprocess.groups, site, self.conformal_groups(people)
        )

    def as_population(self) -> Self:
        """This norm for people of any site: an unknown one is scored as no site in particular."""
        return self._with(unseen_site="population")

    def only(self, kind: str) -> Self:
        """This norm with one regional kind, for what does not need the others."""
        calibrators = {kind: self.calibrators[kind]}
        return self._with(calibration=replace(self.calibration, calibrators=calibrators, latent=None))

    def with_draws(self, *, normative_draws: int) -> Self:
        """This norm with another number of draws from the prior."""
        return self._with(normative_draws=normative_draws)

    def with_units(self, site: str, units: SiteUnits) -> Self:
        """This norm with a location and scale of the regions of its own for a site; see `norm.sites`."""
        return self._with(_trained=replace(self._trained, units={**self._trained.units, site: units}))

    def with_site(self, site: str, calibration: Calibrated) -> Self:
        """This norm with the calibration of one more site."""
        return self._with(sites={**self.sites, site: calibration})

    def _with(self, **changes: Any) -> Self:
        """A copy with other attributes; the norm itself stays as it is."""
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def new_sites(self, cohort: Cohort) -> pd.Series:
        """The site of each person where it was not in training, else ''; `local` where the norm knows no sites."""
        trained = self.preprocess.sites
        if trained is None:
            return pd.Series(LOCAL, index=cohort.ids)
        if SITE not in cohort.covariates:
            want, todo = "the site of each person, as in training", f"name a column for {SITE!r} in covariates"
            raise InputError(f"covariate {SITE!r}", "absent", want, todo)
        return cohort.covariates[SITE].mask(cohort.covariates[SITE].isin(trained), "")

    def at_site(self, site: str) -> Calibrated:
        """The calibration of a site: its own where the norm was adapted to it, else that of `calibrate`."""
        return self.sites.get(site, self.calibration)

    def conformal_groups(self, cohort: Cohort) -> NDArray[np.str_] | None:
        """See `calibrated.conformal_groups`; None without `conformal_within`."""
        return conformal_groups(cohort, self.conformal_within) if self.conformal_within else None

    @property
    def calibrators(self) -> Mapping[str, Calibrator]:
        """Regional kind -> its calibrator, for the people of the training sites."""
        return self.calibration.calibrators

    @property
    def latent(self) -> LatentNorm | None:
        """The norm of the latents, for kind `latent`."""
        return self.calibration.latent

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds that are calibrated."""
        return (*self.calibrators, *(["latent"] if self.latent else []))

    def raw(self, cohort: Cohort, kind: str = "reconstruction", *, member: int | None = None) -> xr.Dataset:
        """Raw z and the predictive mean and SD in the units of the table; dims (subject, region).

        Args:
            cohort: Anybody.
            kind: One of `REGIONAL`.
            member: Only this ensemble member; all of them, mixed, when None.
        """
        _check_kind(kind, REGIONAL)
        batch, predictive = self.preprocess(cohort), self.predictive
        self.model.check_support(batch)
        if member is not None and isinstance(predictive, Predictive):
            predictive = replace(predictive, model=predictive.model.member(member))
        scores = predictive(batch, kind)
        seen = np.concatenate([batch.observed[m].numpy() for m in self.preprocess.regions], 1)
        (loc, scale), width = self.preprocess.units_of(cohort), self._width(cohort, kind)
        dims, coords = ("subject", "region"), self._people(cohort) | self.preprocess.coordinates
        fields = {
            "z_raw": np.where(seen, scores.z / width, np.nan),
            "expected": scores.loc * scale + loc,
            "sd": scores.scale * scale * width,
            "left_out": scores.flagged,
        }
        return xr.Dataset({name: (dims, x) for name, x in fields.items()}, coords)

    def deviations(self, cohort: Cohort, kind: str = "reconstruction") -> xr.Dataset:
        """Calibrated deviations of anybody; dims (subject, region), NaN where a region was not observed.

        Returns:
            z: calibrated z-score; z_raw: before calibration; p: two-sided conformal p; q: Benjamini-Hochberg over the
            person's regions of the p-value of z; expected, sd: mean and SD that the norm expects, in the units of the
            table; extrapolated: z beyond the largest of the calibration people; left_out: cells that the norm of this
            person does without (kind `local`); omnibus, omnibus_p (subject): mean z^2 and its conformal p; mse
            (subject): mean squared error of the expected value, in training SDs. Kind `latent` has dims
            (subject, latent) instead: see `LatentNorm`. An ensemble has z_member_sd, flagged_by_member and, by subject,
            <figure>_member_sd too: of what each alone gives through the same calibrator, see `member_spread`; it takes
            as long again as z does. p_within, omnibus_p_within: with `conformal_within`, whether a p is one within the
            person's group. Coordinates of the subjects: outside_range, the covariates beyond their range in training,
            and site_known, where `site` is a covariate.

        Raises:
            InputError: Before `calibrate`, or for people that the model cannot place: of a site that it does not know
                (unless `unseen_site` says otherwise), or beyond the range of training (if `outside_range` says so).
        """
        if kind not in self.kinds:
            got = f"kind {kind!r} is not calibrated"
            raise InputError("deviations", got, f"one of {sorted(self.kinds)}", "call calibrate first")
        self.preprocess.outside(cohort, refuse=self.outside_range == "refuse")
        if kind == "latent":
            mean = (("subject", "latent"), self.posterior_mean(cohort))
            raw = xr.Dataset({"mean": mean}, self._people(cohort), {"members": self.model.members})
            return self._calibrated(raw, cohort, kind)
        step = max(1, CELLS // len(self.preprocess.names))
        groups = (cohort[list(cohort.ids[begin : begin + step])] for begin in range(0, max(1, len(cohort)), step))
        return joined((self._regional(people, kind) for people in groups), len(cohort))

    def _regional(self, cohort: Cohort, kind: str) -> xr.Dataset:
        """Calibrated regional deviations, with their spread over members."""
        whole, members = self._of_member(cohort, kind, None), range(self.model.members)
        if len(members) == 1:
            return whole
        return whole.assign(member_spread(self._of_member(cohort, kind, e) for e in members).data_vars)

    def _of_member(self, cohort: Cohort, kind: str, member: int | None) -> xr.Dataset:
        """Calibrated regional deviations by one ensemble member, or by all."""
        raw = self.raw(cohort, kind, member=member)
        error = (self.preprocess.observed(cohort) - raw["expected"].to_numpy()) / self.preprocess.units_of(cohort)[1]
        return self._calibrated(raw.assign(mse=("subject", mean_square(error))), cohort, kind)

    def _calibrated(self, raw: xr.Dataset, cohort: Cohort, kind: str) -> xr.Dataset:
        """What the calibration of each person's site makes of raw deviations."""
        design, sites = self.preprocess.design(cohort), self.new_sites(cohort).to_numpy()
        own = np.where(np.isin(sites, list(self.sites)), sites, "")
        names = sorted(set(own)) or [""]
        parts = [self.at_site(site)(raw.isel(subject=own == site), design[own == site], kind) for site in names]
        return joined(parts, len(own)).sel(subject=raw["subject"]) if len(parts) > 1 else parts[0]

    def log_evidence(self, cohort: Cohort) -> pd.Series:
        """Log density of everything observed of each person, in model units; of an MMVAE its bound, `log_evidence`."""
        if isinstance(self.model, LinearGaussian):
            nats = self.model.log_evidence(self.preprocess(cohort)).numpy()
            return pd.Series(nats, index=cohort.ids, name="log_evidence")
        return log_evidence(self.model, cohort, draws=self.draws, refine=self._steps(), seed=self.seed)

    @property
    def predictive(self) -> "Predictive | Exact":
        """What the model predicts, before calibration."""
        if isinstance(self.model, LinearGaussian):
            return Exact(model=self.model)
        return Predictive(
            model=self.model, draws=self.draws, normative_draws=self.normative_draws, refine=self._steps(),
            seed=self.seed, spread=self.spread,
        )  # fmt: skip

    def _steps(self) -> int:
        if self.refine is not None:
            return self.refine
        one = self.preprocess.blank()
        with torch.no_grad():
            return REFINE if isinstance(self.model.posterior(one), DiagonalNormal) else 0

    def posterior_mean(self, cohort: Cohort) -> Floats:
        """Posterior means of the latents, [n, members * k]."""
        return self.predictive.posterior_mean(self.preprocess(cohort))

    def _width(self, cohort: Cohort, kind: str) -> Floats | float:
        """The width of raw z of each person's pattern of modalities, [n, 1]; 1 where all are alike."""
        widths = self.widths.get(kind)
        return widths_of(cohort.modalities_present, widths) if widths else 1.0

    def _people(self, cohort: Cohort) -> dict[str, Any]:
        """Coordinates of people: who they are, and where the norm is on thin ice."""
        outside = self.preprocess.outside(cohort)
        names = outside.columns.to_numpy(str)
        beyond = [", ".join(names[row]) for row in outside.to_numpy()]
        told: dict[str, Any] = {"outside_range": np.array(beyond, dtype=str)}
        if self.preprocess.sites is not None:
            told["site_known"] = self.new_sites(cohort).isin(["", *self.sites]).to_numpy()
        if (groups := self.conformal_groups(cohort)) is not None:
            told["conformal_group"] = groups
        return {"subject": cohort.ids.to_numpy(object).astype(str)} | {k: ("subject", x) for k, x in told.items()}

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


SETTINGS = ("draws", "normative_draws", "refine", "seed", "unseen_site", "outside_range", "conformal_within")
"""What a norm is built with, beside its model and calibrator."""


def _check_kind(kind: str, known: tuple[str, ...] = KINDS) -> None:
    if kind not in known:
        raise InputError("kind", repr(kind), f"one of {known}", "use one of these")


def load(folder: str | Path, **parts: Any) -> NormativeModel:
    """The normative model in a folder that `NormativeModel.save` wrote; executes nothing of what it reads.

    Args:
        folder: The model folder.
        **parts: fusion, likelihood, prior or calibrator, where they are callables of your own: code is never saved.

    Raises:
        InputError: When a file is missing or was altered, or a callable was not given.
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


def _is_custom(part: object) -> bool:
    return isinstance(part, dict) and ("custom" in part or any(_is_custom(inner) for inner in part.values()))
