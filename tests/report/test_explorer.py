"""What the page holds of every person: the numbers of the files, and no more people than fit."""

import base64
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pyro_mmnorm.report import explorer as source
from pyro_mmnorm.report.explorer import explorer, packed
from pyro_mmnorm.report.maps import layers


def unpacked(told, d):
    codes = np.frombuffer(base64.b64decode(told["codes"]), "<u2").reshape(-1, d).astype(float)
    return np.array(told["low"]) + np.array(told["step"]) * np.where(codes == 65535, np.nan, codes)


@given(arrays(float, (6, 3), elements=st.floats(-1e6, 1e6) | st.just(float("nan"))))
def test_numbers_in_two_bytes_keep_what_is_missing_and_are_right_to_half_a_step(table):
    told = packed(table)
    found = unpacked(told, 3)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(table))
    error = np.abs(found - table) - 0.5 * np.array(told["step"])
    assert not (error > 1e-9 * (1 + np.abs(table))).any(), "rounding of float64 aside"


@pytest.fixture
def run():
    """The parts of a run that the explorer reads."""
    ids, rng = pd.Index([f"s{i}" for i in range(8)], name="id"), np.random.default_rng(2)
    z = pd.DataFrame(rng.normal(size=(8, 3)), ids, ["a.lh_insula", "a.rh_insula", "b.Left-Thalamus"])
    subjects = pd.DataFrame({"split": "target", "group": "AD", "mean_abs_z": np.arange(8.0), "age": 60.0 + np.arange(8),
                             "sex": ["F", "M"] * 4, "site_known": [True] * 7 + [False]}, ids)  # fmt: skip
    coords = {"region": list(z), "centile": [5, 95], "age": [60, 70], "sex": ("profile", ["F"])}
    curves = xr.Dataset({"value": (("profile", "region", "centile", "age"), rng.normal(size=(1, 3, 2, 2)))}, coords)
    return SimpleNamespace(
        z=z, subjects=subjects, deviations=xr.Dataset(), centiles=curves, primary="reconstruction",
        named=lambda key: ["age", "sex"] if key == "covariates" else [],
    )  # fmt: skip


def test_people_stand_by_their_deviation_with_their_own_numbers(run):
    data = explorer(run).data
    assert data["ids"] == [f"s{i}" for i in range(7, -1, -1)]
    np.testing.assert_allclose(unpacked(data["cells"]["z"], 3), run.z.iloc[::-1], atol=1e-4)
    assert dict(data["facts"])["age"] == [f"{x:.2f}" for x in range(67, 59, -1)]
    assert [bool(text) for text in data["cautions"]] == [True] + [False] * 7


def test_no_more_people_than_fit_and_the_reader_is_told(run, monkeypatch):
    monkeypatch.setattr(source, "MOST_CELLS", 9)
    found = explorer(run)
    assert found.data["ids"] == ["s7", "s6", "s5"]
    assert any("the 3 of 8 people" in note for note in found.notes)


def test_people_without_a_profile_have_no_curve(run):
    curves = explorer(run).data["curves"]
    assert curves["profile"] == [-1, 0] * 4
    values = unpacked(curves["values"], 3).reshape(1, 2, 2, 3)
    expected = run.centiles["value"].transpose("profile", "centile", "age", "region")
    np.testing.assert_allclose(values, expected, atol=1e-4)


def test_two_measures_of_a_region_are_two_maps(run):
    assert list(layers(["t.lh_insula", "v.lh_insula", "v.Left-Thalamus"])) == ["t", "v"]
    assert layers(["a.unknown"]) == {}
    assert [figure.caption for figure in explorer(run).brains] == ["z of every region"]
