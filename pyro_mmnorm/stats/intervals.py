"""Intervals: a figure over people, how sure it is, and how that was found (numpy and scipy only)."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats

__all__ = ["FEWEST", "MEAN_ABS_Z", "Estimate", "difference", "mean_interval", "observed"]


MEAN_ABS_Z = float(np.sqrt(2 / np.pi))
"""Mean |z| of a standard normal z, sqrt(2 / pi) = 0.798: what calibrated controls have, in any number of regions."""

FEWEST = 3
"""A group with fewer people has no mean, SD or test."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its 95 % interval.

    Args:
        value: The figure.
        low, high: Its 95 % interval.
        n: People it rests on.
        test: How the interval and p were found.
        p: Two-sided p-value, where there is a test.
        se: Standard error of the value, where the interval rests on one.
        sizes: People in each group, where there are groups.

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
        """The fields that are there, for JSON."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in told.items() if value is not None and value != ()}

    def widened(self, again: ArrayLike, limits: tuple[float, float] = (-np.inf, np.inf)) -> Self:
        r"""The same figure, its interval widened by what it owes to the people that the norm was calibrated on.

        By the law of total variance, with C the calibrator,

        .. math:: \mathrm{var}(\hat\theta) = \mathrm E\, \mathrm{var}(\hat\theta \mid C)
            + \mathrm{var}\, \mathrm E(\hat\theta \mid C)

        the interval at hand holds the first term: the chance of who was scored. The second is the variance of the
        figure over calibrators refitted on resampled calibration people, everybody scored being the same. Each half of
        the interval, h, becomes :math:`\sqrt{h^2 + (1.96\, s)^2}` with s the SD over refits. The p-value stays: groups
        go through the same calibrator, so a test of no difference is right given any.

        Args:
            again: The figure under every refit; who is not finite is left out.
            limits: What the figure cannot lie beyond.

        Examples:
            >>> one = Estimate(value=0.8, low=0.6, high=0.9, n=50, test="DeLong").widened([0.7, 0.8, 0.9], (0, 1))
            >>> round(one.low, 2), one.high
            (0.52, 1.0)
        """
        values = np.asarray(again, float)
        values = values[np.isfinite(values)]
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        if spread == 0:
            return self
        wider = special.ndtri(0.975) * spread
        low, high = (
            self.value - np.hypot(self.value - self.low, wider),
            self.value + np.hypot(self.high - self.value, wider),
        )
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
        raise InputError(where, "infinite numbers", "finite ones, NaN where not observed", "mend what computed them")
    return x


def mean_interval(x: ArrayLike) -> Estimate:
    """Mean of a figure over people with its t interval; [n] in.

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
    mean, se = float(x.mean()), float(x.std(ddof=1) / np.sqrt(n))
    half = float(special.stdtrit(n - 1, 0.975)) * se
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n, test="t interval", se=se)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One figure less another of other people, both with a standard error; normal interval and p.

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
    half, p = float(special.ndtri(0.975)) * se, float(2 * special.ndtr(-abs(value) / se))
    n, sizes = one.n + other.n, (one.n, other.n)
    return Estimate(value=value, low=value - half, high=value + half, n=n, test="normal", p=p, se=se, sizes=sizes)
