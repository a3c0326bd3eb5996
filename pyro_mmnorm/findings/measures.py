"""Measured: the figures of every person, and the same under calibrators refitted on resampled people."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.findings.summaries import subject_table
from pyro_mmnorm.results.person_figures import modality_regions
from pyro_mmnorm.stats.associations import adjusted
from pyro_mmnorm.stats.intervals import Estimate
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg

__all__ = ["ANYWHERE", "MEASURES", "POSITIVE", "UNIT", "Columns", "Measured", "told"]

type Columns = dict[str, NDArray[np.float64]]
"""Figure of a person -> [n]."""

type Limits = tuple[float, float]

MEASURES = ("mean_abs_z", "mean_sq_z", "mean_z", "n_outliers", "dsi", "mse")
"""Figures of a person by which groups are compared; mse is the poster's reconstruction error."""

ANYWHERE: Limits = (-np.inf, np.inf)
"""Limits of what has none."""
POSITIVE: Limits = (0.0, np.inf)
"""Limits of a count or a size."""
UNIT: Limits = (0.0, 1.0)
"""Limits of a share or an AUC."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of every person, and what they would be under other calibrators.

    Args:
        ids: Of the people, [n].
        columns: Figure -> its value for every person, [n]: the numbers of `subject_table`, and `without.<modality>`,
            mean |z| over the regions of all other modalities, where there are several.
        refits: The same under every calibrator that was refitted on resampled calibration people.
    """

    ids: NDArray[np.str_]
    columns: Columns
    refits: tuple[Columns, ...] = ()

    @classmethod
    def of(cls, dev: xr.Dataset, subjects: pd.DataFrame) -> Self:
        """From deviations of one kind with, if there, `z_refit` (refit, subject, region), and the table of subjects.

        Args:
            dev: People in the order of `subjects`.
            subjects: Of `subject_table`, more columns allowed.
        """
        refits = []
        for z in bar(dev["z_refit"].to_numpy() if "z_refit" in dev else (), "figures of the refits", unit="refit"):
            q = benjamini_hochberg(2 * ndtr(-np.abs(z)), axis=1)
            again = dev.assign(z=(("subject", "region"), z), q=(("subject", "region"), q))
            refits.append(_columns(again, subject_table(again, subjects["split"], subjects["group"])))
        return cls(ids=subjects.index.to_numpy(str), columns=_columns(dev, subjects), refits=tuple(refits))

    @property
    def measures(self) -> list[str]:
        """Those of `MEASURES` that are there and vary."""
        return [name for name in MEASURES if len(np.unique(self.columns.get(name, ()))) > 1]

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities, where there are several."""
        return [name.removeprefix("without.") for name in self.columns if name.startswith("without.")]

    def part(self, rows: NDArray[np.bool_]) -> Self:
        """Some of the people."""
        return self._mapped(lambda columns: {name: x[rows] for name, x in columns.items()}, self.ids[rows])

    def adjusted(self, nuisance: Mapping[str, NDArray[Any]], group: NDArray[Any]) -> Self:
        """The measures adjusted within groups, see `statistics.adjusted`.

        Raises:
            InputError: As `statistics.adjusted`.
        """
        names = self.measures

        def one(columns: Columns) -> Columns:
            rest = adjusted(np.stack([columns[name] for name in names], 1), nuisance, group)
            return dict(zip(names, rest.T, strict=True))

        return self._mapped(one, self.ids)

    def record(
        self,
        figure: Callable[[Columns], Estimate],
        value: Callable[[Columns], Any] | None = None,
        *,
        limits: Limits = ANYWHERE,
    ) -> dict[str, Any]:
        """A figure for JSON, its interval widened by the refits (see `Estimate.widened`); or why there is none.

        Args:
            figure: Of the columns.
            value: The figure alone, where it can be had faster than by `figure`.
            limits: Of the figure.
        """
        alone = value or (lambda columns: figure(columns).value)
        return told(lambda: figure(self.columns).widened([_or_nan(alone, x) for x in self.refits], limits))

    def _mapped(self, change: Callable[[Columns], Columns], ids: NDArray[np.str_]) -> Self:
        return type(self)(ids=ids, columns=change(self.columns), refits=tuple(map(change, self.refits)))


def told(figure: Callable[[], Estimate]) -> dict[str, Any]:
    """A figure for JSON, or the reason why there is none.

    Examples:
        >>> from pyro_mmnorm.stats.intervals import mean_interval
        >>> told(lambda: mean_interval([1.0]))["absent"]
        '1 people; at least 3 needed'
    """
    try:
        return figure().to_dict()
    except InputError as error:
        return {"absent": f"{error.got}; {error.expected} needed"}


def _or_nan(value: Callable[[Columns], Any], columns: Columns) -> float:
    try:
        return float(value(columns))
    except InputError:
        return float("nan")


def _columns(dev: xr.Dataset, subjects: pd.DataFrame) -> Columns:
    """The numbers of a table of subjects, and mean |z| of all modalities but one."""
    size = np.abs(dev["z"].to_numpy())
    seen, size = np.isfinite(size), np.nan_to_num(size)
    numbers = subjects.select_dtypes("number")
    columns = {str(name): column.to_numpy(float) for name, column in numbers.items()}
    for m, own in modality_regions(dev).items():
        n = seen[:, ~own].sum(1)
        columns[f"without.{m}"] = np.divide(size[:, ~own].sum(1), n, out=np.full(len(n), np.nan), where=n > 0)
    return columns
