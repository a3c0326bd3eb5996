"""The explorer: the values of the files for every person, and at most as many people as fit."""

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


def unpacked(numbers, d):
    codes = np.frombuffer(base64.b64decode(numbers["codes"]), "<u2").reshape(-1, d).astype(float)
    return np.array(numbers["low"]) + np.array(numbers["step"]) * np.where(codes == 65535, np.nan, codes)


@given(arrays(float, (6, 3), elements=st.floats(-1e6, 1e6) | st.just(float("nan"))))
def test_packed_numbers_keep_missing_values_and_are_right_to_half_a_step(table):
    numbers = packed(table)
    values = unpacked(numbers, 3)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(table))
    error = np.abs(values - table) - 0.5 * np.array(numbers["step"])
    assert not (error > 1e-9 * (1 + np.abs(table))).any(), "apart from the rounding of float64"


@pytest.fixture
def run():
    """The parts of a run used by the explorer."""
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


def test_people_are_ordered_by_deviation_with_their_own_values(run):
    data = explorer(run).data
    assert data["ids"] == [f"s{i}" for i in range(7, -1, -1)]
    np.testing.assert_allclose(unpacked(data["cells"]["z"], 3), run.z.iloc[::-1], atol=1e-4)
    assert dict(data["facts"])["age"] == [f"{x:.2f}" for x in range(67, 59, -1)]
    assert data["cautions"] == [source.UNKNOWN_SITE] + [""] * 7
    assert dict(data["facts"])["group"] == ["AD"] * 8
    assert dict(data["facts"])["mean |z| (0.798 expected under calibration)"][0] == "7.00"


def test_a_person_outside_the_range_at_an_unknown_site_has_both_warnings(run):
    run.subjects["outside_range"] = [None, "age", *[""] * 5, "age, sex"]
    cautions = explorer(run).data["cautions"]
    assert cautions[0] == f"{source.EXTRAPOLATING.format('age, sex')} {source.UNKNOWN_SITE}"
    assert cautions[6:] == [source.EXTRAPOLATING.format("age"), ""]


def test_people_who_do_not_fit_are_mentioned(run, monkeypatch):
    monkeypatch.setattr(source, "MOST_CELLS", 9)
    shown = explorer(run)
    assert shown.data["ids"] == ["s7", "s6", "s5"]
    assert any("the 3 of 8 people" in note for note in shown.notes)


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
