"""Terms: encoding of covariates, fitted on training controls."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from pyro_mmnorm.core.errors import InputError, hint
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.frames import counted, named

__all__ = ["SITE", "Term", "natural_spline"]


SITE = "site"
"""The covariate that may have categories absent from training, which have 0 in all of its columns."""

KNOT_CENTILES = (5, 35, 65, 95)


def natural_spline(x: Floats, knots: Floats) -> Floats:
    r"""Natural cubic spline basis: cubic between the knots, linear beyond the outer ones.

    .. math:: N_1 = x, \quad N_{j+1} = d_j(x) - d_{K-1}(x), \quad
        d_j(x) = \frac{(x - \xi_j)_+^3 - (x - \xi_K)_+^3}{\xi_K - \xi_j}

    Args:
        x: Values, [n].
        knots: Increasing values, [K] with K >= 3.

    Returns:
        Columns without the constant, [n, K - 1], in units where the knots span 0 to 1.

    References:
        Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, equation 5.4,
        https://hastie.su.domains/ElemStatLearn/

    Examples:
        >>> natural_spline(np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0])).shape
        (2, 2)
    """
    unit = (np.asarray(x, float) - knots[0]) / (knots[-1] - knots[0])
    xi = (knots - knots[0]) / (knots[-1] - knots[0])
    cubes = np.clip(unit[:, None] - xi, 0, None) ** 3
    d = (cubes[:, :-1] - cubes[:, -1:]) / (xi[-1] - xi[:-1])
    return np.column_stack([unit, d[:, :-1] - d[:, -1:]])


@dataclass(frozen=True, kw_only=True)
class Term:
    """Encoding of one covariate.

    Args:
        name, kind: Covariate and `spline`, `linear`, `category` or `one_hot` (a number rounded down).
        levels: The categories, or the whole numbers, of training, sorted.
        knots: Knots of the spline.
        loc, scale: Mean and SD of each column over the training controls.
        low, high: Range in training.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    knots: tuple[float, ...] = ()
    loc: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.levels) or len(self.loc)

    @classmethod
    def fit(cls, column: pd.Series, kind: str) -> Self:
        """Fit the encoding on training controls."""
        name = str(column.name)
        if kind == "category":
            return cls(name=name, kind=kind, levels=tuple(sorted(column.unique())))
        x = column.to_numpy(float)
        if kind == "one_hot":
            levels = tuple(f"{unit:.0f}" for unit in np.unique(np.floor(x)))
            return cls(name=name, kind=kind, levels=levels, low=float(x.min()), high=float(x.max()))
        knots = np.unique(np.percentile(x, KNOT_CENTILES)) if kind == "spline" else np.array([])
        if x.min() == x.max():
            got = f"{x[0]:g} for every training control"
            raise InputError(f"covariate {name!r}", got, "values that differ", "remove it")
        if kind == "spline" and len(knots) < 3:
            todo = f"write {name}: {{column: {name}, kind: linear}}"
            raise InputError(f"covariate {name!r}", "fewer than 3 distinct knots", "distinct values for a spline", todo)
        raw = natural_spline(x, knots) if kind == "spline" else x[:, None]
        return cls(
            name=name,
            kind=kind,
            knots=tuple(knots.tolist()),
            loc=tuple(raw.mean(0).tolist()),
            scale=tuple(raw.std(0).tolist()),
            low=float(x.min()),
            high=float(x.max()),
        )

    def __call__(self, column: pd.Series, admitted: Collection[str] = ()) -> Floats:
        """Columns [n, width]: standardised spline or linear columns, or one 0/1 column per level; 0 for `admitted`.

        Raises:
            InputError: On a category absent from training that is not among `admitted`.
        """
        if self.levels:
            own = column if self.kind == "category" else column.astype(float).floordiv(1).map("{:.0f}".format)
            unseen = own[~own.isin([*self.levels, *admitted])]
            if len(unseen):
                raise self._unseen(unseen)
            return (own.to_numpy(object)[:, None] == np.array(self.levels, dtype=object)).astype(float)
        x = column.to_numpy(float)
        raw = natural_spline(x, np.array(self.knots)) if self.kind == "spline" else x[:, None]
        return (raw - np.array(self.loc)) / np.array(self.scale)

    def _unseen(self, column: pd.Series) -> InputError:
        names = named(sorted(set(column)))
        got = f"{counted(len(column), 'subject')} of {names} unseen in training, such as {column.index[0]!r}"
        if self.kind == "one_hot":
            todo = "use kind: spline, which interpolates, or exclude those subjects"
        elif self.name == SITE:
            todo = (
                "adapt the norm with 10 or more controls of that site (mmnorm adapt), or score without a site effect "
            )
            todo += "(deviations.unseen_site: population)"
        else:
            todo = "exclude those subjects, or train with controls of that category"
        similar = "" if self.kind == "one_hot" else hint(column.iloc[0], self.levels, "")
        expected = f"one of {named(self.levels, 12)}"
        return InputError(f"covariate {self.name!r}", got, expected, f"{similar}? If not, {todo}" if similar else todo)
