"""The tree of draws: names, members, and replicates that are tables of independent people."""

from dataclasses import replace

import arviz as az
import numpy as np
import pytest
import torch

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.preprocess import SiteUnits

DRAWS = 200


@pytest.fixture(scope="module")
def holed(cohort):
    """The test controls with a fifth of the cortical cells not observed."""
    test = cohort.test
    table = test.values["cortical"].copy()
    table = table.mask(np.random.default_rng(0).random(table.shape) < 0.2)
    return replace(test, values={**test.values, "cortical": table})


@pytest.fixture(scope="module")
def tree(norm, holed):
    return mm.to_datatree(norm, holed, draws=DRAWS, seed=3)


def test_unobserved_cells_are_empty_in_data_replicates_and_log_likelihood(tree):
    gone = np.isnan(tree["observed_data"]["cortical"].to_numpy())
    assert 0.1 < gone.mean() < 0.3
    for group in ("prior_predictive", "posterior_predictive", "log_likelihood"):
        x = tree[group]["cortical"].to_numpy()
        assert np.array_equal(np.isnan(x), np.broadcast_to(gone, x.shape))


def test_people_of_one_draw_are_independent(tree):
    """n times the variance, over draws, of the mean over n people is 1 for independent people and n for shared noise.

    200 draws of 3 latents: standard error sqrt(2 / 600) = 0.06, so the bounds fail once in more than 1e5 seeds.
    """
    z = tree["prior"]["z"].to_numpy()[0]
    assert z.mean(1).var(0).mean() * z.shape[1] == pytest.approx(1, abs=0.27)


def test_each_person_keeps_the_even_spread_of_the_common_draws(tree, norm, holed):
    """Shuffled Sobol draws: the mean of 200 is off by far less than 1 / sqrt(200) = 0.07 posterior SDs."""
    q = norm.model.posterior(norm.preprocess(holed))
    off = (tree["posterior"]["z"].to_numpy()[0].mean(0) - q.mean.detach().numpy()) / q.variance.sqrt().detach().numpy()
    assert np.abs(off).max() < 0.035


def test_a_lone_model_has_no_members(tree):
    assert all("member" not in node.coords for node in tree.children.values())


def test_members_are_a_coordinate_also_after_saving(cohort, tmp_path):
    norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), members=3))
    dt = mm.to_datatree(norm, cohort.test, draws=7)
    dt.to_netcdf(tmp_path / "posterior.nc")
    back = az.from_netcdf(tmp_path / "posterior.nc")
    for tree in (dt, back):
        for group in ("prior", "prior_predictive", "posterior", "posterior_predictive", "log_likelihood"):
            assert tree[group]["member"].to_numpy().tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_array_equal(back["posterior"]["z"], dt["posterior"]["z"])
    q = norm.model.posterior(norm.preprocess(cohort.test))
    near = np.abs(dt["posterior"]["z"].to_numpy()[0] - q.mean[[0, 1, 2, 0, 1, 2, 0]].detach().numpy())
    assert (near < 6 * q.variance[[0, 1, 2, 0, 1, 2, 0]].sqrt().detach().numpy()).all()


def test_a_likelihood_of_whole_people_has_one_log_likelihood_each(cohort, holed):
    norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), likelihood="mvn_lowrank"))
    dt = mm.to_datatree(norm, holed, draws=5)
    assert dt["log_likelihood"]["cortical"].dims == ("chain", "draw", "subject")
    batch, z = norm.preprocess(holed), torch.from_numpy(dt["posterior"]["z"].to_numpy()[0])
    x, values = norm.model.observed_likelihood("cortical", z, batch)
    np.testing.assert_allclose(dt["log_likelihood"]["cortical"][0], x.log_prob(values).detach(), rtol=1e-5)
    assert mm.per_region(dt)["log_likelihood"]["cortical"].dims == ("chain", "draw", "subject")


def test_a_variable_a_region_holds_the_same_numbers(tree):
    apart = mm.per_region(tree)
    assert list(apart["observed_data"].data_vars)[:2] == ["cortical.cor_0", "cortical.cor_1"]
    for group in ("prior_predictive", "posterior_predictive", "log_likelihood", "observed_data"):
        whole = tree[group]["hippocampal"].sel(region_hippocampal="hip_3")
        np.testing.assert_array_equal(apart[group]["hippocampal.hip_3"], whole)
    assert apart["posterior"]["z"].equals(tree["posterior"]["z"])
    assert len(mm.per_region(tree, "hippocampal")["observed_data"].data_vars) == 5


def test_arviz_plots_a_region(norm, cohort):
    """What fails on people x regions works on a variable a region (see docs/arviz.md)."""
    apart = mm.per_region(mm.to_datatree(norm, cohort.test, draws=30), "hippocampal")
    az.plot_lm(apart, x="age", y="hippocampal.hip_0")
    az.plot_ppc_interval(apart, var_names=["hippocampal.hip_0"])


def test_an_unknown_modality_is_refused(tree):
    with pytest.raises(InputError, match=r"modality.*'pet'.*cortical"):
        mm.per_region(tree, "pet")


def test_people_of_a_site_with_units_of_its_own_keep_the_units_of_their_table(norm, cohort):
    """A scanner that measures 1.5 times as large, plus 400: data equal its table, and replicates are on the same scale.

    In model units its people are those of an ordinary new site, so that replicates with the same seed are equal up to
    that scale (float32).
    """
    plain = replace(cohort.calibrate, covariates=cohort.calibrate.covariates.assign(site="Basel"))
    stretched = replace(plain, values={m: 1.5 * frame + 400 for m, frame in plain.values.items()})
    adapted = norm.adapt(plain)
    loc, scale = norm.preprocess.units_at("Basel")
    tuned = adapted.with_units("Basel", SiteUnits(tuple(1.5 * loc + 400), tuple(1.5 * scale)))
    expected = mm.to_datatree(adapted, plain, draws=20)
    tree = mm.to_datatree(tuned, stretched, draws=20)
    for m, table in stretched.values.items():
        np.testing.assert_allclose(tree["observed_data"][m], table, rtol=1e-5)
        for group in ("prior_predictive", "posterior_predictive"):
            np.testing.assert_allclose(tree[group][m], 1.5 * expected[group][m] + 400, rtol=1e-4)
