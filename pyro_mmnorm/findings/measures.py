"""Summary measures of every person, also under calibrators refitted on resampled calibration controls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.findings.summaries import subject_table
from pyro_mmnorm.results.person_measures import modality_regions
from pyro_mmnorm.stats.associations import Columns, adjusted
from pyro_mmnorm.stats.intervals import UNBOUNDED, Estimate, Limits
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg

__all__ = ["MEASURES", "Measured", "estimate_or_reason"]

MEASURES = ("mean_abs_z", "mean_sq_z", "mean_z", "n_outliers", "dsi", "mse")
"""Measures of a person by which groups are compared; mse is the reconstruction error of the poster."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measures of every person, and their values under refitted calibrators.

    Args:
        ids: Ids of the people, [n].
        columns: Measure -> its value for every person, [n]: the numbers of `subject_table`, and for several modalities
            `without.<modality>`, mean |z| over the regions of all other modalities.
        refits: The same under every calibrator refitted on resampled calibration controls.
    """

    ids: NDArray[np.str_]
    columns: Columns
    refits: tuple[Columns, ...] = ()

    @classmethod
    def of(cls, dev: xr.Dataset, subjects: pd.DataFrame) -> Self:
        """From deviations of one kind, with `z_refit` (refit, subject, region) if available, and the table of subjects.

        Args:
            dev: Deviations, people in the order of `subjects`.
            subjects: From `subject_table`; more columns are allowed.
        """
        refits = []
        for z in bar(dev["z_refit"].to_numpy() if "z_refit" in dev else (), "measures under refits", unit="refit"):
            q = benjamini_hochberg(2 * ndtr(-np.abs(z)), axis=1)
            refit = dev.assign(z=(("subject", "region"), z), q=(("subject", "region"), q))
            refits.append(_columns(refit, subject_table(refit, subjects["split"], subjects["group"])))
        return cls(ids=subjects.index.to_numpy(str), columns=_columns(dev, subjects), refits=tuple(refits))

    @property
    def measures(self) -> list[str]:
        """Those of `MEASURES` that are available and vary."""
        return [name for name in MEASURES if len(np.unique(self.columns.get(name, ()))) > 1]

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities; empty for one modality."""
        return [name.removeprefix("without.") for name in self.columns if name.startswith("without.")]

    def part(self, rows: NDArray[np.bool_]) -> Self:
        """The measures of some of the people."""
        return self._mapped(lambda columns: {name: x[rows] for name, x in columns.items()}, self.ids[rows])

    def adjusted(self, nuisance: Mapping[str, NDArray[Any]], group: NDArray[Any]) -> Self:
        """The measures adjusted with slopes within groups, see `stats.associations.adjusted`.

        Raises:
            InputError: As `stats.associations.adjusted`.
        """
        names = self.measures

        def one(columns: Columns) -> Columns:
            rest = adjusted(np.stack([columns[name] for name in names], 1), nuisance, group)
            return dict(zip(names, rest.T, strict=True))

        return self._mapped(one, self.ids)

    def record(
        self,
        statistic: Callable[[Columns], Estimate],
        value: Callable[[Columns], Any] | None = None,
        *,
        limits: Limits = UNBOUNDED,
    ) -> dict[str, Any]:
        """An estimate for JSON, its interval widened by the refits (see `Estimate.widened`), or why there is none.

        Args:
            statistic: Computes the estimate from the columns.
            value: Computes the value alone, if that is faster.
            limits: Of the statistic.
        """
        alone = value or (lambda columns: statistic(columns).value)
        return estimate_or_reason(
            lambda: statistic(self.columns).widened([_or_nan(alone, x) for x in self.refits], limits)
        )

    def _mapped(self, change: Callable[[Columns], Columns], ids: NDArray[np.str_]) -> Self:
        return type(self)(ids=ids, columns=change(self.columns), refits=tuple(map(change, self.refits)))


def estimate_or_reason(statistic: Callable[[], Estimate]) -> dict[str, Any]:
    """An estimate for JSON, or under `absent` the reason why it cannot be computed.

    Examples:
        >>> from pyro_mmnorm.stats.intervals import mean_interval
        >>> estimate_or_reason(lambda: mean_interval([1.0]))["absent"]
        '1 people; at least 3 needed'
    """
    try:
        return statistic().to_dict()
    except InputError as error:
        return {"absent": f"{error.got}; {error.expected} needed"}


def _or_nan(value: Callable[[Columns], Any], columns: Columns) -> float:
    try:
        return float(value(columns))
    except InputError:
        return float("nan")


def _columns(dev: xr.Dataset, subjects: pd.DataFrame) -> Columns:
    """The numbers of a table of subjects, and mean |z| over all modalities but one."""
    size = np.abs(dev["z"].to_numpy())
    seen, size = np.isfinite(size), np.nan_to_num(size)
    numbers = subjects.select_dtypes("number")
    columns = {str(name): column.to_numpy(float) for name, column in numbers.items()}
    others = {m: ~own for m, own in modality_regions(dev).items()}
    return columns | {f"without.{m}": ratio(size[:, rest].sum(1), seen[:, rest].sum(1)) for m, rest in others.items()}
