"""What is true of every kind of deviation: order, chunks, bits, empty cells, far values."""

import dataclasses

import numpy as np
import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.inference import predictive
from pyro_mmnorm.results.schema import REGIONAL

AWAY = np.linspace(-30.0, 30.0, 31)


@pytest.fixture(scope="module")
def every(norm, cohort):
    """The small norm, calibrated for every kind with few draws."""
    return mm.NormativeModel(norm.model, draws=16, normative_draws=64).calibrate(cohort.calibrate, mm.KINDS)


def few_cells(cohort):
    """Ten people, one without a cell and one without a modality."""
    ten = cohort.test[cohort.test.ids[:10]]
    values = {m: frame.copy() for m, frame in ten.values.items()}
    values["cortical"].iloc[0, 3] = np.nan
    values["hippocampal"].iloc[1] = np.nan
    return dataclasses.replace(ten, values=values)


@pytest.mark.parametrize("kind", mm.KINDS)
def test_neither_order_nor_chunks_matter(every, cohort, kind, monkeypatch):
    people = few_cells(cohort)
    whole = every.deviations(people, kind)
    monkeypatch.setattr(predictive, "BUDGET_CELLS", 12 * 64 * 3)  # three people at a time
    turned = every.deviations(people[people.ids[::-1]], kind).sel(subject=whole["subject"])
    for name, found in whole.data_vars.items():
        np.testing.assert_allclose(turned[name], found, atol=1e-6, rtol=1e-6, err_msg=str(name))


@pytest.mark.parametrize("kind", mm.KINDS)
def test_the_same_people_get_the_same_bits(every, cohort, kind):
    people = few_cells(cohort)
    assert every.deviations(people, kind).identical(every.deviations(people, kind))


@pytest.mark.parametrize("kind", REGIONAL)
def test_unobserved_cells_stay_empty_and_no_others(every, cohort, kind):
    people = few_cells(cohort)
    seen = np.isfinite(np.concatenate([frame.to_numpy() for frame in people.values.values()], 1))
    dev = every.deviations(people, kind)
    for name in ("z", "z_raw", "p", "q"):
        assert np.array_equal(np.isfinite(dev[name]), seen), name
    assert np.isfinite(dev["omnibus_p"]).all()


@pytest.mark.parametrize("kind", REGIONAL)
def test_raw_z_is_finite_and_grows_to_thirty_sds(every, cohort, kind):
    one = every.preprocess(cohort.test[cohort.test.ids[:1]])
    at = every.predictive(one, kind)
    rows = torch.zeros(len(AWAY), dtype=torch.long)
    values = {m: x[rows].double() for m, x in one.values.items()}
    values["cortical"][:, 3] = torch.from_numpy(at.loc[0, 3] + AWAY * at.scale[0, 3])
    z = every.predictive(one[rows].replace_unchecked(values=values), kind).z[:, 3]
    assert np.isfinite(z).all()
    assert (np.diff(z) > 0).all()
