"""Calibrated: raw to calibrated deviations, for the people of the training sites or of one new site."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from pyro_mmnorm.calibration.calibrators import load_calibrator
from pyro_mmnorm.calibration.conformal import Conformal, mean_square
from pyro_mmnorm.calibration.mahalanobis import LATENT_MEASURES, LatentNorm
from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.calibration.saved_arrays import under
from pyro_mmnorm.calibration.site import FEWEST_CONTROLS, adapt
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.results.schema import MEMBER_SD
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg

__all__ = ["PATTERN", "Calibrated", "Controls", "conformal_groups"]


PATTERN = "pattern"
"""Value of `conformal_within` for groups by pattern of observed modalities."""

logger = logging.getLogger("pyro_mmnorm")


def conformal_groups(cohort: Cohort, by: str) -> NDArray[np.str_]:
    """The group of each person for conformal p within groups, [n].

    Args:
        cohort: People.
        by: A covariate of kind category, or `pattern`: the modalities that were observed.

    Raises:
        InputError: For any other `by`.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=60, patients=2, sites=2, seed=1).to_cohort()
        >>> conformal_groups(cohort, "site")[:2].tolist()
        ['site-1', 'site-1']
    """
    if by == PATTERN:
        return cohort.modalities_present
    categories = [name for name, kind in cohort.kinds.items() if kind == "category"]
    if by not in categories:
        want = f"{PATTERN!r} or a covariate of kind category, {categories}"
        raise InputError("deviations.conformal_within", repr(by), want, "correct the name")
    return cohort.covariates[by].astype(str).to_numpy(dtype=str)


@dataclass(frozen=True)
class Controls:
    """The controls on which a calibration was fitted. They serve to refit it, and are never saved.

    Args:
        raw: Kind -> raw z, [n_cal, d], NaN where not observed.
        design: Encoded covariates, [n_cal, c].
    """

    raw: Mapping[str, Floats]
    design: Floats


@dataclass(frozen=True)
class Calibrated:
    """The calibration of one population: the training sites together, or one new site.

    Args:
        calibrators: Regional kind -> calibrator.
        latent: The norm of the latents, for kind `latent`.
        groups: Group of each calibration control for conformal p-values within groups, [n_cal]; None: one group.
        controls: Raw deviations of the calibration controls; None in a loaded norm.
    """

    calibrators: Mapping[str, Calibrator] = field(default_factory=dict)
    latent: LatentNorm | None = None
    groups: NDArray[np.str_] | None = None
    controls: Controls | None = None

    def __call__(self, raw: xr.Dataset, design: Floats, kind: str) -> xr.Dataset:
        """Calibrated deviations of people from raw ones.

        Args:
            raw: z_raw, expected and sd (subject, region); for kind `latent` the posterior `mean` (subject, latent) and
                the number of ensemble `members` as an attribute. With `groups`, its coordinate conformal_group holds
                the group of each person.
            design: Encoded covariates, [n, c].
            kind: A kind that is calibrated.

        Returns:
            `raw` with the variables that the calibrator adds, see `NormativeModel.deviations`; for kind `latent` the
            result of `LatentNorm`, or NaN when there is none.
        """
        if kind == "latent":
            return self._latent(raw, design)
        calibrator, dims, z_raw = self.calibrators[kind], ("subject", "region"), raw["z_raw"].to_numpy()
        z = calibrator(z_raw, design)
        centre, low, high = (calibrator.inverse_transform(at, design) for at in (0.0, -1.0, 1.0))
        omnibus = mean_square(z)
        p, within = self._conformal(calibrator.conformal, np.abs(z), raw)
        omnibus_p, omnibus_within = self._conformal(calibrator.omnibus, omnibus[:, None], raw)
        if self.groups is not None:
            raw = raw.assign(p_within=(dims, within), omnibus_p_within=("subject", omnibus_within[:, 0]))
        return raw.assign(
            z=(dims, z),
            p=(dims, p),
            q=(dims, benjamini_hochberg(2 * special.ndtr(-np.abs(z)), axis=1)),
            expected=(dims, raw["expected"].to_numpy() + centre * raw["sd"].to_numpy()),
            sd=(dims, raw["sd"].to_numpy() * (high - low) / 2),
            extrapolated=(dims, np.abs(z) > calibrator.conformal.largest_score),
            omnibus=("subject", omnibus),
            omnibus_p=("subject", omnibus_p[:, 0]),
        )

    def uncalibrated(self, deviations: xr.Dataset, design: Floats, kind: str) -> tuple[Floats, Floats]:
        """Mean and SD that the model alone predicts, in the units of the table, [n, d]: the inverse of `__call__`.

        Args:
            deviations: Calibrated deviations, with expected and sd (subject, region).
            design: Encoded covariates of the same people, [n, c].
            kind: A regional kind.
        """
        centre, low, high = (self.calibrators[kind].inverse_transform(z, design) for z in (0.0, -1.0, 1.0))
        sd = deviations["sd"].to_numpy() * 2 / (high - low)
        return deviations["expected"].to_numpy() - centre * sd, sd

    def _conformal(self, conformal: Conformal, scores: Floats, raw: xr.Dataset) -> tuple[Floats, NDArray[np.bool_]]:
        """p of scores [n, d], and whether each is a p within the person's own group."""
        if self.groups is None:
            return conformal(scores), np.zeros(scores.shape, bool)
        labels, mondrian = raw["conformal_group"].to_numpy().astype(str), conformal.within(self.groups)
        return mondrian(scores, labels), mondrian.conditional(labels)

    def conformal_notes(self, kind: str) -> dict[str, Any]:
        """The conformal groups of a kind, for the calibration report; empty without groups.

        Returns:
            groups: label -> number of calibration controls and smallest p; note, omnibus_note: a sentence on groups
            that are too small, for regions and for the mean z^2.
        """
        if self.groups is None:
            return {}
        regions, omnibus = (
            getattr(self.calibrators[kind], name).within(self.groups) for name in ("conformal", "omnibus")
        )
        groups = {
            label: {"people": int((self.groups == label).sum()), "smallest_p": group.smallest}
            for label, group in regions.groups.items()
        }
        return {"groups": groups, "note": regions.note, "omnibus_note": omnibus.note}

    def _latent(self, raw: xr.Dataset, design: Floats) -> xr.Dataset:
        """Kind `latent`; NaN without a norm of the latents."""
        mean = raw["mean"].to_numpy()
        if self.latent:
            return self.latent(mean, design).assign_coords(raw.coords)
        names = [*LATENT_MEASURES, *(f"{name}{MEMBER_SD}" for name in LATENT_MEASURES if raw.attrs["members"] > 1)]
        empty = {name: ("subject", np.full(len(mean), np.nan)) for name in names}
        z = (("subject", "latent"), np.full(mean.shape, np.nan))
        return xr.Dataset({"latent_z": z, **empty}, {**raw.coords, "latent": np.arange(mean.shape[1])})

    def to_site(
        self,
        raw: Mapping[str, Floats],
        latents: Floats | None,
        design: Floats,
        groups: Mapping[str, slice],
        site: str,
        conformal: NDArray[np.str_] | None = None,
    ) -> "Calibrated":
        """The calibration of a new site, by `calibration.site.adapt`.

        Kind `latent` is fitted on the controls of the site alone, and only where they are enough.

        Args:
            raw: Kind -> raw z of the controls, [n, d].
            latents: Their posterior means, [n, k]; None: without kind `latent`.
            design: Their encoded covariates, [n, c], with 0 in the columns of `site`.
            groups: covariate -> its columns in the design.
            site: Name of the site, for messages.
            conformal: Their conformal groups, [n].

        Raises:
            InputError: With fewer than 10 controls in whom any region was observed; it names the site.
        """
        where = f"site {site!r}" if site else "the new site"
        usable = min((int(np.isfinite(z).any(1).sum()) for z in raw.values()), default=len(design))
        if usable < FEWEST_CONTROLS:
            todo = "add controls, or score its people without adaptation (deviations.unseen_site: population)"
            raise InputError(where, f"{usable} controls", f"at least {FEWEST_CONTROLS} to adapt to it", todo)
        own = Calibrated(
            calibrators={kind: adapt(self.calibrators[kind], z, design) for kind, z in raw.items()},
            groups=None if self.groups is None else np.concatenate([self.groups, conformal]),
            controls=Controls(raw, design),
        )
        if latents is None or self.latent is None:
            return own
        try:
            return replace(own, latent=LatentNorm.fit(latents, design, groups, max(1, len(self.latent.members))))
        except InputError as error:
            logger.info("%s: kind latent is left out: %s", where, error)
            return own

    @property
    def record(self) -> dict[str, Any]:
        """What is saved besides the arrays: the calibrator's name of each kind, and the conformal groups."""
        names = {kind: calibrator.name for kind, calibrator in self.calibrators.items()}
        return {"calibrators": names, "conformal_groups": None if self.groups is None else self.groups.tolist()}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays to save, by name; `record` holds the rest."""
        parts = {f"calibrator.{kind}": calibrator.to_arrays() for kind, calibrator in self.calibrators.items()}
        parts |= {"latent": self.latent.to_arrays()} if self.latent else {}
        return {f"{part}.{name}": x for part, arrays in parts.items() for name, x in arrays.items()}

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        record: Mapping[str, Any],
        groups: Mapping[str, slice],
        *,
        prefix: str = "",
    ) -> Self:
        """The inverse of `to_arrays` and `record`.

        Args:
            arrays: By name.
            record: As `record` returned it.
            groups: covariate -> its columns in the design.
            prefix: Only arrays whose names begin with it are read.
        """
        own = under(arrays, prefix)
        calibrators = {
            kind: load_calibrator(name, under(own, f"calibrator.{kind}."), groups)
            for kind, name in record["calibrators"].items()
        }
        latent, people = under(own, "latent."), record.get("conformal_groups")
        code_points = own.get("conformal.groups")  # version 0.1 saved text as code points, [n_cal, longest]
        if code_points is not None:
            people = np.ascontiguousarray(code_points, np.uint32).view(f"U{code_points.shape[1]}")[:, 0]
        return cls(
            calibrators=calibrators,
            latent=LatentNorm.from_arrays(latent, groups) if latent else None,
            groups=None if people is None else np.array(people, dtype=str),
        )
