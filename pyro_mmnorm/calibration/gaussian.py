"""Gaussian calibrator: location and scale of raw z, smooth in the covariates (numpy and scipy only)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pyro_mmnorm.calibration.conformal import Conformal, mean_square, two_sided
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.regression import ShrunkRegression
from pyro_mmnorm.stats.student_t import normal_to_student_t, student_t_to_normal

__all__ = ["GaussianCalibrator", "squeezed_variance"]


ARRAYS = ("log_ratio", "coef", "inverse", "pattern", "variance", "count")


@dataclass(frozen=True, kw_only=True)
class GaussianCalibrator:
    r"""Location and scale of raw z, smooth in the covariates, in the small-sample form with leverage.

    .. math::
        t_{ij} = \frac{r_{ij} - m_j(c_i)}{g(c_i)\, s_j \sqrt{1 + h_j(c_i)}}, \qquad
        z_{ij} = \Phi^{-1}(F_{t_{\nu}}(t_{ij}))

    m_j and log g are each a `ShrunkRegression` on the covariates (columns cost nothing where they explain nothing). g
    is common to all regions: it is fitted to half the log mean square of each calibration person, left out. s_j^2 is
    shrunk towards the variances of the other regions, and the t distribution has the degrees of freedom of both. One
    constant in g gives the left-out t values the mean square of their t distribution.

    Args:
        location: The regression of raw z on the covariates.
        spread: The regression of log g.
        level: The constant in g.
        prior_df, prior_variance: Of the shrunken variances.
        conformal: Two-sided, per region, from leave-one-out z.
        omnibus: The same for the mean z^2 of a person.

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
        """Fit on calibration people.

        Args:
            raw: Raw z, [n, d], NaN where not observed.
            design: Encoded covariates, [n, c].
            groups: covariate -> its columns.
        """
        return cls.fitted(raw, design, groups)[0]

    @classmethod
    def fitted(cls, raw: ArrayLike, design: ArrayLike, groups: Mapping[str, slice]) -> tuple[Self, Floats, Floats]:
        """`fit`, with t and nu of its own people, each left out, [n, d]."""
        raw, design = np.asarray(raw, float), np.asarray(design, float)
        location = ShrunkRegression.fit(design, raw, groups)
        log_spread = _log_spread(location, raw, design)
        spread = ShrunkRegression.fit(design, log_spread, groups)
        fields, t, df = _settled(location, spread, log_spread, raw, design)
        return cls(**fields, **two_sided(student_t_to_normal(t, df))), t, df

    def refit(self, raw: Floats, design: Floats) -> Self:
        """The same strengths of shrinkage and the same conformal scores on other people, for the bootstrap."""
        return self.refitted(raw, design)[0]

    def refitted(self, raw: Floats, design: Floats) -> tuple[Self, Floats, Floats]:
        """`refit`, with t and nu of its own people, each left out, [n, d]."""
        location = self.location.refit(design, raw)
        log_spread = _log_spread(location, raw, design)
        fields, t, df = _settled(location, self.spread.refit(design, log_spread), log_spread, raw, design)
        return replace(self, **fields), t, df

    def placed(self, design: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Mean, SD and degrees of freedom of raw z for people with these covariates, [n, d]."""
        g = np.exp(self.spread.predict(design)[0])
        mean, h = self.location.predict(design, g)
        scale, df = _squeezed(self.location.variance, self.location.count, self.prior_df, self.prior_variance)
        return mean, self.level * g * np.sqrt(scale * (1 + h)), df

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:
        """Calibrated z of new people, [n, d]; NaN where raw is NaN."""
        mean, sd, df = self.placed(design)
        return student_t_to_normal((np.asarray(raw, float) - mean) / sd, df)

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z` (broadcast to [n, d]), for centiles in the units of the table."""
        mean, sd, df = self.placed(design)
        return mean + normal_to_student_t(z, df) * sd

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that has to be kept, by name."""
        parts = {"location": self.location, "spread": self.spread}
        arrays = {f"{part}.{name}": getattr(fit, name) for part, fit in parts.items() for name in ARRAYS}
        arrays["constants"] = np.array([self.level, self.prior_df, self.prior_variance])
        return arrays | {"conformal": self.conformal.scores, "omnibus": self.omnibus.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], groups: Mapping[str, slice]) -> Self:
        """The inverse of `to_arrays`."""
        level, df, variance = arrays["constants"].tolist()
        location, spread = (
            ShrunkRegression(groups=dict(groups), **{name: arrays[f"{part}.{name}"] for name in ARRAYS})
            for part in ("location", "spread")
        )
        return cls(
            location=location,
            spread=spread,
            level=level,
            prior_df=df,
            prior_variance=variance,
            conformal=Conformal.fit(arrays["conformal"]),
            omnibus=Conformal.fit(arrays["omnibus"]),
        )


def _log_spread(location: ShrunkRegression, raw: Floats, design: Floats) -> Floats:
    """Half the log mean square of each person's standardised residuals, that person left out; [n, 1]."""
    mean, factor, variance = location.left_out(design, raw)
    spread: Floats = 0.5 * np.log(mean_square((raw - mean) / np.sqrt(factor * variance)))[:, None]
    return spread


def _settled(
    location: ShrunkRegression, spread: ShrunkRegression, log_spread: Floats, raw: Floats, design: Floats
) -> tuple[dict[str, Any], Floats, Floats]:
    """Fields of the calibrator once the scale is known; t values of its own people, left out, and their degrees."""
    fitted = spread.predict(design)[0]
    location = location.refit(design, raw, np.exp(fitted))
    df, variance = squeezed_variance(location.variance, location.count.astype(float))
    g = np.exp(np.where(np.isfinite(log_spread), spread.left_out(design, log_spread)[0], fitted))
    mean, factor, left_out = location.left_out(design, raw, g)
    scale, nu = _squeezed(left_out, location.count - 1, df, variance)
    t = (raw - mean) / (g * np.sqrt(scale * factor))
    level = float(np.sqrt(np.nanmean(t**2 * (1 - 2 / nu))))
    fields = {"location": location, "spread": spread, "level": level, "prior_df": df, "prior_variance": variance}
    return fields, t / level, nu


def _squeezed(variance: Floats, df: ArrayLike, prior_df: float, prior_variance: float) -> tuple[Floats, Floats]:
    """Shrunken variance and its degrees of freedom."""
    df = np.asarray(df, float)
    if np.isinf(prior_df):
        return np.full_like(variance, prior_variance), np.full_like(variance, np.inf)
    return (prior_df * prior_variance + df * variance) / (prior_df + df), np.broadcast_to(prior_df + df, variance.shape)


def squeezed_variance(variance: Floats, df: Floats) -> tuple[float, float]:
    r"""Degrees of freedom and location of the scaled inverse chi-square that variances of many regions come from.

    .. math:: s_j^2 \sim \sigma_j^2 \chi^2_{\nu_j} / \nu_j, \qquad \sigma_j^2 \sim \nu_0 s_0^2 / \chi^2_{\nu_0}

    by the first two moments of log variances.

    Args:
        variance: Estimated variances, [d].
        df: Their degrees of freedom, [d].

    Returns:
        nu_0 (infinite when the variances differ by no more than chance) and s_0^2.

    References:
        Smyth (2004), Linear models and empirical Bayes methods for assessing differential expression,
        https://doi.org/10.2202/1544-6115.1027

    Examples:
        >>> squeezed_variance(np.ones(10), np.full(10, 50.0))[0]
        inf
    """
    e = np.log(variance) - special.digamma(df / 2) + np.log(df / 2)
    excess = e.var(ddof=1) - special.polygamma(1, df / 2).mean() if len(e) > 1 else 0.0
    if excess <= 0:
        return np.inf, float(np.exp(e.mean()))
    half = _inverse_trigamma(float(excess))
    return 2 * half, float(np.exp(e.mean() + special.digamma(half) - np.log(half)))


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
