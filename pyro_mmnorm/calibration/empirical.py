"""Empirical calibrator: the Gaussian one, then the shape of the residuals, pooled over regions (numpy and scipy)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.optimize import minimize_scalar

from pyro_mmnorm.calibration.conformal import Conformal, two_sided
from pyro_mmnorm.calibration.gaussian import GaussianCalibrator
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.student_t import LARGE_DF, normal_to_student_t, student_t_to_normal

__all__ = ["EmpiricalCalibrator", "Shape"]


LEVELS = np.linspace(0.05, 0.95, 19)
NORMAL = special.ndtri(LEVELS)
TAIL, TAIL_ERRORS = 0.05, 2.0
SMALLEST_DF, FEWEST_DF = 2.0, 4.0
NEAREST, STEP = 0.05, 1e-9  # the outer knots lie on either side of 0, and no two in one place


@dataclass(frozen=True, kw_only=True)
class Shape:
    r"""A monotone map to N(0, 1) of variables that have about mean 0 and SD 1.

    Between the 5th and 95th centile it joins the centiles by straight lines. Beyond, the tail is that of a Student t,

    .. math:: P(X > x) = P\big(T_\nu > x / \sigma\big), \qquad \sigma = x_{95} / F_{T_\nu}^{-1}(0.95)

    with degrees of freedom of its own on either side. Centiles of all regions are pooled, and shrunk towards those of
    N(0, 1) as far as they differ by no more than people make them (James & Stein, positive part). A tail is Gaussian
    unless it is heavier by more than two standard errors, for a little heavier than the truth is much too heavy for a
    region 6 SD away: with the maximum likelihood estimate of 1 / nu over the cells beyond, and its standard error over
    people (their regions go together),

    .. math:: \frac1\nu = \lambda \max\Big(0, 1 - \Big(\frac{2\, \mathrm{se}(\lambda)}{\lambda}\Big)^2\Big)

    Args:
        knots: The 5th, 10th, ... 95th centile, [19].
        df: nu of the lower and the upper tail, [2].

    References:
        James & Stein (1961), Estimation with quadratic loss, https://projecteuclid.org/euclid.bsmsp/1200512173

    Examples:
        >>> heavy = np.random.default_rng(0).standard_t(4, size=(1000, 50)) / 2**0.5
        >>> shape = Shape.fit(heavy)
        >>> shape.df.round(), shape(np.array([0.0, 5.0])).round(1)
        (array([4., 4.]), array([0. , 3.1]))
    """

    knots: Floats
    df: Floats

    @classmethod
    def fit(cls, x: Floats) -> Self:
        """From n people and d regions, [n, d] with NaN where not observed."""
        seen = np.isfinite(x)
        cells = np.sort(x[seen])
        found = np.quantile(cells, LEVELS)
        share = np.stack([((x <= q) & seen).sum(1) for q in found], 1) - LEVELS * seen.sum(1)[:, None]
        variance = (share**2).sum(0) / len(cells) ** 2 / np.exp(-(NORMAL**2)) * 2 * np.pi
        kept = max(0.0, 1 - variance.sum() / ((found - NORMAL) ** 2).sum())
        knots = NORMAL + kept * (found - NORMAL)
        knots[0], knots[-1] = min(knots[0], -NEAREST), max(knots[-1], NEAREST)
        knots = np.maximum.accumulate(knots) + STEP * np.arange(len(knots))
        return cls(knots=knots, df=np.array([_tail_df(-x, -knots[0]), _tail_df(x, knots[-1])]))

    def __call__(self, x: ArrayLike) -> Floats:
        """Normal scores of any shape; NaN stays NaN."""
        x = np.asarray(x, float)
        z = np.asarray(np.interp(x, self.knots, NORMAL))
        for side, df, sigma in zip((x < self.knots[0], x > self.knots[-1]), self.df, self._sigma(), strict=True):
            z[side] = student_t_to_normal(x[side] / sigma, df)
        return z

    def inverse(self, z: ArrayLike) -> Floats:
        """What maps to z."""
        z = np.asarray(z, float)
        x = np.asarray(np.interp(z, NORMAL, self.knots))
        for side, df, sigma in zip((z < NORMAL[0], z > NORMAL[-1]), self.df, self._sigma(), strict=True):
            x[side] = sigma * normal_to_student_t(z[side], df)
        return x

    def _sigma(self) -> Floats:
        return self.knots[[0, -1]] / normal_to_student_t(NORMAL[[0, -1]], self.df)


def _tail_df(x: Floats, edge: float) -> float:
    """Degrees of freedom of the t tail of x [n, d] beyond `edge` > 0; many where it may as well be Gaussian."""
    beyond = x > edge
    if beyond.sum() < 2:
        return LARGE_DF

    def log_density(inverse: float) -> Floats:
        df = 1 / inverse
        sigma = edge / -special.stdtrit(df, TAIL)
        constant = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - 0.5 * np.log(df * np.pi) - np.log(sigma)
        found: Floats = constant - (df + 1) / 2 * np.log1p((x[beyond] / sigma) ** 2 / df)
        return found

    bounds = (1 / LARGE_DF, 1 / SMALLEST_DF)
    best = float(minimize_scalar(lambda inverse: -log_density(inverse).mean(), bounds=bounds, method="bounded").x)
    step = max(best / 20, 1e-4)
    here, on, further = (log_density(best + i * step) for i in range(3))
    slope = np.bincount(np.nonzero(beyond)[0], 4 * on - 3 * here - further) / (2 * step)
    error = np.linalg.norm(slope) / (np.abs((here - 2 * on + further).sum()) / step**2)
    kept = max(0.0, 1 - float(TAIL_ERRORS * error / best) ** 2)
    return LARGE_DF if kept * best * LARGE_DF <= 1 else 1 / (kept * best)


@dataclass(frozen=True, kw_only=True)
class EmpiricalCalibrator:
    r"""Location and scale of `GaussianCalibrator`, and the map that makes the pooled residuals normal.

    .. math:: z_{ij} = s\big(t_{ij} \sqrt{1 - 2 / \nu_j}\big)

    with t and nu of the Gaussian calibrator, so that the argument has SD 1. Location and scale are those of each
    region, the shape s is common to all: tails beyond the 5th and 95th centile need more cells than one region has.

    Args:
        base: Location and scale.
        shape: s, from the calibration people, each left out of the base.
        conformal: Two-sided, per region.
        omnibus: The same for the mean z^2 of a person.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> raw, nothing = rng.standard_t(4, size=(500, 20)), np.zeros((500, 0))
        >>> fitted = EmpiricalCalibrator.fit(raw, nothing, {})
        >>> z = fitted(rng.standard_t(4, size=(500, 20)), nothing)
        >>> round(100 * float((abs(z) > 2.58).mean()), 1)
        1.3
    """

    name: ClassVar[str] = "empirical"
    base: GaussianCalibrator
    shape: Shape
    conformal: Conformal
    omnibus: Conformal

    @classmethod
    def fit(cls, raw: ArrayLike, design: ArrayLike, groups: Mapping[str, slice]) -> Self:
        """Fit on calibration people; the arguments are those of `GaussianCalibrator.fit`."""
        base, t, df = GaussianCalibrator.fitted(raw, design, groups)
        left_out = t * _unit(df)
        shape = Shape.fit(left_out)
        return cls(base=base, shape=shape, **two_sided(shape(left_out)))

    def refit(self, raw: Floats, design: Floats) -> Self:
        """The same strengths of shrinkage and the same conformal scores on other people, for the bootstrap."""
        base, t, df = self.base.refitted(raw, design)
        return replace(self, base=base, shape=Shape.fit(t * _unit(df)))

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:
        """Calibrated z of new people, [n, d]; NaN where raw is NaN."""
        mean, sd, df = self.base.placed(design)
        return self.shape((np.asarray(raw, float) - mean) / (sd / _unit(df)))

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z` (broadcast to [n, d]), for centiles in the units of the table."""
        mean, sd, df = self.base.placed(design)
        return mean + self.shape.inverse(z) * (sd / _unit(df))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that has to be kept, by name."""
        base = {f"base.{name}": array for name, array in self.base.to_arrays().items()}
        own = {"knots": self.shape.knots, "df": self.shape.df}
        return base | own | {"conformal": self.conformal.scores, "omnibus": self.omnibus.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], groups: Mapping[str, slice]) -> Self:
        """The inverse of `to_arrays`."""
        base = {name.removeprefix("base."): array for name, array in arrays.items() if name.startswith("base.")}
        return cls(
            base=GaussianCalibrator.from_arrays(base, groups),
            shape=Shape(knots=arrays["knots"], df=arrays["df"]),
            **{name: Conformal.fit(arrays[name]) for name in ("conformal", "omnibus")},
        )


def _unit(df: Floats) -> Floats:
    """What a t variable is multiplied by to have SD 1."""
    return np.sqrt(1 - 2 / np.maximum(df, FEWEST_DF))
