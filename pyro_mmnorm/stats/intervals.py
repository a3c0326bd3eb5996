"""Estimates over people with their 95 % intervals (numpy and scipy only)."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats

__all__ = [
    "CORRELATION",
    "FEWEST",
    "MEAN_ABS_Z",
    "NONNEGATIVE",
    "NORMAL_95",
    "UNBOUNDED",
    "UNIT",
    "Estimate",
    "Limits",
    "difference",
    "mean",
    "mean_interval",
    "normal_interval",
    "observed",
]


MEAN_ABS_Z = float(np.sqrt(2 / np.pi))
"""Mean |z| of a standard normal z, sqrt(2 / pi) = 0.798, expected under calibration for any number of regions."""

FEWEST = 3
"""A group with fewer people has no mean, SD or test."""

NORMAL_95 = float(special.ndtri(0.975))
"""The 97.5 % quantile of the standard normal distribution, 1.96."""

type Limits = tuple[float, float]
"""The smallest and the largest value that a statistic can take."""

UNBOUNDED: Limits = (-np.inf, np.inf)
"""Limits of a statistic that can take any value."""

NONNEGATIVE: Limits = (0.0, np.inf)
"""Limits of a count or an SD."""

UNIT: Limits = (0.0, 1.0)
"""Limits of a share or an AUC."""

CORRELATION: Limits = (-1.0, 1.0)
"""Limits of a correlation or a difference of shares."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate with its 95 % interval.

    Args:
        value: The estimate.
        low, high: Its 95 % interval.
        n: Number of people.
        test: Method of the interval and of p.
        p: Two-sided p-value, where there is a test.
        se: Standard error of the value, where the interval is based on one.
        sizes: Number of people per group, where there are groups.

    Examples:
        >>> Estimate(value=0.8, low=0.7, high=0.9, n=50, test="DeLong").to_dict()
        {'value': 0.8, 'low': 0.7, 'high': 0.9, 'n': 50, 'test': 'DeLong'}
    """

    value: float
    low: float
    high: float
    n: int
    test: str
    p: float | None = None
    se: float | None = None
    sizes: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields that have a value, for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value != ()}

    def widened(self, refitted: ArrayLike, limits: Limits = UNBOUNDED) -> Self:
        r"""The same estimate, its interval widened by the sampling error of the calibration.

        By the law of total variance, with C the calibrator,

        .. math:: \mathrm{var}(\hat\theta) = \mathrm E\, \mathrm{var}(\hat\theta \mid C)
            + \mathrm{var}\, \mathrm E(\hat\theta \mid C)

        the present interval covers the first term, the sampling error of the people who were scored. The second term is
        the variance of the estimate over calibrators refitted on resampled calibration controls, with the same people
        scored. Each half of the interval, h, becomes :math:`\sqrt{h^2 + (1.96\, s)^2}` with s the SD over refits. The
        p-value is unchanged: all groups use the same calibrator, so a test of no difference is valid given any.

        Args:
            refitted: The estimate under every refitted calibrator; values that are not finite are left out.
            limits: Of the statistic; the interval does not exceed them.

        Examples:
            >>> one = Estimate(value=0.8, low=0.6, high=0.9, n=50, test="DeLong").widened([0.7, 0.8, 0.9], (0, 1))
            >>> round(one.low, 2), one.high
            (0.52, 1.0)
        """
        values = np.asarray(refitted, float)
        values = values[np.isfinite(values)]
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        if spread == 0:
            return self
        low = self.value - np.hypot(self.value - self.low, NORMAL_95 * spread)
        high = self.value + np.hypot(self.high - self.value, NORMAL_95 * spread)
        return replace(
            self,
            low=float(min(max(low, limits[0]), self.low)),
            high=float(max(min(high, limits[1]), self.high)),
            test=f"{self.test}; interval with {len(values)} calibrators refitted on resampled people",
            se=None if self.se is None else float(np.hypot(self.se, spread)),
        )


def observed(x: ArrayLike, where: str, *, axes: int = 1) -> Floats:
    """Numbers with `axes` axes, in which NaN means not observed.

    Raises:
        InputError: On another number of axes, or an infinite number.

    Examples:
        >>> observed([1, np.nan], "score")
        array([ 1., nan])
    """
    x = np.asarray(x, float)
    if x.ndim != axes:
        raise InputError(where, f"an array of shape {x.shape}", f"one with {axes} axes", "reshape it")
    if np.isinf(x).any():
        raise InputError(
            where, "infinite numbers", "finite numbers, NaN where not observed", "correct their computation"
        )
    return x


def mean(x: Floats) -> Floats:
    """Mean over people, [..., n] in, [...] out.

    Examples:
        >>> mean(np.array([1.0, 2.0])).item()
        1.5
    """
    return np.asarray(x.mean(-1))


def mean_interval(x: ArrayLike) -> Estimate:
    """Mean over people with its t interval; [n] in.

    Raises:
        InputError: When fewer than 3 people were observed.

    Examples:
        >>> mean_interval([0.7, 0.8, 0.9, np.nan]).value.__round__(3)
        0.8
    """
    x = observed(x, "mean")
    x = x[np.isfinite(x)]
    n = len(x)
    if n < FEWEST:
        raise InputError("mean", f"{n} people", f"at least {FEWEST}", "leave this group out")
    value, se = float(x.mean()), float(x.std(ddof=1) / np.sqrt(n))
    half = float(special.stdtrit(n - 1, 0.975)) * se
    return Estimate(value=value, low=value - half, high=value + half, n=n, test="t interval", se=se)


def normal_interval(value: float, se: float, *, n: int, test: str, sizes: tuple[int, ...] = ()) -> Estimate:
    """An estimate with the normal interval of its standard error, and the p-value of no difference from 0.

    Examples:
        >>> one = normal_interval(1.0, 0.5, n=20, test="normal")
        >>> round(one.low, 2), round(one.high, 2), round(one.p, 4)
        (0.02, 1.98, 0.0455)
    """
    half, p = NORMAL_95 * se, float(2 * special.ndtr(-abs(value) / se))
    return Estimate(value=value, low=value - half, high=value + half, n=n, test=test, p=p, se=se, sizes=sizes)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """The difference of two estimates of different people, both with a standard error; normal interval and p.

    Raises:
        InputError: When a standard error is missing, or both are 0.

    Examples:
        >>> a, b = (Estimate(value=v, low=0, high=1, n=20, test="", se=0.3) for v in (0.9, 0.3))
        >>> round(difference(a, b).p, 3)
        0.157
    """
    if not (one.se or other.se) or one.se is None or other.se is None:
        raise InputError("difference", f"standard errors {one.se}, {other.se}", "two, not both 0", "leave it out")
    value, se = one.value - other.value, float(np.hypot(one.se, other.se))
    return normal_interval(value, se, n=one.n + other.n, test="normal", sizes=(one.n, other.n))
