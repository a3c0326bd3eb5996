"""Refits: the results of runs under calibrators refitted on resampled calibration controls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtr

from pyro_mmnorm.app.compare.runs import Model, Run
from pyro_mmnorm.calibration.calibrated import Calibrated
from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.data.preprocess import Preprocess
from pyro_mmnorm.norm import checkpoint
from pyro_mmnorm.norm.recalibration import REFITS, refitted_z
from pyro_mmnorm.results.person_measures import person_measures
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg

__all__ = ["can_refit", "refits"]

FILE = "calibration_controls.nc"


def can_refit(run: Run) -> bool:
    """Whether the folder of a run contains the data to which its calibrator was fitted."""
    return (run.results.path / FILE).is_file() and (run.results.path / "model").is_dir()


def refits(models: Sequence[Model]) -> Iterator[list[Model]]:
    """The models under each refit, all on the same resampled calibration controls; empty if one cannot be refitted."""
    runs = {id(run): run for model in models for run in model.runs}
    if not all(map(can_refit, runs.values())):
        return
    able = {key: _Refitted.read(run) for key, run in runs.items()}
    for i in range(REFITS):
        yield [Model(model.name, [able[id(run)].run(i) for run in model.runs]) for model in models]


@dataclass(frozen=True)
class _Refitted:
    """A run with its calibrator and the calibration controls."""

    first: Run
    calibrator: Calibrator
    controls: xr.Dataset
    z_raw: xr.DataArray

    @classmethod
    def read(cls, run: Run) -> Self:
        folder, ids = run.results.path, run.results.z.index.to_numpy(str)
        arrays, record = checkpoint.read(folder / "model")
        groups = Preprocess.from_record(record["preprocess"]).groups
        calibrator = Calibrated.from_arrays(arrays, record, groups).calibrators[run.results.primary]
        with xr.open_dataset(folder / FILE, engine="h5netcdf") as file:
            controls = file.load().sel(subject=ids)
        return cls(run, calibrator, controls, run.results.deviations["z_raw"].sel(subject=ids))

    def run(self, i: int) -> Run:
        """The run with z of refit i, and the measures of each person that follow."""
        z = refitted_z(self.calibrator, self.controls, self.z_raw, i)
        q = benjamini_hochberg(2 * ndtr(-np.abs(z)), axis=1)
        dev = self.z_raw.to_dataset().assign(z=(self.z_raw.dims, z), q=(self.z_raw.dims, q))
        old = self.first.results
        results = replace(
            old,
            z=pd.DataFrame(z, index=old.z.index, columns=old.z.columns),
            subjects=old.subjects.assign(**person_measures(dev)),
        )
        return replace(self.first, results=results)
