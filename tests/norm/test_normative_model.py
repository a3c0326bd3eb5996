"""Deviations: closed form, tails, units, round trip; tests of every kind are in test_predictive."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy import special

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.inference.mixture import raw_z
from pyro_mmnorm.inference.refine import refined
from pyro_mmnorm.results.schema import joined


def test_raw_z_is_that_of_the_mixture_written_by_hand(norm, cohort):
    model, batch = norm.model, norm.preprocess(cohort.test)
    q = refined(model, batch, norm.refine_steps)
    z = q.mean + q.stddev * torch.randn(20_000, 1, model.latent_dim, generator=torch.Generator().manual_seed(0))
    d = model.likelihood("hippocampal", z, batch)
    want = special.ndtri(d.cdf(batch.values["hippocampal"]).mean(0).detach().numpy())
    noise, between = d.variance.mean(0), d.mean.var(0, correction=0)  # the draws depend on the region itself
    want = want / ((noise - between) / (noise + between)).sqrt().detach().numpy()
    got = norm.raw(cohort.test)["z_raw"].sel(region=[f"hippocampal.hip_{j}" for j in range(5)])
    np.testing.assert_allclose(got, want, atol=0.03)  # 64 Sobol draws against 20,000 random ones


def test_raw_z_is_finite_and_monotone_thirty_scales_out():
    x = torch.linspace(-30, 30, 601, dtype=torch.float64)
    z = raw_z(torch.special.log_ndtr(x), torch.special.log_ndtr(-x))
    np.testing.assert_allclose(z, x, atol=1e-9)


def test_extreme_values_stay_finite_and_in_order(norm, cohort):
    one = cohort.test[cohort.test.ids[:1]]
    previous = -np.inf
    for value in (-20_000, -5_000, 0, 1_000, 5_000, 20_000):
        values = {m: frame.copy() for m, frame in one.values.items()}
        values["hippocampal"].iloc[0, 2] = value
        z = norm.deviations(dataclasses.replace(one, values=values))["z"].sel(region="hippocampal.hip_2").item()
        assert np.isfinite(z)
        assert z > previous
        previous = z


def test_expected_and_sd_are_in_the_units_of_the_table(norm, cohort):
    dev = norm.deviations(cohort.test)
    x = np.concatenate([frame.to_numpy() for frame in cohort.test.values.values()], 1)
    again = (x - dev["expected"]) / dev["sd"]
    # exact were the mixture normal; within |z| < 2 it nearly is
    near = np.abs(dev["z"].to_numpy()) < 2
    np.testing.assert_allclose(again.to_numpy()[near], dev["z"].to_numpy()[near], atol=0.1)


def test_a_planted_loss_is_found_and_its_sign_is_negative(norm, cohort):
    z = norm.deviations(cohort.target)["z"].sel(region="hippocampal.hip_0")
    assert (z < -1.64).mean() > 0.8  # 300 units down, 4 residual SDs


def test_a_saved_and_loaded_norm_gives_the_same_bits(norm, cohort, tmp_path):
    norm.save(tmp_path / "model")
    again = mm.load(tmp_path / "model")
    a, b = norm.deviations(cohort.target), again.deviations(cohort.target)
    assert a.identical(b)


@pytest.mark.parametrize(("fusion", "steps"), [("poe", 5), ("gpoe", 5), ("moe", 0)])
def test_five_refinement_steps_where_the_posterior_is_diagonal_normal(cohort, fusion, steps):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(4,), fusion=fusion)
    assert mm.NormativeModel(model).refine_steps == steps
    assert mm.NormativeModel(model, refine=3).refine_steps == 3


def test_ten_calibration_controls_are_enough(norm, cohort):
    ten = cohort.calibrate[cohort.calibrate.ids[:10]]
    assert mm.NormativeModel(norm.model, draws=16).calibrate(ten).kinds == ("reconstruction",)
    with pytest.raises(InputError, match="9 controls; expected at least 10"):
        norm.calibrate(ten[ten.ids[:9]])


def test_wrong_calls_are_refused(norm, cohort):
    with pytest.raises(InputError, match="kind 'reconstruction' is not calibrated"):
        mm.NormativeModel(norm.model).deviations(cohort.test)
    with pytest.raises(InputError, match="kind: 'sideways'"):
        norm.raw(cohort.test, "sideways")
    with pytest.raises(InputError, match="3 controls; expected at least 10"):
        norm.calibrate(cohort.calibrate[cohort.calibrate.ids[:3]])
    with pytest.raises(InputError, match=r"deviations\.calibrator: 'magic'"):
        mm.NormativeModel(norm.model, calibrator="magic")


def test_two_fits_of_one_seed_give_the_same_bits(cohort):
    tables = []
    for _ in range(2):
        torch.rand(3)  # whatever was drawn before does not matter
        model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(4,), seed=3)
        mm.fit(model, cohort.train, mm.TrainConfig(epochs=3), seed=3, progress=False)
        tables.append(mm.NormativeModel(model, draws=32, seed=3).calibrate(cohort.calibrate).deviations(cohort.target))
    assert tables[0].identical(tables[1])


def test_the_order_of_rows_in_the_tables_leaves_z_alone(frames):
    values, people = frames
    results = []
    for seed in (None, 5):
        shuffled = {m: f.sample(frac=1, random_state=seed) if seed else f for m, f in values.items()}
        rows = people.sample(frac=1, random_state=seed) if seed else people
        cohort = mm.Cohort.from_frames(
            shuffled, rows, covariates={"age": "spline", "sex": "category"}, reference=("diagnosis", ["CN"]), seed=2
        )
        model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(4,))
        mm.fit(model, cohort.train, mm.TrainConfig(epochs=2), progress=False)
        dev = mm.NormativeModel(model, draws=32).calibrate(cohort.calibrate).deviations(cohort.target)
        results.append(pd.DataFrame(dev["z"].to_numpy(), index=dev["subject"].to_numpy()))
    pd.testing.assert_frame_equal(*results)


def test_parts_that_differ_are_not_joined():
    """A variable that one part lacks would be whatever lay in memory."""
    one = xr.Dataset({"z": ("subject", [1.0])}, {"subject": ["a"]})
    with pytest.raises(ValueError, match=r"parts differ in \['p'\]"):
        joined([one, one.assign(p=one["z"])], people=2)


def test_a_new_calibration_replaces_the_old_one(norm, cohort):
    """Calibrated for two kinds one after the other, a norm keeps the second kind only, as if it were the first."""
    again = mm.NormativeModel(norm.model, draws=16, normative_draws=64)
    again.calibrate(cohort.calibrate, ("reconstruction", "latent")).calibrate(cohort.calibrate, ("normative",))
    assert again.kinds == ("normative",)
    fresh = mm.NormativeModel(norm.model, draws=16, normative_draws=64).calibrate(cohort.calibrate, ("normative",))
    assert again.deviations(cohort.test, "normative").identical(fresh.deviations(cohort.test, "normative"))


def test_a_calibration_that_fails_leaves_the_norm_as_it_was(norm, cohort):
    one = mm.NormativeModel(norm.model, draws=16).calibrate(cohort.calibrate)
    before = one.deviations(cohort.test)
    elsewhere = dataclasses.replace(cohort.calibrate, covariates=cohort.calibrate.covariates.assign(site="Chur"))
    with pytest.raises(InputError, match="'Chur' unseen in training"):
        one.calibrate(elsewhere, ("reconstruction", "local"))
    assert one.deviations(cohort.test).identical(before)


@pytest.mark.parametrize(("name", "value"), [("unseen_site", "populaton"), ("outside_range", "refus")])
def test_a_misspelt_rule_is_refused(norm, name, value):
    """Otherwise it would act as the less strict rule."""
    with pytest.raises(InputError, match=rf"deviations\.{name}: '{value}'; expected one of"):
        mm.NormativeModel(norm.model, **{name: value})


def test_copies_of_a_norm_leave_it_as_it_is(norm, cohort):
    sites, calibration = norm.sites, norm.calibration
    other = norm.as_population().only("reconstruction").with_site("Chur", norm.calibration)
    assert (norm.unseen_site, norm.sites, norm.calibration) == ("refuse", sites, calibration)
    assert (other.unseen_site, list(other.sites), other.kinds) == ("population", ["Chur"], ("reconstruction",))


def test_kept_controls_are_those_inferred_after_loading(norm, cohort, tmp_path):
    """Raw z that `calibrate` keeps equal those of a loaded norm, widths of missing modalities included."""
    hidden = cohort.calibrate.present.copy()
    hidden.loc[:, :] = np.outer(np.arange(len(hidden)) % 3 == 0, [False, True])
    holed = cohort.calibrate.hiding(hidden)
    one = mm.NormativeModel(norm.model, draws=16).calibrate(holed)
    one.save(tmp_path / "norm")
    kept, inferred = one.controls(holed), mm.load(tmp_path / "norm").controls(holed)
    np.testing.assert_allclose(kept.raw["reconstruction"], inferred.raw["reconstruction"], rtol=1e-12)
    np.testing.assert_array_equal(kept.design, inferred.design)
