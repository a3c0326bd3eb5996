"""Export of a run: one long table, or one netCDF file."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.files import atomic_write, require_pyarrow

__all__ = ["export", "long_table"]

ENDINGS = {"csv": "csv", "parquet": "parquet", "netcdf": "nc"}
ORDER = ("z", "p", "q", "expected", "sd", "z_raw", "extrapolated")


def export(run_dir: str | Path, to: str, out: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Write the results of a run for people and regions to one file.

    Args:
        run_dir: Folder of a run, of `mmnorm score` or of `mmnorm adapt`.
        to: `csv` and `parquet`: see `long_table`; `netcdf`: deviations.nc with the columns of subjects.csv.
        out: The file; None: deviations_export in the folder of the run, with the extension of the format.
        overwrite: Replace an existing file.

    Returns:
        The path of the file.

    Raises:
        InputError: For an unknown format, a folder without deviations.nc and subjects.csv, or an existing file.

    Examples:
        >>> export("runs/none", "csv")
        Traceback (most recent call last):
        ...
        pyro_mmnorm.core.errors.InputError: runs/none: no deviations.nc in it; ...
    """
    run_dir = Path(run_dir)
    if to not in ENDINGS:
        raise InputError("export", repr(to), f"one of {', '.join(ENDINGS)}", "use one of these")
    for name in ("deviations.nc", "subjects.csv"):
        if not (run_dir / name).is_file():
            raise InputError(str(run_dir), f"no {name} in it", "the folder of a run", "check the path")
    path = Path(out) if out else run_dir / f"deviations_export.{ENDINGS[to]}"
    if path.exists() and not (overwrite and path.is_file()):
        todo = "choose another --out, or add --overwrite"
        raise InputError(str(path), "a file or folder that exists", "a new file", todo)
    subjects = pd.read_csv(run_dir / "subjects.csv", index_col=0, dtype={0: str})
    with xr.open_dataset(run_dir / "deviations.nc", engine="h5netcdf") as stored:
        dev = stored.load()
    if to == "netcdf":
        ids = dev["subject"].to_numpy()
        columns = {str(name): x.loc[ids] for name, x in subjects.items() if str(name) not in dev.variables}
        content = dev.assign({name: ("subject", _for_netcdf(x)) for name, x in columns.items()})
        return atomic_write(path, bytes(content.to_netcdf(engine="h5netcdf")))
    table = long_table(dev, subjects)
    if to == "csv":
        return atomic_write(path, table.to_csv(index=False))
    require_pyarrow(str(path))
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return atomic_write(path, buffer.getvalue())


def long_table(dev: xr.Dataset, subjects: pd.DataFrame) -> pd.DataFrame:
    """One row per kind, person and observed region: a table for R and spreadsheets.

    Args:
        dev: deviations.nc of a run.
        subjects: subjects.csv, by id.

    Returns:
        id, split and group; kind, modality and region; z, p, q, expected, sd, z_raw, extrapolated, left_out.

    Examples:
        >>> coords = {"kind": ["reconstruction"], "subject": ["a"], "region": ["t1.x", "t1.y"],
        ...           "modality": ("region", ["t1", "t1"]), "region_name": ("region", ["x", "y"])}
        >>> dev = xr.Dataset({"z": (("kind", "subject", "region"), [[[1.5, float("nan")]]])}, coords)
        >>> long_table(dev, pd.DataFrame({"split": ["target"], "group": ["AD"]}, index=["a"])).values.tolist()
        [['a', 'target', 'AD', 'reconstruction', 't1', 'x', 1.5]]
    """
    regional = [str(name) for name, x in dev.data_vars.items() if x.dims == ("kind", "subject", "region")]
    regional.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    frame = dev[regional].drop_vars([c for c in dev.coords if c not in (*dev.dims, "modality", "region_name")])
    table = frame.to_dataframe().reset_index()
    table = table[table["z"].notna()].drop(columns="region").rename(columns={"subject": "id", "region_name": "region"})
    table = table.join(subjects[["split", "group"]], on="id")
    head = ["id", "split", "group", "kind", "modality", "region"]
    return table[[*head, *regional]].reset_index(drop=True)


def _for_netcdf(column: pd.Series) -> NDArray[Any]:
    """Numbers unchanged, other values as text: the types of netCDF."""
    return column.to_numpy() if column.dtype.kind in "fiub" else column.fillna("").astype(str).to_numpy(dtype=str)
