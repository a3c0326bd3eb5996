"""Centile charts: every curve, every person, units and numbers of people."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pyro_mmnorm import plots
from pyro_mmnorm.core.errors import InputError


@pytest.fixture
def curves():
    age = np.linspace(50, 80, 7)
    values = np.array([1.0, 2.0, 3.0])[:, None] * (100 - age / 2)
    coords = {"centile": [5.0, 50.0, 95.0], "age": age, "sex": "F", "site": "Bern"}
    return xr.DataArray(values, coords, ("centile", "age"), name="thickness.insula")


def test_a_chart_shows_profile_and_units(curves):
    ax = plots.centiles(curves, unit="mm")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("age [years]", "insula [mm]")
    assert ax.get_title(loc="left") == "Centiles: sex F, site Bern"
    assert [text.get_text() for text in ax.texts] == ["5 %", "50 %", "95 %"]
    for line, curve in zip(ax.lines, curves, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), curve)
    assert ax.get_legend() is None


def test_people_are_points_with_their_number(curves):
    controls = pd.DataFrame({"age": [60.0, 61.0, 70.0], "value": [100.0, 120.0, 90.0], "group": "CN"})
    patients = pd.DataFrame({"age": [65.0, 66.0], "value": [50.0, 60.0], "group": ["AD", "MCI"]})
    ax = plots.centiles(curves, controls, patients)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["controls, n 3", "AD, n 1", "MCI, n 1"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), controls["value"])
    assert ax.get_ylabel() == "insula"


def test_invalid_curves_and_tables_are_rejected(curves):
    with pytest.raises(InputError, match=r"curves: dims \('age', 'centile'\)"):
        plots.centiles(curves.T)
    with pytest.raises(InputError, match="controls: no rows"):
        plots.centiles(curves, pd.DataFrame({"age": [], "value": []}))
    with pytest.raises(InputError, match="patients: no column group"):
        plots.centiles(curves, patients=pd.DataFrame({"age": [60.0], "value": [1.0]}))
