"""RunResults: the files of a run folder, read once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
import xarray as xr
import yaml

from pyro_mmnorm.core.errors import InputError, needed
from pyro_mmnorm.results.schema import TEST_CONTROLS, group_of, groups_of

__all__ = ["RunResults"]

TEXT = ("modality", "region", "group", "split")


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """The results of a run; the parts that the run did not write are empty.

    Args:
        path: The folder.
        config: config.yaml.
        z: Calibrated z of the primary kind, [n, d], NaN where not observed.
        subjects: subjects.csv by id, the same rows as z.
        regions: regions.csv.
        history: history.csv.
        calibration: calibration.json.
        findings: findings.json.
        provenance: provenance.json.
        latents: latents.csv.
        diagnostics: diagnostics.json.
        deviations: deviations.nc of the primary kind.
        centiles: centiles.nc.
    """

    path: Path
    config: dict[str, Any]
    z: pd.DataFrame
    subjects: pd.DataFrame
    regions: pd.DataFrame
    history: pd.DataFrame
    calibration: dict[str, Any]
    findings: dict[str, Any]
    provenance: dict[str, Any]
    latents: pd.DataFrame
    diagnostics: dict[str, Any]
    deviations: xr.Dataset
    centiles: xr.Dataset

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a run folder; config.yaml, z.csv and subjects.csv are required.

        Raises:
            InputError: When the folder or a required file is missing, or a file has other contents.
        """
        path = Path(path)
        for name in ("config.yaml", "z.csv", "subjects.csv"):
            if not (path / name).is_file():
                raise InputError(str(path), f"no {name}", "a run folder", "give the folder that `mmnorm run` wrote")
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise InputError(str(path / "config.yaml"), type(config).__name__, "a mapping", "restore the file")
        z, subjects = _table(path / "z.csv", by_id=True), _table(path / "subjects.csv", by_id=True)
        needed(subjects, ["split", "group", "mean_abs_z"], str(path / "subjects.csv"))
        if set(z.index) != set(subjects.index):
            raise InputError(str(path), "other ids in z.csv than in subjects.csv", "the same people", "run it again")
        return cls(
            path=path,
            config=config,
            z=z.reindex(subjects.index),
            subjects=subjects,
            regions=_table(path / "regions.csv"),
            history=_table(path / "history.csv"),
            calibration=_json(path / "calibration.json"),
            findings=_json(path / "findings.json"),
            provenance=_json(path / "provenance.json"),
            latents=_table(path / "latents.csv"),
            diagnostics=_json(path / "diagnostics.json"),
            deviations=_of_kind(_netcdf(path / "deviations.nc"), _primary(config)),
            centiles=_netcdf(path / "centiles.nc"),
        )

    @property
    def primary(self) -> str:
        """The kind of deviation in z.csv."""
        return _primary(self.config)

    @property
    def reliability(self) -> dict[str, Any]:
        """The part of calibration.json about the primary kind."""
        return dict(self.calibration.get(self.primary, {}))

    @property
    def extrapolated(self) -> pd.Series:
        """Share of observed values outside the calibration range (extrapolated z), by group."""
        if "extrapolated" not in self.deviations:
            return pd.Series(dtype=float)
        seen = self.deviations["z"].notnull()
        beyond = self.deviations["extrapolated"].where(seen, 0).sum("region")
        counts = pd.DataFrame({"seen": seen.sum("region").to_series(), "beyond": beyond.to_series()})
        counts = counts.groupby(group_of(self.subjects)).sum()
        return counts["beyond"] / counts["seen"]

    @property
    def test_z(self) -> pd.DataFrame:
        """The z-scores of the test controls."""
        return self.z[(self.subjects["split"] == "test").to_numpy()]

    @property
    def groups(self) -> list[str]:
        """The groups of target subjects in their order."""
        configured = (self.config.get("data", {}).get("groups") or {}).get("order") or []
        present = dict.fromkeys(group for group in group_of(self.subjects) if group != TEST_CONTROLS)
        written = groups_of(self.regions) if "group" in self.regions else []
        return [group for group in dict.fromkeys([*written, *map(str, configured), *present]) if group in present]

    @property
    def counts(self) -> dict[str, int]:
        """Number of people per split."""
        counts = self.provenance.get("counts", {})
        return dict(counts.get("subjects", counts))

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions of the model."""
        return int(self.config.get("model", {}).get("latent_dim", 16))

    def named(self, key: str) -> list[str]:
        """The `covariates` or `scores` of the configuration that are columns of subjects.csv."""
        return [name for name in self.config.get("data", {}).get(key) or {} if name in self.subjects]

    @property
    def modalities(self) -> pd.Series:
        """Number of regions per modality."""
        return self.z.columns.str.split(".", n=1).str[0].to_series().value_counts(sort=False)


def _primary(config: dict[str, Any]) -> str:
    return str(config.get("deviations", {}).get("primary", "reconstruction"))


def _table(path: Path, *, by_id: bool = False) -> pd.DataFrame:
    """A CSV file; ids and names are text, and only an empty cell is missing. No rows without the file."""
    if not path.is_file() or not path.read_bytes().strip():
        return pd.DataFrame()
    columns = pd.read_csv(path, nrows=0).columns
    text = {name: str for name in columns if name in TEXT or (by_id and name == columns[0])}
    table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    return table.set_index(columns[0]) if by_id else table


def _json(path: Path) -> dict[str, Any]:
    """A JSON file with a mapping; empty without the file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(str(path), str(error), "JSON", "restore the file or run again") from error
    if not isinstance(content, dict):
        raise InputError(str(path), type(content).__name__, "a mapping", "restore the file or run again")
    return content


def _netcdf(path: Path) -> xr.Dataset:
    """A netCDF file in memory; empty without the file."""
    if not path.is_file():
        return xr.Dataset()
    with xr.open_dataset(path, engine="h5netcdf") as data:
        return data.load()


def _of_kind(deviations: xr.Dataset, kind: str) -> xr.Dataset:
    """The deviations of one kind; empty if it was not computed."""
    return deviations.sel(kind=kind) if "kind" in deviations and kind in deviations["kind"] else xr.Dataset()
