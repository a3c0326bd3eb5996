"""Gaussian calibrator: location and scale of raw z, smooth in the covariates (numpy and scipy only)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pyro_mmnorm.calibration.conformal import (
    Conformal,
    mean_square,
    two_sided,
    two_sided_arrays,
    two_sided_from_arrays,
)
from pyro_mmnorm.calibration.saved_arrays import regression_arrays, regression_from_arrays
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.regression import ShrunkRegression
from pyro_mmnorm.stats.student_t import normal_to_student_t, student_t_to_normal

__all__ = ["GaussianCalibrator", "variance_prior"]


@dataclass(frozen=True, kw_only=True)
class GaussianCalibrator:
    r"""Location and scale of raw z, smooth in the covariates, in the small-sample form with leverage.

    .. math::
        t_{ij} = \frac{r_{ij} - m_j(c_i)}{g(c_i)\, s_j \sqrt{1 + h_j(c_i)}}, \qquad
        z_{ij} = \Phi^{-1}(F_{t_{\nu}}(t_{ij}))

    m_j and log g are each a `ShrunkRegression` on the covariates: coefficients of columns that explain nothing are
    shrunk to 0. The scale g is common to all regions. It is fitted to half the log mean square of the leave-one-out
    residuals of each calibration control. The variance s_j^2 is shrunk towards those of the other regions, and nu is
    the sum of the degrees of freedom of s_j^2 and of its prior, see `variance_prior`. A constant factor in g gives the
    leave-one-out t values the mean square of their t distribution.

    Args:
        location: Regression of raw z on the covariates.
        spread: Regression of log g on the covariates.
        level: The constant factor in g.
        prior_df, prior_variance: Degrees of freedom and location of the prior of the variances.
        conformal: Conformal p of |z| per region, from leave-one-out z.
        omnibus: Conformal p of the mean z^2 of a person.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> raw, c = 0.3 + 0.6 * rng.normal(size=(100, 5)), np.zeros((100, 0))
        >>> z = GaussianCalibrator.fit(raw, c, {})(0.3 + 0.6 * rng.normal(size=(1000, 5)), np.zeros((1000, 0)))
        >>> bool(abs(z.std() - 1) < 0.05)
        True
    """

    name: ClassVar[str] = "gaussian"
    location: ShrunkRegression
    spread: ShrunkRegression
    level: float
    prior_df: float
    prior_variance: float
    conformal: Conformal
    omnibus: Conformal

    @classmethod
    def fit(cls, raw: ArrayLike, design: ArrayLike, groups: Mapping[str, slice]) -> Self:
        """Fit on calibration controls.

        Args:
            raw: Raw z, [n, d], NaN where not observed.
            design: Encoded covariates, [n, c].
            groups: covariate -> its columns in the design.
        """
        return cls.fit_left_out(raw, design, groups)[0]

    @classmethod
    def fit_left_out(
        cls, raw: ArrayLike, design: ArrayLike, groups: Mapping[str, slice]
    ) -> tuple[Self, Floats, Floats]:
        """`fit`, with leave-one-out t values of the calibration controls and their degrees of freedom, [n, d] each."""
        raw, design = np.asarray(raw, float), np.asarray(design, float)
        location = ShrunkRegression.fit(design, raw, groups)
        log_spread = _log_spread(location, raw, design)
        spread = ShrunkRegression.fit(design, log_spread, groups)
        fields, t, df = _standardise(location, spread, log_spread, raw, design)
        return cls(**fields, **two_sided(student_t_to_normal(t, df))), t, df

    def refit(self, raw: Floats, design: Floats) -> Self:
        """Fit on other people with the same penalties and the same conformal scores, for the bootstrap."""
        return self.refit_left_out(raw, design)[0]

    def refit_left_out(self, raw: Floats, design: Floats) -> tuple[Self, Floats, Floats]:
        """`refit`, with leave-one-out t values of these people and their degrees of freedom, [n, d] each."""
        location = self.location.refit(design, raw)
        log_spread = _log_spread(location, raw, design)
        fields, t, df = _standardise(location, self.spread.refit(design, log_spread), log_spread, raw, design)
        return replace(self, **fields), t, df

    def predictive_t(self, design: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Location, scale and degrees of freedom of the t distribution of raw z, given covariates [n, c]; [n, d]."""
        g = np.exp(self.spread.predict(design)[0])
        mean, h = self.location.predict(design, g)
        variance, df = _shrunk_variance(self.location.variance, self.location.count, self.prior_df, self.prior_variance)
        return mean, self.level * g * np.sqrt(variance * (1 + h)), df

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:
        """Calibrated z of new people, [n, d]; NaN where raw is NaN."""
        mean, scale, df = self.predictive_t(design)
        return student_t_to_normal((np.asarray(raw, float) - mean) / scale, df)

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z` (broadcast to [n, d]), for centiles in the units of the table."""
        mean, scale, df = self.predictive_t(design)
        return mean + normal_to_student_t(z, df) * scale

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays to save, by name."""
        return {
            **regression_arrays(self.location, "location."),
            **regression_arrays(self.spread, "spread."),
            "constants": np.array([self.level, self.prior_df, self.prior_variance]),
            **two_sided_arrays(self.conformal, self.omnibus),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], groups: Mapping[str, slice]) -> Self:
        """The inverse of `to_arrays`; `groups` as in `fit`."""
        level, prior_df, prior_variance = arrays["constants"].tolist()
        return cls(
            location=regression_from_arrays(arrays, "location.", groups),
            spread=regression_from_arrays(arrays, "spread.", groups),
            level=level,
            prior_df=prior_df,
            prior_variance=prior_variance,
            **two_sided_from_arrays(arrays),
        )


def _log_spread(location: ShrunkRegression, raw: Floats, design: Floats) -> Floats:
    """Half the log mean square of the standardised leave-one-out residuals of each person, [n, 1]."""
    mean, factor, variance = location.left_out(design, raw)
    spread: Floats = 0.5 * np.log(mean_square((raw - mean) / np.sqrt(factor * variance)))[:, None]
    return spread


def _standardise(
    location: ShrunkRegression, spread: ShrunkRegression, log_spread: Floats, raw: Floats, design: Floats
) -> tuple[dict[str, Any], Floats, Floats]:
    """Fields of the calibrator, given the regression of log g; leave-one-out t values and their degrees of freedom."""
    # location, weighted by the scale of each person
    log_g = spread.predict(design)[0]
    location = location.refit(design, raw, np.exp(log_g))
    # prior of the residual variances over regions
    prior_df, prior_variance = variance_prior(location.variance, location.count.astype(float))
    # leave-one-out scale; people without an observed region have none and take the predicted one
    g = np.exp(np.where(np.isfinite(log_spread), spread.left_out(design, log_spread)[0], log_g))
    # leave-one-out t values, with shrunken leave-one-out variances
    mean, factor, variance = location.left_out(design, raw, g)
    shrunk, df = _shrunk_variance(variance, location.count - 1, prior_df, prior_variance)
    t = (raw - mean) / (g * np.sqrt(shrunk * factor))
    # constant in g: mean square of t equal to that of its distribution, nu / (nu - 2)
    level = float(np.sqrt(np.nanmean(t**2 * (1 - 2 / df))))
    fields = {"location": location, "spread": spread, "level": level}
    return fields | {"prior_df": prior_df, "prior_variance": prior_variance}, t / level, df


def _shrunk_variance(variance: Floats, df: ArrayLike, prior_df: float, prior_variance: float) -> tuple[Floats, Floats]:
    """Posterior variance under the prior of `variance_prior`, and its degrees of freedom; shapes as `variance`."""
    df = np.asarray(df, float)
    if np.isinf(prior_df):
        return np.full_like(variance, prior_variance), np.full_like(variance, np.inf)
    return (prior_df * prior_variance + df * variance) / (prior_df + df), np.broadcast_to(prior_df + df, variance.shape)


def variance_prior(variance: Floats, df: Floats) -> tuple[float, float]:
    r"""Prior of the variances of many regions: a scaled inverse chi-square, fitted to their estimates.

    .. math:: s_j^2 \sim \sigma_j^2 \chi^2_{\nu_j} / \nu_j, \qquad \sigma_j^2 \sim \nu_0 s_0^2 / \chi^2_{\nu_0}

    nu_0 and s_0^2 are estimated from the mean and the variance of the log variances.

    Args:
        variance: Estimated variances s_j^2, [d].
        df: Their degrees of freedom nu_j, [d].

    Returns:
        nu_0 (infinite when the variances differ by no more than chance) and s_0^2.

    References:
        Smyth (2004), Linear models and empirical Bayes methods for assessing differential expression,
        https://doi.org/10.2202/1544-6115.1027

    Examples:
        >>> variance_prior(np.ones(10), np.full(10, 50.0))[0]
        inf
    """
    # log variances, less their expected sampling bias
    log_variance = np.log(variance) - special.digamma(df / 2) + np.log(df / 2)
    mean = log_variance.mean()
    # variance between regions: trigamma(nu_0 / 2), the observed variance less that of sampling
    sampling = special.polygamma(1, df / 2).mean()
    between = log_variance.var(ddof=1) - sampling if len(log_variance) > 1 else 0.0
    if between <= 0:
        return np.inf, float(np.exp(mean))
    half = _inverse_trigamma(float(between))
    return 2 * half, float(np.exp(mean + special.digamma(half) - np.log(half)))


def _inverse_trigamma(y: float) -> float:
    """x with trigamma(x) = y, by Newton's method on 1 / trigamma, which is nearly linear."""
    x = 0.5 + 1 / y
    for _ in range(50):
        tri = float(special.polygamma(1, x))
        step = tri * (1 - tri / y) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
