"""Arrays in which calibrators are saved: those under a prefix, and those of a regression (numpy only)."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from pyro_mmnorm.stats.regression import ShrunkRegression

__all__ = ["regression_arrays", "regression_from_arrays", "under"]

REGRESSION = ("log_ratio", "coef", "inverse", "pattern", "variance", "count")


def under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with a prefix, named without it.

    Examples:
        >>> import numpy as np
        >>> under({"base.df": np.ones(1), "df": np.zeros(2)}, "base.")
        {'df': array([1.])}
    """
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def regression_arrays(regression: ShrunkRegression, prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays of a regression, with names that begin with a prefix."""
    return {f"{prefix}{name}": getattr(regression, name) for name in REGRESSION}


def regression_from_arrays(
    arrays: Mapping[str, NDArray[Any]], prefix: str, groups: Mapping[str, slice]
) -> ShrunkRegression:
    """The inverse of `regression_arrays`.

    Args:
        arrays: By name; others than those under the prefix are ignored.
        prefix: As given to `regression_arrays`.
        groups: covariate -> its columns in the design.
    """
    return ShrunkRegression(groups=dict(groups), **{name: arrays[f"{prefix}{name}"] for name in REGRESSION})
