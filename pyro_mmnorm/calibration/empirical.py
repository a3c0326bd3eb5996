"""Empirical calibrator: the Gaussian one, with a shape of the residuals pooled over regions (numpy and scipy only)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.optimize import minimize_scalar

from pyro_mmnorm.calibration.conformal import Conformal, two_sided, two_sided_arrays, two_sided_from_arrays
from pyro_mmnorm.calibration.gaussian import GaussianCalibrator
from pyro_mmnorm.calibration.saved_arrays import under
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.student_t import LARGE_DF, normal_to_student_t, student_t_to_normal

__all__ = ["EmpiricalCalibrator", "Shape"]


LEVELS = np.linspace(0.05, 0.95, 19)
NORMAL = special.ndtri(LEVELS)
TAIL = 0.05
TAIL_ERRORS = 2.0
"""Standard errors by which a tail must be heavier than Gaussian."""
SMALLEST_DF = 2.0
"""Fewest degrees of freedom of a tail."""
FEWEST_DF = 4.0
"""Degrees of freedom below which t values are scaled by the SD of this many: the SD is infinite at 2."""
NEAREST, STEP = 0.05, 1e-9
"""Smallest distance of the outer knots from 0, and between neighbouring knots."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    r"""A monotone map to N(0, 1) for variables with a mean of about 0 and an SD of about 1.

    Between the 5th and the 95th centile the map joins the centiles by straight lines. Beyond them, the tails are those
    of Student t distributions, with separate degrees of freedom on each side,

    .. math:: P(X > x) = P\big(T_\nu > x / \sigma\big), \qquad \sigma = x_{95} / F_{T_\nu}^{-1}(0.95)

    Centiles are pooled over regions, and shrunk towards those of N(0, 1) (James & Stein, positive part). Their
    sampling error counts people, since the regions of a person correlate. A tail is heavier than Gaussian only where
    the maximum likelihood estimate lambda of 1 / nu, from the cells beyond the outer centile, exceeds two of its
    standard errors, again over people. The reason: a tail that is estimated slightly too heavy is wrong by a large
    factor 6 SD from the mean.

    .. math:: \frac1\nu = \lambda \max\Big(0, 1 - \Big(\frac{2\, \mathrm{se}(\lambda)}{\lambda}\Big)^2\Big)

    Args:
        knots: The 5th, 10th, ... 95th centile, [19].
        df: nu of the lower and of the upper tail, [2].

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
        """Fit on n people and d regions, [n, d] with NaN where not observed."""
        observed = np.isfinite(x)
        cells = np.sort(x[observed])
        # pooled centiles
        centiles = np.quantile(cells, LEVELS)
        # their sampling variance, from the number of cells of each person below a centile, by the delta method
        excess = np.stack([((x <= q) & observed).sum(1) for q in centiles], 1) - LEVELS * observed.sum(1)[:, None]
        variance = (excess**2).sum(0) / len(cells) ** 2 / np.exp(-(NORMAL**2)) * 2 * np.pi
        # positive-part James-Stein shrinkage towards the centiles of N(0, 1)
        kept = max(0.0, 1 - variance.sum() / ((centiles - NORMAL) ** 2).sum())
        knots = NORMAL + kept * (centiles - NORMAL)
        # knots on both sides of 0 and in strictly increasing order
        knots[0], knots[-1] = min(knots[0], -NEAREST), max(knots[-1], NEAREST)
        knots = np.maximum.accumulate(knots) + STEP * np.arange(len(knots))
        return cls(knots=knots, df=np.array([_tail_df(-x, -knots[0]), _tail_df(x, knots[-1])]))

    def __call__(self, x: ArrayLike) -> Floats:
        """Normal scores of x, in the shape of x; NaN stays NaN."""
        x = np.asarray(x, float)
        z = np.asarray(np.interp(x, self.knots, NORMAL))
        for tail, df, sigma in zip((x < self.knots[0], x > self.knots[-1]), self.df, self._sigma(), strict=True):
            z[tail] = student_t_to_normal(x[tail] / sigma, df)
        return z

    def inverse(self, z: ArrayLike) -> Floats:
        """The x whose normal score is z, in the shape of z; NaN stays NaN."""
        z = np.asarray(z, float)
        x = np.asarray(np.interp(z, NORMAL, self.knots))
        for tail, df, sigma in zip((z < NORMAL[0], z > NORMAL[-1]), self.df, self._sigma(), strict=True):
            x[tail] = sigma * normal_to_student_t(z[tail], df)
        return x

    def _sigma(self) -> Floats:
        """Scale of the lower and of the upper tail, [2]."""
        return self.knots[[0, -1]] / normal_to_student_t(NORMAL[[0, -1]], self.df)


