"""Measures of a person by hand, and their SD over members."""

import numpy as np
import xarray as xr

from pyro_mmnorm.results.person_measures import LEVEL, member_spread, modality_regions, person_measures, sd_over_members

NAN = np.nan


def deviations(z, q):
    dims = ("subject", "region")
    modality = ("region", ["t1", "t1", "t2"])
    return xr.Dataset({"z": (dims, np.array(z)), "q": (dims, np.array(q))}, coords={"modality": modality})


def test_measures_by_hand():
    """q of .05 is not significant; |z| of 1.96 is not an outlier."""
    dev = deviations([[-3.0, 1.96, NAN], [NAN, NAN, NAN]], [[0.0499, 0.05, NAN], [NAN, NAN, NAN]])
    expected = {
        "n_observed": [2, 0], "mean_abs_z": [4.96 / 2, NAN], "mean_sq_z": [(9 + 1.96**2) / 2, NAN],
        "mean_z": [-1.04 / 2, NAN], "n_outliers": [1, 0], "n_significant": [1, 0], "dsi": [3 / 2, NAN],
        "mean_abs_z.t1": [4.96 / 2, NAN], "mean_abs_z.t2": [NAN, NAN],
    }  # fmt: skip
    measures = person_measures(dev)
    assert list(measures) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(measures[name], value, err_msg=name)
    assert LEVEL == 0.05


def test_one_modality_has_no_measures_of_its_own():
    dev = deviations([[1.0, 2.0, 3.0]], [[1.0, 1.0, 1.0]])
    assert {m: rows.tolist() for m, rows in modality_regions(dev).items()} == {"t1": [1, 1, 0], "t2": [0, 0, 1]}
    assert modality_regions(dev.drop_vars("modality")) == {}
    assert modality_regions(dev.isel(region=[0, 1])) == {}


def test_the_sd_over_members_is_that_of_numpy():
    x = np.random.default_rng(0).normal(1e3, 1, size=(5, 4))
    parts = (xr.Dataset({"z": ("region", row)}) for row in x)
    np.testing.assert_allclose(sd_over_members(parts)["z_member_sd"], x.std(0, ddof=1), rtol=1e-9)
    same = xr.Dataset({"z": ("region", x[0])})
    assert (sd_over_members([same] * 3)["z_member_sd"] == 0).all()  # exactly


def test_the_spread_over_members_is_that_of_their_measures():
    rng = np.random.default_rng(1)
    members = []
    for _ in range(3):
        dev = deviations(rng.normal(size=(4, 3)) * 2, rng.random((4, 3)) * 0.2)
        members.append(dev.assign(omnibus_p=("subject", rng.random(4)), mse=("subject", rng.random(4))))
    spread = member_spread(iter(members))
    each = np.stack([person_measures(dev)["dsi"] for dev in members])
    np.testing.assert_allclose(spread["dsi_member_sd"], each.std(0, ddof=1))
    np.testing.assert_allclose(spread["mse_member_sd"], np.stack([dev["mse"] for dev in members]).std(0, ddof=1))
    np.testing.assert_array_equal(spread["flagged_by_member"], np.stack([dev["q"] < 0.05 for dev in members]))
    assert "n_observed_member_sd" not in spread
