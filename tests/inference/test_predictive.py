"""Laws of every kind of deviation: order, chunks, reproducibility, missing cells, extreme values."""

import dataclasses

import numpy as np
import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.inference import predictive
from pyro_mmnorm.inference.evidence import evidence
from pyro_mmnorm.inference.raw_deviations import Predictor
from pyro_mmnorm.results.schema import REGIONAL

AWAY = np.linspace(-30.0, 30.0, 31)


@pytest.fixture(scope="module")
def every(norm, cohort):
    """The small norm, calibrated for every kind with few draws."""
    return mm.NormativeModel(norm.model, draws=16, normative_draws=64).calibrate(cohort.calibrate, mm.KINDS)


def few_cells(cohort):
    """Ten people, of whom one lacks a cell and one a modality."""
    ten = cohort.test[cohort.test.ids[:10]]
    values = {m: frame.copy() for m, frame in ten.values.items()}
    values["cortical"].iloc[0, 3] = np.nan
    values["hippocampal"].iloc[1] = np.nan
    return dataclasses.replace(ten, values=values)


@pytest.mark.parametrize("kind", mm.KINDS)
def test_results_depend_neither_on_order_nor_on_chunks(every, cohort, kind, monkeypatch):
    people = few_cells(cohort)
    whole = every.deviations(people, kind)
    monkeypatch.setattr(predictive, "BUDGET_CELLS", 12 * 64 * 3)  # three people at a time
    reversed_ = every.deviations(people[people.ids[::-1]], kind).sel(subject=whole["subject"])
    for name, found in whole.data_vars.items():
        np.testing.assert_allclose(reversed_[name], found, atol=1e-6, rtol=1e-6, err_msg=str(name))


@pytest.mark.parametrize("kind", mm.KINDS)
def test_results_are_bitwise_reproducible(every, cohort, kind):
    people = few_cells(cohort)
    assert every.deviations(people, kind).identical(every.deviations(people, kind))


@pytest.mark.parametrize("kind", REGIONAL)
def test_exactly_the_unobserved_cells_are_missing(every, cohort, kind):
    people = few_cells(cohort)
    seen = np.isfinite(np.concatenate([frame.to_numpy() for frame in people.values.values()], 1))
    dev = every.deviations(people, kind)
    for name in ("z", "z_raw", "p", "q"):
        assert np.array_equal(np.isfinite(dev[name]), seen), name
    assert np.isfinite(dev["omnibus_p"]).all()


@pytest.mark.parametrize("kind", REGIONAL)
def test_raw_z_is_finite_and_increasing_up_to_thirty_sds(every, cohort, kind):
    one = every.preprocess(cohort.test[cohort.test.ids[:1]])
    at = every.predictive(one, kind)
    rows = torch.zeros(len(AWAY), dtype=torch.long)
    values = {m: x[rows].double() for m, x in one.values.items()}
    values["cortical"][:, 3] = torch.from_numpy(at.loc[0, 3] + AWAY * at.scale[0, 3])
    z = every.predictive(one[rows].replace_unchecked(values=values), kind).z[:, 3]
    assert np.isfinite(z).all()
    assert (np.diff(z) > 0).all()


def test_every_model_has_a_predictor_of_the_same_protocol(norm, cohort):
    linear = mm.LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=2)
    for model, members in ((norm.model, 1), (linear, 1), (mm.MMVAE.for_cohort(cohort, latent_dim=2, members=2), 2)):
        batch = model.preprocess(cohort.test)
        one: Predictor = predictive.predictor(model, draws=4, normative_draws=8, refine=0, seed=3, spread=None)
        found = one(batch, "normative")
        assert [x.shape for x in found] == [(len(batch), 17)] * 4
        assert one.posterior_mean(batch).shape == (len(batch), members * model.posterior(batch).mean.shape[-1])
        assert evidence(model, batch, draws=4, refine=0, seed=3).shape == (len(batch),)
        z = np.stack([found.z[:, [12, 14]], found.z[:, [12, 14]] + 1])
        x = one.quantile(batch, z, "hippocampal", [0, 2])
        np.testing.assert_allclose(x[0], batch.values["hippocampal"][:, [0, 2]], atol=1e-6)
        assert (x[1] > x[0]).all()
        alone = one.member(members - 1)
        assert alone.posterior_mean(batch).shape[1] * members == one.posterior_mean(batch).shape[1]


def test_the_settings_of_a_predictor_are_used(norm, cohort):
    batch = norm.model.preprocess(cohort.test)
    base = {"draws": 8, "normative_draws": 16, "refine": 1, "seed": 3, "spread": np.ones(17)}
    one = predictive.predictor(norm.model, **base)
    assert (one.draws, one.normative_draws, one.refine, one.seed) == (8, 16, 1, 3)
    assert one.spread.tolist() == [1.0] * 17
    reference = {kind: one(batch, kind).z for kind in ("reconstruction", "normative")}
    for name, kind in (("draws", "reconstruction"), ("refine", "reconstruction"), ("normative_draws", "normative")):
        other = predictive.predictor(norm.model, **{**base, name: 2 * base[name] + 4})
        assert not np.array_equal(other(batch, kind).z, reference[kind])
