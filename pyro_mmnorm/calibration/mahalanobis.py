"""The latent distance: the Mahalanobis distance of a person's latents from those of healthy people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import qr

from pyro_mmnorm.calibration.conformal import Conformal
from pyro_mmnorm.calibration.saved_arrays import regression_arrays, regression_from_arrays, under
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.results.person_measures import sd_over_members
from pyro_mmnorm.stats.regression import ShrunkRegression

__all__ = ["LATENT_MEASURES", "LatentNorm"]


LATENT_MEASURES = ["latent_distance", "latent_p", "latent_conformal_p"]
"""Measures of a person in kind `latent`."""
TINY = 1e-9
COLLINEAR = 1e-3
"""Residual SD, relative to the first latent, below which a latent is a linear combination of others."""


@dataclass(frozen=True, kw_only=True)
class LatentNorm:
    r"""Mahalanobis distance of posterior means, with p-values that account for the estimated covariance.

    The residuals of the posterior means of n calibration controls, regressed on the covariates, have covariance S with
    :math:`\nu` degrees of freedom. For a new person with residual r and leverage h,

    .. math::
        D^2 = \frac{r^\top S^{-1} r}{1 + h}, \qquad
        \frac{\nu - k + 1}{k\, \nu} D^2 \sim F_{k,\ \nu - k + 1}

    when latents are normal. A chi-square distribution with k degrees of freedom ignores the error of S and rejects too
    often. The conformal p compares D with the leave-one-out D of each calibration control and assumes no distribution.

    Args:
        regression: Regression of posterior means on covariates.
        covariance: S, [k, k].
        df: nu.
        distances: Leave-one-out D of the calibration controls, [n].
        kept: Latents that enter the distance. Latents that do not vary, or that are linear combinations of others (as
            those of equal ensemble members are), add nothing and are excluded.
        members: The norm of the latents of each ensemble member alone, None for a collapsed member, in which no latent
            varies (everybody is at distance 0, with p = 1); empty for a single model.

    References:
        Hotelling (1931), The generalization of Student's ratio, https://doi.org/10.1214/aoms/1177732979
    """

    regression: ShrunkRegression
    covariance: Floats
    df: float
    distances: Floats
    kept: NDArray[np.bool_]
    members: tuple["LatentNorm | None", ...] = ()

    @classmethod
    def fit(cls, mean: Floats, design: Floats, groups: Mapping[str, slice], members: int = 1) -> Self:
        """Fit on posterior means of held-out controls.

        Args:
            mean: Posterior means, [n, k]; of an ensemble, the latents of its members one after the other.
            design: Encoded covariates, [n, c].
            groups: covariate -> its columns in the design.
            members: Number of ensemble members.

        Raises:
            InputError: With fewer people than latents that vary plus 5, or when no latent varies.

        Examples:
            >>> mean = np.random.default_rng(0).normal(size=(200, 3))
            >>> norm = LatentNorm.fit(mean, np.zeros((200, 0)), {})
            >>> norm(np.array([[0.0, 0.0, 3.0]]), np.zeros((1, 0)))["latent_p"].item() < 0.05
            True
        """
        each = np.split(mean, members, 1) if members > 1 else []
        alone = tuple(cls.fit(own, design, groups) if _independent(own).any() else None for own in each)
        kept = _independent(mean)
        k, n = int(kept.sum()), len(mean)
        if not 0 < k <= n - 5:
            todo = "hold out more people, or use fewer latents"
            raise InputError("latent distance", f"{n} controls and {k} latents that vary", f"at least {k + 5}", todo)
        # residuals on the covariates, and their covariance on n less the degrees of freedom of the regression
        latents = mean[:, kept]
        regression = ShrunkRegression.fit(design, latents, groups)
        residual = latents - regression.predict(design)[0]
        left_out, factor, _ = regression.left_out(design, latents)  # factor: 1 / (1 - h)
        df = float((1 / factor).sum(0).mean())
        covariance = residual.T @ residual / df
        # leave-one-out distances
        square = _left_out_squares(residual, latents - left_out, 1 - 1 / factor.mean(1), covariance, df)
        distances = np.sqrt(square)
        return cls(regression=regression, covariance=covariance, df=df, distances=distances, kept=kept, members=alone)

    def __call__(self, mean: Floats, design: Floats) -> xr.Dataset:
        """Distances of people.

        Args:
            mean: Posterior means, [n, k], as in `fit`.
            design: Encoded covariates, [n, c].

        Returns:
            latent_z (subject, latent): residual of each latent in SDs of controls; latent_distance (subject): D;
            latent_p: by the F distribution; latent_conformal_p. Of an ensemble also <name>_member_sd of these three:
            the SD over members, each with the norm of its own latents.
        """
        expected, h = self.regression.predict(design)
        residual = mean[:, self.kept] - expected
        factor = 1 + h.mean(1)
        square = (residual * np.linalg.solve(self.covariance, residual.T).T).sum(1) / factor
        k = self.covariance.shape[0]
        f = (self.df - k + 1) / (k * self.df) * square
        z = np.full(mean.shape, np.nan)
        z[:, self.kept] = residual / np.sqrt(np.diag(self.covariance) * factor[:, None])
        conformal = Conformal.fit(self.distances[:, None])
        measures = xr.Dataset(
            {
                "latent_z": (("subject", "latent"), z),
                "latent_distance": ("subject", np.sqrt(square)),
                "latent_p": ("subject", stats.f.sf(f, k, self.df - k + 1)),
                "latent_conformal_p": ("subject", conformal(np.sqrt(square)[:, None])[:, 0]),
            },
            coords={"latent": np.arange(mean.shape[1])},
        )
        if not self.members:
            return measures
        zero = measures[LATENT_MEASURES].map(np.zeros_like)
        collapsed = zero.assign({name: zero[name] + 1.0 for name in LATENT_MEASURES[1:]})
        members = zip(self.members, np.split(mean, len(self.members), 1), strict=True)
        parts = [norm(own, design)[LATENT_MEASURES] if norm else collapsed for norm, own in members]
        return measures.assign(sd_over_members(parts).data_vars)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays to save, by name."""
        members = [own.to_arrays().items() if own else () for own in self.members]
        return regression_arrays(self.regression, "regression.") | {
            "covariance": self.covariance,
            "df": np.array([self.df]),
            "distances": self.distances,
            "kept": self.kept,
            "members": np.array([len(self.members)]),
            **{f"member.{e}.{name}": x for e, own in enumerate(members) for name, x in own},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], groups: Mapping[str, slice]) -> Self:
        """The inverse of `to_arrays`; `groups` as in `fit`."""
        members = [under(arrays, f"member.{e}.") for e in range(int(arrays["members"].item()))]
        return cls(
            regression=regression_from_arrays(arrays, "regression.", groups),
            covariance=arrays["covariance"],
            df=float(arrays["df"][0]),
            distances=arrays["distances"],
            kept=arrays["kept"],
            members=tuple(cls.from_arrays(own, groups) if own else None for own in members),
        )


