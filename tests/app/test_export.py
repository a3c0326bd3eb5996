"""Every export format holds the same numbers."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from pyro_mmnorm.app.cli import app
from pyro_mmnorm.app.export import export
from pyro_mmnorm.core.errors import InputError


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 3, 4))
    z[:, 1, 2] = np.nan
    people = ["007", "b", "c"]
    coords = {
        "kind": ["reconstruction", "normative"],
        "subject": people,
        "region": ["t1.a", "t1.b", "t2.a", "t2.b"],
        "modality": ("region", ["t1", "t1", "t2", "t2"]),
        "region_name": ("region", ["a", "b", "a", "b"]),
        "outside_range": ("subject", ["", "age", ""]),
    }
    dims = ("kind", "subject", "region")
    content = {"z": (dims, z), "p": (dims, np.abs(z)), "omnibus": (dims[:2], z[..., 0])}
    xr.Dataset(content, coords).to_netcdf(tmp_path / "deviations.nc", engine="h5netcdf")
    subjects = pd.DataFrame(
        {"split": ["test", "target", "target"], "group": ["CN", "AD", "AD"], "age": [70, np.nan, 71]},
        index=pd.Index(people, name="id"),
    )
    subjects.to_csv(tmp_path / "subjects.csv")
    return tmp_path


def test_every_format_holds_the_same_numbers(run):
    csv = pd.read_csv(export(run, "csv"), dtype={"id": str})
    parquet = pd.read_parquet(export(run, "parquet"))
    pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)
    assert len(csv) == 2 * (12 - 1)
    with xr.open_dataset(export(run, "netcdf"), engine="h5netcdf") as whole:
        for row in csv.itertuples():
            there = whole.sel(kind=row.kind, subject=row.id, region=f"{row.modality}.{row.region}")
            assert (there["z"].item(), there["p"].item()) == pytest.approx((row.z, row.p), rel=1e-15)  # pandas 2 rounds
            assert there["group"].item() == row.group
        assert np.isnan(whole["age"].sel(subject="b").item())
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_the_command_prints_the_path(run, tmp_path):
    out = tmp_path / "long.csv"
    done = CliRunner().invoke(app, ["export", str(run), "--to", "csv", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert str(out) in done.output
    assert CliRunner().invoke(app, ["export", str(run), "--to", "csv", "--out", str(out)]).exit_code == 2


def test_what_cannot_be_exported_is_refused(run):
    with pytest.raises(InputError, match="'xlsx'; expected one of csv, parquet, netcdf"):
        export(run, "xlsx")
    (run / "subjects.csv").unlink()
    with pytest.raises(InputError, match=r"no subjects\.csv in it"):
        export(run, "csv")
