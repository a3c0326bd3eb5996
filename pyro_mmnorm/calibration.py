"""Calibration: raw z -> z and conformal p, fitted on held-out controls (numpy and scipy only)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pyro_mmnorm.regression import ShrunkRegression
from pyro_mmnorm.student_t import student_t_log_sf

__all__ = ["CALIBRATORS", "Conformal", "GaussianCalibrator", "mean_square", "squeezed_variance", "student_t_to_normal"]

type Floats = NDArray[np.float64]

ARRAYS = ("log_ratio", "coef", "inverse", "pattern", "variance", "count")
EXPANDED_DF, EXPANDED_T = 500.0, 4.0
LARGE_DF = 1e5
"""From here on a t value of 5 is within 0.0003 of normal; larger degrees of freedom are taken as this."""


def student_t_to_normal(t: ArrayLike, df: ArrayLike) -> Floats:
    r"""The z-score with the tail probability of a t value, :math:`\Phi^{-1}(F_\nu(t))`; finite and monotone far out.

    Args:
        t: Values of a Student t variable; NaN stays NaN.
        df: Degrees of freedom, broadcast against t.

    Returns:
        z of the shape of t.

    References:
        Fisher (1925), Expansion of Student's integral in powers of n^-1, Metron 5:109-112 (used for 500 degrees of
        freedom and more, in the middle)

    Examples:
        >>> student_t_to_normal([0.0, 2.0, -100.0], 50.0).round(3)
        array([  0.   ,   1.952, -16.233])
    """
    t, df = np.broadcast_arrays(np.asarray(t, float), np.minimum(df, LARGE_DF))
    if t.size and df.min() >= EXPANDED_DF:
        z = _expanded(t, df)
        far = np.abs(t) > EXPANDED_T
        z[far] = _tail_to_normal(t[far], df[far])
        return z
    return _tail_to_normal(t, df)


def _expanded(t: Floats, df: Floats) -> Floats:
    """Fisher's expansion in 1 / nu, within 2e-6 for nu >= 500 and |t| <= 4; twenty times as fast as the tails."""
    s, u = t**2, 1 / df
    third = u * (35 * s**3 + 19 * s**2 + s - 15) / 384
    z: Floats = t * (1 - u * ((s + 1) / 4 - u * ((13 * s**2 + 8 * s + 3) / 96 - third)))
    return z


def _tail_to_normal(t: Floats, df: Floats) -> Floats:
    """The z with the same tail, by logarithms of the tail."""
    return np.where(t == 0, 0.0, -np.sign(t) * special.ndtri_exp(student_t_log_sf(np.abs(t), df)))


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


def mean_square(z: ArrayLike) -> Floats:
    """Mean z^2 over each person's observed regions, the omnibus score; [n, d] in, [n] out, NaN where there is none."""
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    count = seen.sum(-1)
    total: Floats = np.where(seen, z, 0.0) ** 2 @ np.ones(z.shape[-1])
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@dataclass(frozen=True, kw_only=True)
class Conformal:
    r"""Two-sided conformal p-values against calibration people.

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n_{\mathrm{cal}} + 1}

    where the scores s_i of the calibration people are leave-one-out, so that they and a new healthy person's score
    are exchangeable. The smallest p is 1 / (n_cal + 1).

    Args:
        scores: |z| of the calibration people per region, sorted along axis 0 with NaN last, [n_cal, d].
        count: Observed people per region, [d].

    References:
        Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world, https://doi.org/10.1007/b106715

    Examples:
        >>> Conformal.fit(np.arange(1.0, 100.0)[:, None])(np.array([[99.5], [50.0]])).ravel()
        array([0.01, 0.51])
    """

    scores: Floats
    count: NDArray[np.int64]

    @classmethod
    def fit(cls, scores: ArrayLike) -> Self:
        """From leave-one-out scores, [n_cal, d], NaN where not observed."""
        scores = np.sort(np.asarray(scores, float), axis=0)
        return cls(scores=scores, count=np.isfinite(scores).sum(0))

    def __call__(self, scores: ArrayLike) -> Floats:
        """p-values of new scores, [n, d]; NaN stays NaN."""
        scores = np.asarray(scores, float)
        p = np.full(scores.shape, np.nan)
        for j, count in enumerate(self.count):
            below = np.searchsorted(self.scores[:count, j], scores[:, j], side="left")
            p[:, j] = (1 + count - below) / (count + 1)
        return np.where(np.isfinite(scores), p, np.nan)

    @property
    def largest_score(self) -> Floats:
        """The largest calibration score of each region, [d]; beyond it p is at its smallest."""
        return np.nanmax(self.scores, axis=0, initial=0.0)

    @property
    def smallest(self) -> float:
        """The smallest p that any region can reach."""
        return 1 / (int(self.count.max()) + 1)


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
        raw, design = np.asarray(raw, float), np.asarray(design, float)
        location = ShrunkRegression.fit(design, raw, groups)
        spread = ShrunkRegression.fit(design, _log_spread(location, raw, design), groups)
        fields, t, nu = _settled(location, spread, raw, design)
        z = student_t_to_normal(t, nu)
        omnibus = Conformal.fit(mean_square(z)[:, None])
        return cls(**fields, conformal=Conformal.fit(np.abs(z)), omnibus=omnibus)

    def refit(self, raw: Floats, design: Floats) -> Self:
        """The same strengths of shrinkage and the same conformal scores on other people, for the bootstrap."""
        location = self.location.refit(design, raw)
        spread = self.spread.refit(design, _log_spread(location, raw, design))
        return replace(self, **_settled(location, spread, raw, design)[0])

    def _placed(self, design: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Mean, SD and degrees of freedom of raw z for people with these covariates, [n, d]."""
        g = np.exp(self.spread.predict(design)[0])
        mean, h = self.location.predict(design, g)
        scale, df = _squeezed(self.location.variance, self.location.count, self.prior_df, self.prior_variance)
        return mean, self.level * g * np.sqrt(scale * (1 + h)), df

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:
        """Calibrated z of new people, [n, d]; NaN where raw is NaN."""
        mean, sd, df = self._placed(design)
        return student_t_to_normal((np.asarray(raw, float) - mean) / sd, df)

    def raw_at(self, z: float, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z`, [n, d], to draw centiles and intervals in the units of the table."""
        mean, sd, df = self._placed(design)
        return mean + special.stdtrit(np.minimum(df, LARGE_DF), special.ndtr(z)) * sd

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
    location: ShrunkRegression, spread: ShrunkRegression, raw: Floats, design: Floats
) -> tuple[dict[str, Any], Floats, Floats]:
    """Fields of the calibrator once the scale is known; t values of its own people, left out, and their degrees."""
    log_spread = _log_spread(location, raw, design)
    location = location.refit(design, raw, np.exp(spread.predict(design)[0]))
    df, variance = squeezed_variance(location.variance, location.count.astype(float))
    without = spread.left_out(design, log_spread)[0]
    g = np.exp(np.where(np.isfinite(log_spread), without, spread.predict(design)[0]))
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


type Calibrator = Callable[[Floats, Floats, Mapping[str, slice]], GaussianCalibrator]
CALIBRATORS: dict[str, Calibrator] = {"gaussian": GaussianCalibrator.fit}
"""Name in the configuration -> how a calibrator is fitted: (raw z, design, groups) -> calibrator."""
