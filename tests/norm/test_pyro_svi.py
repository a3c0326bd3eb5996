"""Any Pyro model and guide as a tree: exact where the result is known, with the names of its plates."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError

X = torch.tensor([0.5, -1.0, 2.0, 0.3])
DRAW = ("chain", "draw")


def model(x, rows=None):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    pyro.deterministic("twice", 2 * loc)
    with pyro.plate("people", len(x), subsample_size=rows) as chosen:
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x[chosen])


def guide(x, rows=None):
    """The exact posterior."""
    pyro.sample("loc", dist.Normal(x.sum() / (len(x) + 1), (len(x) + 1) ** -0.5))


def test_a_conjugate_model_agrees_with_its_exact_posterior():
    """1,000 draws: standard errors 0.014, 0.010, 0.016 and 0.034 at most, tolerances 4 of them."""
    dt = mm.from_pyro_svi(model, guide, X, num_samples=1000)
    loc = dt["posterior"]["loc"].to_numpy()[0]
    assert loc.mean() == pytest.approx(float(X.sum()) / 5, abs=0.057)
    assert loc.std() == pytest.approx(5**-0.5, abs=0.04)
    assert dt["posterior_predictive"]["x"].to_numpy().std() == pytest.approx((1 + 1 / 5) ** 0.5, abs=0.065)
    assert dt["prior_predictive"]["x"].to_numpy().std() == pytest.approx(2**0.5, abs=0.14)
    expected = dist.Normal(torch.from_numpy(loc)[:, None], 1.0).log_prob(X)
    np.testing.assert_allclose(dt["log_likelihood"]["x"][0], expected, rtol=1e-5)
    np.testing.assert_array_equal(dt["posterior"]["twice"][0], 2 * loc)
    np.testing.assert_array_equal(dt["observed_data"]["x"], X)


def test_axes_are_named_by_plates_then_dims_then_numbers():
    def program(x):
        with pyro.plate("rows", 3, dim=-2), pyro.plate("columns", 2, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).mask(torch.arange(4) < 3).to_event(1), obs=x)

    def its_guide(x):
        with pyro.plate("rows", 3, dim=-2), pyro.plate("columns", 2, dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))

    dt = mm.from_pyro_svi(
        program, its_guide, torch.zeros(3, 2, 4), num_samples=5, constant_data={"age": [1.0, 2.0, 3.0]},
        coords={"rows": ["a", "b", "c"]}, dims={"x": ["region"], "age": ["rows"]},
    )  # fmt: skip
    assert dt["posterior"]["z"].dims == ("chain", "draw", "rows", "columns", "z_dim_0")
    assert dt["prior_predictive"]["x"].dims == ("chain", "draw", "rows", "columns", "region")
    assert dt["log_likelihood"]["x"].dims == ("chain", "draw", "rows", "columns")
    assert dt["constant_data"]["age"].sel(rows="b") == 2
    assert dt["observed_data"]["rows"].to_numpy().tolist() == ["a", "b", "c"]
    z = torch.from_numpy(dt["posterior"]["z"].to_numpy()[0])
    three = dist.Normal(z, 1.0).log_prob(torch.tensor(0.0))[..., :3].sum(-1)  # the fourth is masked
    np.testing.assert_allclose(dt["log_likelihood"]["x"][0], three, rtol=1e-5)


def test_a_trained_autoguide_agrees_with_the_exact_posterior():
    """After 200 steps of SVI, within .1; 500 draws add .02 (one SD)."""
    autoguide = AutoNormal(model)
    _train(model, autoguide)  # in a scope that is left: a module keeps what it learned
    dt = mm.from_pyro_svi(model, autoguide, X, num_samples=500, prior={}, posterior_predictive={}, log_likelihood=False)
    loc = dt["posterior"]["loc"].to_numpy()
    assert loc.mean() == pytest.approx(float(X.sum()) / 5, abs=0.1)
    assert loc.std() == pytest.approx(5**-0.5, abs=0.1)
    assert set(dt.children) == {"posterior", "observed_data"}


def test_a_hand_written_guide_is_read_in_the_scope_of_its_training():
    def learned(x):
        loc = pyro.param("loc_of_q", torch.tensor(0.0))
        pyro.sample("loc", dist.Normal(loc, 5**-0.5))

    scope = _train(model, learned)
    with pytest.raises(InputError, match=r"parameter 'loc_of_q'.*not in Pyro's parameter store.*within the scope"):
        mm.from_pyro_svi(model, learned, X, num_samples=2)
    with pyro.get_param_store().scope(scope):
        dt = mm.from_pyro_svi(model, learned, X, num_samples=500)
    assert dt["posterior"]["loc"].mean() == pytest.approx(float(X.sum()) / 5, abs=0.1)


def _train(program, its_guide):
    with pyro.get_param_store().scope() as scope:
        svi = SVI(program, its_guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO(num_particles=4))
        for _ in range(200):
            svi.step(X)
    return scope


def test_groups_and_dims_are_those_of_from_numpyro_svi():
    """The table is what arviz-base 1.3.1 gives for this model in NumPyro, with `sample` for chain and draw."""

    def program(x=None, n=4):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("people", n):
            pyro.sample(
                "x",
                dist.Normal(loc.unsqueeze(-1) + torch.zeros(3), 1.0).to_event(1),
                obs=x,
                infer={"event_dims": ["region"]},
            )

    def its_guide(x=None, n=4):
        pyro.sample("loc", dist.Normal(0.0, 1.0))

    predictions = Predictive(program, guide=its_guide, num_samples=20, parallel=True)(n=2)
    dt = mm.from_pyro_svi(
        program, its_guide, torch.zeros(4, 3), num_samples=10, predictions=predictions,
        constant_data={"age": [1, 2, 3, 4]}, predictions_constant_data={"age": torch.tensor([5, 6])},
        coords={"region": ["a", "b", "c"], "other": ["e", "f"]}, dims={"age": ["people"]},
        pred_dims={"x": ["other", "region"], "age": ["other"]},
    )  # fmt: skip
    assert {group: {n: x.dims for n, x in node.data_vars.items()} for group, node in dt.children.items()} == {
        "posterior": {"loc": DRAW},
        "log_likelihood": {"x": (*DRAW, "people")},
        "posterior_predictive": {"x": (*DRAW, "people", "region")},
        "predictions": {"loc": DRAW, "x": (*DRAW, "other", "region")},
        "prior": {"loc": DRAW},
        "prior_predictive": {"x": (*DRAW, "people", "region")},
        "observed_data": {"x": ("people", "region")},
        "constant_data": {"age": ("people",)},
        "predictions_constant_data": {"age": ("other",)},
    }
    np.testing.assert_array_equal(dt["predictions"]["x"][0], predictions["x"])
    assert dt["predictions_constant_data"]["age"].sel(other="f") == 6


def test_draws_that_are_given_take_the_place_of_ours():
    prior = Predictive(poutine.uncondition(model), num_samples=7)(X)
    replicates = {"x": torch.arange(20.0).reshape(5, 4)}
    dt = mm.from_pyro_svi(model, guide, X, num_samples=3, prior=prior, posterior_predictive=replicates)
    np.testing.assert_array_equal(dt["prior"]["loc"][0], prior["loc"][:, 0])
    np.testing.assert_array_equal(dt["prior_predictive"]["x"][0], prior["x"])
    np.testing.assert_array_equal(dt["posterior_predictive"]["x"][0], replicates["x"])
    assert dt["posterior"].sizes["draw"] == 3


def test_draws_of_an_mmvae_agree_with_its_posterior(norm, cohort):
    """200 independent draws: means within 5 standard errors, over 44 people x 3 latents."""
    batch = norm.preprocess(cohort.test)
    dt = mm.from_pyro_svi(norm.model.model, norm.model.guide, batch, num_samples=200)
    assert not list(pyro.get_param_store()), "the caller's parameter store stays as it was"
    q = norm.model.posterior(batch)
    off = (dt["posterior"]["z"].to_numpy()[0].mean(0) - q.mean.detach().numpy()) / q.variance.sqrt().detach().numpy()
    assert np.abs(off).max() < 5 / 200**0.5
    assert dt["observed_data"]["x_hippocampal"].dims == ("subjects", "x_hippocampal_dim_0")


def test_the_callers_random_state_stays():
    before = torch.get_rng_state()
    first = mm.from_pyro_svi(model, guide, X, num_samples=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert mm.from_pyro_svi(model, guide, X, num_samples=5)["posterior"].equals(first["posterior"])


def test_a_guide_that_leaves_a_site_out_is_refused():
    with pytest.raises(InputError, match=r"guide.*no site for.*loc"):
        mm.from_pyro_svi(model, lambda x: None, X, num_samples=2)


def test_a_plate_that_draws_a_sub_sample_is_refused():
    with pytest.raises(InputError, match=r"plate 'people'.*2 of 4 rows"):
        mm.from_pyro_svi(model, guide, X, num_samples=2, model_kwargs={"rows": 2})


def test_more_names_than_axes_are_refused():
    with pytest.raises(InputError, match=r"dims\['x'\].*at most 1"):
        mm.from_pyro_svi(model, guide, X, num_samples=2, dims={"x": ["people", "region"]})
