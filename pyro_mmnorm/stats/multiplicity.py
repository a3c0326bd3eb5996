"""Correction of p-values for multiple testing (numpy only)."""

import numpy as np
from numpy.typing import ArrayLike

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats

__all__ = ["benjamini_hochberg", "holm", "p_values"]


def benjamini_hochberg(p: ArrayLike, axis: int = -1) -> Floats:
    r"""Benjamini-Hochberg q-values over the observed p-values along an axis.

    .. math:: q_{(i)} = \min_{k \ge i} \min(1, p_{(k)} m / k)

    with m the number of observed p-values; NaN stays NaN and is not counted.

    Raises:
        InputError: When a p-value lies outside [0, 1].

    References:
        Benjamini & Hochberg (1995), Controlling the false discovery rate,
        https://doi.org/10.1111/j.2517-6161.1995.tb02031.x

    Examples:
        >>> benjamini_hochberg([0.01, np.nan, 0.04, 0.9])
        array([0.03,  nan, 0.06, 0.9 ])
    """
    p = np.moveaxis(p_values(p), axis, -1)
    order = np.argsort(p, axis=-1)  # NaN comes last
    rank = np.arange(1, p.shape[-1] + 1)
    scaled = np.take_along_axis(p, order, -1) * np.isfinite(p).sum(-1, keepdims=True) / rank
    smallest = np.fmin.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    q = np.empty_like(p)
    np.put_along_axis(q, order, smallest, -1)
    return np.moveaxis(np.where(np.isnan(p), np.nan, q), -1, axis)


def holm(p: ArrayLike) -> Floats:
    r"""Holm's adjusted p-values of a family, [k]; they control the family-wise error rate under any dependence.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) p_{(j)})

    Raises:
        InputError: When a p-value lies outside [0, 1].

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure, https://www.jstor.org/stable/4615733

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = p_values(p)
    order = np.argsort(p)
    left = np.isfinite(p).sum() - np.arange(p.size)
    out = np.empty_like(p)
    out[order] = np.minimum(np.fmax.accumulate(p[order] * left), 1.0)
    return np.where(np.isnan(p), np.nan, out)


def p_values(p: ArrayLike) -> Floats:
    """Numbers in [0, 1], NaN where not observed.

    Raises:
        InputError: When a number lies outside [0, 1].

    Examples:
        >>> p_values([0.5, np.nan])
        array([0.5, nan])
    """
    p = np.asarray(p, float)
    if ((p < 0) | (p > 1)).any():
        got = f"values from {np.nanmin(p):.3g} to {np.nanmax(p):.3g}"
        raise InputError("p-values", got, "values in [0, 1], NaN where not observed", "correct their computation")
    return p
