"""Calibrated: raw deviations -> calibrated ones, for the people of the training or for those of one site."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from pyro_mmnorm.calibration import Calibrator, adapt, load_calibrator, mean_square
from pyro_mmnorm.calibration.site import FEWEST_CONTROLS
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.mahalanobis import LatentNorm
from pyro_mmnorm.statistics import benjamini_hochberg

__all__ = ["Calibrated"]

type Floats = NDArray[np.float64]

LATENT = {"latent_z": ("subject", "latent")} | dict.fromkeys(
    ("latent_distance", "latent_p", "latent_conformal_p"), ("subject",)
)

logger = logging.getLogger("pyro_mmnorm")


@dataclass(frozen=True)
class Calibrated:
    """What turns raw into calibrated deviations: that of the people of the training, or of one site.

    Args:
        calibrators: Of each regional kind.
        latent: Of kind `latent`, if there is one.
    """

    calibrators: Mapping[str, Calibrator]
    latent: LatentNorm | None = None

    def __call__(self, raw: xr.Dataset, design: Floats, kind: str) -> xr.Dataset:
        """Deviations of people from their raw ones.

        Args:
            raw: z_raw, expected and sd (subject, region); for kind `latent` the posterior `mean` (subject, latent).
            design: Encoded covariates, [n, c].
            kind: One that is calibrated.

        Returns:
            `raw` with everything that the calibrator adds, see `NormativeModel.deviations`; what `LatentNorm` gives for
            kind `latent`, and NaN where there is none.
        """
        if kind == "latent":
            return self._latent(raw, design)
        calibrator, dims, z_raw = self.calibrators[kind], ("subject", "region"), raw["z_raw"].to_numpy()
        z = calibrator(z_raw, design)
        centre, low, high = (calibrator.raw_at(at, design) for at in (0.0, -1.0, 1.0))
        omnibus = mean_square(z)
        return raw.assign(
            z=(dims, z),
            p=(dims, calibrator.conformal(np.abs(z))),
            q=(dims, benjamini_hochberg(2 * special.ndtr(-np.abs(z)), axis=1)),
            expected=(dims, raw["expected"].to_numpy() + centre * raw["sd"].to_numpy()),
            sd=(dims, raw["sd"].to_numpy() * (high - low) / 2),
            extrapolated=(dims, np.abs(z) > calibrator.conformal.largest_score),
            omnibus=("subject", omnibus),
            omnibus_p=("subject", calibrator.omnibus(omnibus[:, None])[:, 0]),
        )

    def _latent(self, raw: xr.Dataset, design: Floats) -> xr.Dataset:
        mean = raw["mean"].to_numpy()
        if self.latent:
            return self.latent(mean, design).assign_coords(raw.coords)
        empty = {name: (dims, np.full(mean.shape[: len(dims)], np.nan)) for name, dims in LATENT.items()}
        return xr.Dataset(empty, {**raw.coords, "latent": np.arange(mean.shape[1])})

    def to_site(
        self, raw: Mapping[str, Floats], latents: Floats | None, design: Floats, groups: Mapping[str, slice], site: str
    ) -> "Calibrated":
        """The same for a new site, by `calibration.adapt`; `latent` anew, and only where the controls are enough.

        Args:
            raw: kind -> raw z of the controls, [n, d].
            latents: Their posterior means, [n, k]; None leaves kind `latent` out.
            design: Their covariates, with 0 in the columns of `site`, [n, c].
            groups: covariate -> its columns.
            site: Its name, for messages.

        Raises:
            InputError: With fewer than 10 controls that have any region observed; it names the site.
        """
        where = f"site {site!r}" if site else "the new site"
        known = min((int(np.isfinite(z).any(1).sum()) for z in raw.values()), default=len(design))
        if known < FEWEST_CONTROLS:
            todo = "find more, or take the answer for the population (deviations.unseen_site: population)"
            raise InputError(where, f"{known} controls", f"at least {FEWEST_CONTROLS} to adapt to it", todo)
        calibrators = {kind: adapt(self.calibrators[kind], z, design) for kind, z in raw.items()}
        if latents is None:
            return Calibrated(calibrators)
        try:
            return Calibrated(calibrators, LatentNorm.fit(latents, design, groups))
        except InputError as error:
            logger.info("%s: kind latent left out: %s", where, error)
            return Calibrated(calibrators)

    @property
    def names(self) -> dict[str, str]:
        """kind -> name of its calibrator."""
        return {kind: calibrator.name for kind, calibrator in self.calibrators.items()}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that has to be kept, by name."""
        parts = {f"calibrator.{kind}": calibrator.to_arrays() for kind, calibrator in self.calibrators.items()}
        parts |= {"latent": self.latent.to_arrays()} if self.latent else {}
        return {f"{part}.{name}": x for part, arrays in parts.items() for name, x in arrays.items()}

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        names: Mapping[str, str],
        groups: Mapping[str, slice],
        *,
        prefix: str = "",
    ) -> Self:
        """The inverse of `to_arrays` and `names`, from arrays whose names begin with `prefix`."""

        def under(part: str) -> dict[str, NDArray[Any]]:
            start = prefix + part
            return {name.removeprefix(start): x for name, x in arrays.items() if name.startswith(start)}

        calibrators = {
            kind: load_calibrator(name, under(f"calibrator.{kind}."), groups) for kind, name in names.items()
        }
        latent = under("latent.")
        return cls(calibrators, LatentNorm.from_arrays(latent, groups) if latent else None)
