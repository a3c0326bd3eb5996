"""The latent distance: how far a person's latents lie from those of healthy people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import qr

from pyro_mmnorm.calibration.conformal import Conformal
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.results.person_figures import sd_over_members
from pyro_mmnorm.stats.regression import ShrunkRegression

__all__ = ["FIGURES", "LatentNorm"]


FIGURES = ["latent_distance", "latent_p", "latent_conformal_p"]
"""What kind `latent` says of a person."""
TINY, COLLINEAR = 1e-9, 1e-3


@dataclass(frozen=True, kw_only=True)
class LatentNorm:
    r"""Mahalanobis distance of a person's posterior mean, with a p-value that knows how few people it rests on.

    The posterior means of n calibration controls, less what covariates explain of them, have covariance S on
    :math:`\nu` degrees of freedom. For a new person with residual r and leverage h,

    .. math::
        D^2 = \frac{r^\top S^{-1} r}{1 + h}, \qquad
        \frac{\nu - k + 1}{k\, \nu} D^2 \sim F_{k,\ \nu - k + 1}

    when latents are normal; a chi-square with k degrees of freedom would call far too many people odd. The conformal p
    compares D with that of each calibration person, left out in the same form, and asks for no distribution.

    Args:
        regression: Of posterior means on covariates.
        covariance: S, [k, k].
        df: nu.
        distances: D of the calibration people, each left out, [n].
        kept: Latents that vary, and that are no combination of others, as those of equal ensemble members are; the rest
            adds nothing and is left out of the distance.
        members: The same for the latents of each ensemble member alone, None where not one of them varies (a collapsed
            member puts everybody at distance 0, with p = 1); empty for a lone model.

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
        """From posterior means and designs [n, c] of held-out controls.

        Args:
            mean: [n, k]; of an ensemble the latents of its first member, then those of the next, and so on.
            design: Encoded covariates, [n, c].
            groups: covariate -> its columns.
            members: How many the latents are of.

        Raises:
            InputError: When there are not at least 5 people more than latents, or where no latent varies.
        """
        each = np.split(mean, members, 1) if members > 1 else []
        alone = tuple(cls.fit(own, design, groups) if _independent(own).any() else None for own in each)
        kept = _independent(mean)
        k, n = int(kept.sum()), len(mean)
        if not 0 < k <= n - 5:
            todo = "hold out more people, or use fewer latents"
            raise InputError("latent distance", f"{n} controls and {k} latents that vary", f"at least {k + 5}", todo)
        regression = ShrunkRegression.fit(design, mean[:, kept], groups)
        residual = mean[:, kept] - regression.predict(design)[0]
        left_out, factor, _ = regression.left_out(design, mean[:, kept])
        df = float((1 / factor).sum(0).mean())  # sum of 1 - h: people less what the regression uses up
        covariance = residual.T @ residual / df
        away, h = mean[:, kept] - left_out, 1 - 1 / factor.mean(1)
        square = _without_self(residual, away, h, covariance, df)
        distances = np.sqrt(square)
        return cls(regression=regression, covariance=covariance, df=df, distances=distances, kept=kept, members=alone)

    def __call__(self, mean: Floats, design: Floats) -> xr.Dataset:
        """Distances of anybody.

        Returns:
            latent_z (subject, latent): residual of each latent in SDs of controls; latent_distance (subject): D;
            latent_p: by the F distribution; latent_conformal_p. Of an ensemble also <name>_member_sd of these three:
            SD over members of what the latents of each alone give, against the same controls.
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
        found = xr.Dataset(
            {
                "latent_z": (("subject", "latent"), z),
                "latent_distance": ("subject", np.sqrt(square)),
                "latent_p": ("subject", stats.f.sf(f, k, self.df - k + 1)),
                "latent_conformal_p": ("subject", conformal(np.sqrt(square)[:, None])[:, 0]),
            },
            coords={"latent": np.arange(mean.shape[1])},
        )
        if not self.members:
            return found
        each = np.split(mean, len(self.members), 1)
        same = found[FIGURES].map(np.zeros_like)
        collapsed = same.assign({name: same[name] + 1.0 for name in FIGURES[1:]})
        parts = [norm(x, design)[FIGURES] if norm else collapsed for norm, x in zip(self.members, each, strict=True)]
        return found.assign(sd_over_members(parts).data_vars)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays."""
        r = self.regression
        parts = {name: getattr(r, name) for name in REGRESSION}
        members = [own.to_arrays().items() if own else () for own in self.members]
        return {f"regression.{name}": x for name, x in parts.items()} | {
            "covariance": self.covariance,
            "df": np.array([self.df]),
            "distances": self.distances,
            "kept": self.kept,
            "members": np.array([len(self.members)]),
            **{f"member.{e}.{name}": x for e, own in enumerate(members) for name, x in own},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], groups: Mapping[str, slice]) -> Self:
        """The inverse of `to_arrays`; groups name the columns of the design."""
        parts: dict[str, Any] = {name: arrays[f"regression.{name}"] for name in REGRESSION}
        alone: dict[int, dict[str, NDArray[Any]]] = {}
        for name, x in arrays.items():
            if name.startswith("member."):
                _, e, own = name.split(".", 2)
                alone.setdefault(int(e), {})[own] = x
        return cls(
            regression=ShrunkRegression(groups=dict(groups), **parts),
            covariance=arrays["covariance"],
            df=float(arrays["df"][0]),
            distances=arrays["distances"],
            kept=arrays["kept"],
            members=tuple(
                cls.from_arrays(alone[e], groups) if e in alone else None for e in range(int(arrays["members"].item()))
            ),
        )


REGRESSION = ("log_ratio", "coef", "inverse", "pattern", "variance", "count")


def _independent(mean: Floats) -> NDArray[np.bool_]:
    """Columns that vary by more than a thousandth of their SD beside those already taken (QR with pivots)."""
    sd = mean.std(0)
    varies = np.flatnonzero(sd > TINY)
    kept = np.zeros(len(sd), bool)
    if len(varies):
        unit = (mean[:, varies] - mean[:, varies].mean(0)) / sd[varies]
        triangle, order = qr(unit, mode="r", pivoting=True)
        size = np.abs(np.diag(triangle))
        kept[varies[order[: len(size)][size > COLLINEAR * size[0]]]] = True
    return kept


def _without_self(residual: Floats, away: Floats, h: Floats, covariance: Floats, df: float) -> Floats:
    r"""D^2 of each person of the fit, that person taken out of mean and covariance (Sherman-Morrison).

    Taking person i out leaves :math:`S_{-i} = (\nu S - r_i r_i^\top / (1 - h_i)) / (\nu - 1)`.
    """
    inverse = np.linalg.inv(covariance * df)
    own = (residual @ inverse * residual).sum(1) / (1 - h)
    pull = (away @ inverse * residual).sum(1)
    square = (away @ inverse * away).sum(1) + pull**2 / (1 - h) / np.maximum(1 - own, TINY)
    return (df - 1) * square * (1 - h)
