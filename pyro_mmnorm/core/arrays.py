"""Arithmetic of arrays with unobserved cells."""

import numpy as np
from numpy.typing import ArrayLike

from pyro_mmnorm.core.typing import Floats

__all__ = ["ratio"]


def ratio(a: ArrayLike, b: ArrayLike) -> Floats:
    """a / b, NaN where b is not positive; broadcast.

    Examples:
        >>> ratio([1, 2], [4, 0])
        array([0.25,  nan])
    """
    a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