def _independent(mean: Floats) -> NDArray[np.bool_]:
    """Latents that vary and are no linear combination of others, [k], by a QR decomposition with pivoting."""
    sd = mean.std(0)
    varies = np.flatnonzero(sd > TINY)
    independent = np.zeros(len(sd), bool)
    if len(varies):
        unit = (mean[:, varies] - mean[:, varies].mean(0)) / sd[varies]
        triangle, order = qr(unit, mode="r", pivoting=True)
        residual = np.abs(np.diag(triangle))
        independent[varies[order[: len(residual)][residual > COLLINEAR * residual[0]]]] = True
    return independent


def _left_out_squares(residual: Floats, residual_out: Floats, h: Floats, covariance: Floats, df: float) -> Floats:
    r"""Leave-one-out D^2 of each person of the fit, [n], with mean and covariance of the others.

    Without person i, :math:`S_{-i} = (\nu S - r_i r_i^\top / (1 - h_i)) / (\nu - 1)`.

    Args:
        residual: r, [n, k].
        residual_out: Residuals from the leave-one-out mean, [n, k].
        h: Leverages, [n].
        covariance: S, [k, k].
        df: nu.
    """
    inverse = np.linalg.inv(covariance * df)
    # Sherman-Morrison: the quadratic form of the inverse of nu S - r r' / (1 - h)
    own = (residual @ inverse * residual).sum(1) / (1 - h)
    cross = (residual_out @ inverse * residual).sum(1)
    square = (residual_out @ inverse * residual_out).sum(1) + cross**2 / (1 - h) / np.maximum(1 - own, TINY)
    # times nu - 1; 1 - h = 1 / (1 + h_out), with the leverage of a person outside the fit
    return (df - 1) * square * (1 - h)
