"""Metrics written out plainly, region by region, to which those of the package are compared."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.metrics import MACE_LEVELS, crps_quantiles, square_spread


def coverage(z: ArrayLike, level: float) -> Floats:
    """Share of observed z inside the central `level` interval of the standard normal, per region, [d]."""
    return 1 - tail_share(z, special.ndtri(0.5 + level / 2))


def tail_share(z: ArrayLike, bound: float) -> Floats:
    """Share of observed |z| above `bound`, per region; [n, d] in, [d] out, NaN where nobody was observed."""
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    return ratio((np.abs(np.where(seen, z, 0.0)) > bound).sum(0), seen.sum(0))


def mace(z: ArrayLike) -> Floats:
    r"""Mean absolute centile error per region; [n, d] in, [d] out.

    .. math:: \frac1L \sum_q |q - \#\{\Phi(z) \le q\} / n|

    The levels q are 1, 5, 10, 20, ..., 90, 95 and 99 %. Under calibration the expected value is `mace_null`.
    """
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    below = np.stack([(np.where(seen, z, np.inf) <= special.ndtri(q)).sum(0) for q in MACE_LEVELS])
    error = np.abs(np.array(MACE_LEVELS)[:, None] - ratio(below, seen.sum(0)))
    out: Floats = error.mean(0)
    return out


def mace_null(n: int) -> float:
    r"""Expected MACE of n perfectly calibrated people, by the normal approximation.

    .. math:: \frac1L \sum_q \sqrt{2 q (1 - q) / (\pi n)}
    """
    q = np.array(MACE_LEVELS)
    return float(np.sqrt(2 * q * (1 - q) / (np.pi * n)).mean())


def region_spread(z: ArrayLike) -> dict[str, float]:
    r"""RMS over regions of the mean of z and of SD - 1, with the sampling error of n people removed.

    The root of `square_spread`, 0 where this is negative; [n, d] in.
    """
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    filled = np.where(seen, z, 0.0)
    squares = square_spread(np.stack([seen.sum(0), *((filled**i).sum(0) for i in range(1, 5))], -1))
    return {name: float(np.sqrt(np.maximum(0.0, value))) for name, value in squares.items()}


def smse(y: ArrayLike, predicted: ArrayLike) -> Floats:
    r"""Standardised mean squared error per region, :math:`\overline{(y - \hat y)^2} / \mathrm{var}(y)`; 0 is best.

    Args:
        y: Observed, [n, d], NaN where not; a region without variance gives NaN.
        predicted: Of the same shape.

    References:
        Rasmussen & Williams (2006), Gaussian processes for machine learning, ch. 2, http://gaussianprocess.org/gpml
    """
    y, error = _both(y, predicted)
    return ratio(np.nanmean(error**2, 0), np.nanvar(y, 0))


def expv(y: ArrayLike, predicted: ArrayLike, baseline: ArrayLike = 0.0) -> Floats:
    r"""Explained variance per region, :math:`1 - \mathrm{var}(y - \hat y) / \mathrm{var}(y - y_0)`; 1 is best.

    Args:
        y: Observed, [n, d], NaN where not; a region without variance gives NaN.
        predicted: Of the same shape.
        baseline: y_0; with the prediction from covariates alone, the variance explained beyond covariates.
    """
    y, error = _both(y, predicted)
    return 1 - ratio(np.nanvar(error, 0), np.nanvar(y - np.asarray(baseline, float), 0))


def msll(log_density: ArrayLike, y: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> Floats:
    r"""Mean standardised log loss per region, :math:`\overline{-\log p(y)} - \overline{-\log N(y; m, s^2)}`.

    Below 0: better than the mean and SD of the training controls.

    Args:
        log_density: log p(y), [n, d], NaN where not observed; of calibrated z see `calibrated_log_density`.
        y: Observed, [n, d].
        mean, sd: Of training controls, [d].

    References:
        Rasmussen & Williams (2006), Gaussian processes for machine learning, ch. 2, http://gaussianprocess.org/gpml
    """
    y, mean, sd = (np.asarray(part, float) for part in (y, mean, sd))
    trivial = -0.5 * ((y - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    return np.nanmean(trivial - np.asarray(log_density, float), 0)


def crps_normal(y: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Floats:
    r"""Continuous ranked probability score of N(loc, scale^2), in the units of y; 0 is best.

    .. math:: \sigma\left[w (2 \Phi(w) - 1) + 2 \phi(w) - \pi^{-1/2}\right], \qquad w = (y - \mu) / \sigma

    References:
        Gneiting & Raftery (2007), Strictly proper scoring rules, https://doi.org/10.1198/016214506000001437
    """
    y, loc, scale = (np.asarray(part, float) for part in (y, loc, scale))
    w = (y - loc) / scale
    density = np.exp(-0.5 * w**2) / np.sqrt(2 * np.pi)
    return scale * (w * (2 * special.ndtr(w) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def crps_ensemble(y: ArrayLike, draws: ArrayLike) -> Floats:
    r"""CRPS of draws along axis 0, :math:`E|X - y| - \tfrac12 E|X - X'|`."""
    return crps_quantiles(y, np.sort(np.asarray(draws, float), axis=0))


def _both(y: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    """Observed values and errors, NaN where either is unknown."""
    y = np.asarray(y, float)
    error = y - np.asarray(predicted, float)
    return np.where(np.isfinite(error), y, np.nan), error