def _tail_df(x: Floats, edge: float) -> float:
    """Degrees of freedom of the t tail of x [n, d] beyond `edge` > 0; `LARGE_DF` unless heavier than Gaussian."""
    beyond = x > edge
    if beyond.sum() < 2:
        return LARGE_DF

    def log_density(inverse: float) -> Floats:
        df = 1 / inverse
        sigma = edge / -special.stdtrit(df, TAIL)
        constant = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - 0.5 * np.log(df * np.pi) - np.log(sigma)
        density: Floats = constant - (df + 1) / 2 * np.log1p((x[beyond] / sigma) ** 2 / df)
        return density

    # maximum likelihood estimate of 1 / nu
    bounds = (1 / LARGE_DF, 1 / SMALLEST_DF)
    best = float(minimize_scalar(lambda inverse: -log_density(inverse).mean(), bounds=bounds, method="bounded").x)
    # its standard error over people: score of each person and curvature, by forward differences (sandwich estimator)
    step = max(best / 20, 1e-4)
    at_best, one_step, two_steps = (log_density(best + i * step) for i in range(3))
    score = np.bincount(np.nonzero(beyond)[0], 4 * one_step - 3 * at_best - two_steps) / (2 * step)
    curvature = np.abs((at_best - 2 * one_step + two_steps).sum()) / step**2
    error = np.linalg.norm(score) / curvature
    # positive-part shrinkage of 1 / nu towards the Gaussian tail
    kept = max(0.0, 1 - float(TAIL_ERRORS * error / best) ** 2)
    return LARGE_DF if kept * best * LARGE_DF <= 1 else 1 / (kept * best)


@dataclass(frozen=True, kw_only=True)
class EmpiricalCalibrator:
    r"""Location and scale of `GaussianCalibrator`, followed by the map that makes the pooled residuals normal.

    .. math:: z_{ij} = s\big(t_{ij} \sqrt{1 - 2 / \nu_j}\big)

    with t and nu of the Gaussian calibrator, so that the argument of s has SD 1. Each region has its own location and
    scale. The shape s is common to all regions, because one region has too few cells beyond its 5th and 95th centile.

    Args:
        base: Location and scale.
        shape: s, fitted to leave-one-out t values of the calibration controls.
        conformal: Conformal p of |z| per region, from leave-one-out z.
        omnibus: Conformal p of the mean z^2 of a person.

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
        """Fit on calibration controls; the arguments are those of `GaussianCalibrator.fit`."""
        base, t, df = GaussianCalibrator.fit_left_out(raw, design, groups)
        left_out = t * _to_unit_sd(df)
        shape = Shape.fit(left_out)
        return cls(base=base, shape=shape, **two_sided(shape(left_out)))

    def refit(self, raw: Floats, design: Floats) -> Self:
        """Fit on other people with the same penalties and the same conformal scores, for the bootstrap."""
        base, t, df = self.base.refit_left_out(raw, design)
        return replace(self, base=base, shape=Shape.fit(t * _to_unit_sd(df)))

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:
        """Calibrated z of new people, [n, d]; NaN where raw is NaN."""
        mean, scale, df = self.base.predictive_t(design)
        return self.shape((np.asarray(raw, float) - mean) / (scale / _to_unit_sd(df)))

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z` (broadcast to [n, d]), for centiles in the units of the table."""
        mean, scale, df = self.base.predictive_t(design)
        return mean + self.shape.inverse(z) * (scale / _to_unit_sd(df))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays to save, by name."""
        base = {f"base.{name}": array for name, array in self.base.to_arrays().items()}
        shape = {"knots": self.shape.knots, "df": self.shape.df}
        return base | shape | two_sided_arrays(self.conformal, self.omnibus)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], groups: Mapping[str, slice]) -> Self:
        """The inverse of `to_arrays`; `groups` as in `fit`."""
        return cls(
            base=GaussianCalibrator.from_arrays(under(arrays, "base."), groups),
            shape=Shape(knots=arrays["knots"], df=arrays["df"]),
            **two_sided_from_arrays(arrays),
        )


def _to_unit_sd(df: Floats) -> Floats:
    """The factor that gives a t variable with these degrees of freedom SD 1."""
    return np.sqrt(1 - 2 / np.maximum(df, FEWEST_DF))
