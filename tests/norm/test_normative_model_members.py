"""Members of an ensemble: each equals a single model, and every measure has its spread over members."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.findings.summaries import subject_table
from pyro_mmnorm.inference.initialisation import start_linear
from pyro_mmnorm.models.fusion import FUSIONS
from pyro_mmnorm.models.likelihoods import LIKELIHOODS
from pyro_mmnorm.models.priors import PRIORS
from pyro_mmnorm.results.person_measures import member_spread

FIGURES = ("mean_abs_z", "mean_sq_z", "mean_z", "n_outliers", "n_significant", "dsi", "omnibus_p", "mse",
           "mean_abs_z.cortical", "mean_abs_z.hippocampal")  # fmt: skip


def crowd_of(cohort, *, members=3, seed=3, **parts):
    return mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,), members=members, seed=seed, **parts)


def norm_of(model, cohort, kinds=("reconstruction",), **options):
    return mm.NormativeModel(model, draws=16, normative_draws=64, **options).calibrate(cohort.calibrate, kinds)


@pytest.fixture(scope="module")
def crowd(cohort):
    model = crowd_of(cohort)
    mm.fit(model, cohort.train, mm.TrainConfig(epochs=2, start="random", resample="bootstrap"), progress=False)
    return model


@pytest.fixture(scope="module")
def crowd_norm(crowd, cohort):
    return norm_of(crowd, cohort, ("reconstruction", "cross_modal", "normative", "local"))


@pytest.mark.parametrize(
    "parts",
    [
        *({"fusion": name} for name in FUSIONS),
        *({"prior": name} for name in PRIORS),
        *({"likelihood": name} for name in LIKELIHOODS),
        {"private_dim": 2},
    ],
    ids=str,
)
def test_a_member_is_the_lone_model_that_it_was_built_as(cohort, parts):
    weights = {"beta": [0.5, 1.0, 2.0], "modality_weights": {"cortical": [1.0, 0.0, 0.3]}}
    crowd = crowd_of(cohort, **weights, **parts)
    alone = crowd_of(cohort, members=1, seed=5, beta=2.0, modality_weights={"cortical": 0.3}, **parts)
    one = crowd.member(2)
    assert (one.members, one.beta, one.weights) == (1, alone.beta, pytest.approx(alone.weights))
    for (name, x), (other, y) in zip(one.state_dict().items(), alone.state_dict().items(), strict=True):
        assert name == other
        torch.testing.assert_close(x.reshape(y.shape), y, rtol=0, atol=0)
    batch = crowd.preprocess(cohort.test)
    with torch.no_grad():
        together, apart = crowd.posterior(batch), one.posterior(batch)
        torch.testing.assert_close(together.mean[2], apart.mean)
        z = apart.mean
        for m in crowd.likelihoods:
            in_crowd = crowd.observed_likelihood(m, z.expand(3, -1, -1), batch)
            torch.testing.assert_close(
                in_crowd[0].log_prob(in_crowd[1])[2], one.observed_likelihood(m, z, batch)[0].log_prob(in_crowd[1])
            )


def test_a_copy_of_a_member_shares_nothing_with_the_ensemble(crowd):
    before, one = copy.deepcopy(crowd.state_dict()), crowd.member(0)
    with torch.no_grad():
        for x in one.parameters():
            x.fill_(7.0)
    for name, x in crowd.state_dict().items():
        torch.testing.assert_close(x, before[name], rtol=0, atol=0)
    with pytest.raises(InputError, match="member: 3; expected 0 to 2"):
        crowd.member(3)


@pytest.mark.parametrize("kind", ["reconstruction", "cross_modal", "normative", "local"])
def test_the_spread_is_the_sd_of_the_results_of_each_member_alone(crowd, crowd_norm, cohort, kind):
    """Each member as a lone model with the ensemble's calibrator, kind by kind."""
    dev = crowd_norm.deviations(cohort.target, kind)
    each = []
    for e in range(3):
        alone = copy.copy(crowd_norm)
        alone.model = crowd.member(e)
        each.append(alone.deviations(cohort.target, kind))
    np.testing.assert_allclose(dev["z_member_sd"], np.std([d["z"] for d in each], axis=0, ddof=1), atol=1e-9)
    tables = [subject_table(d, cohort.target.split, cohort.target.group) for d in each]
    whole = subject_table(dev, cohort.target.split, cohort.target.group)
    for name in FIGURES:
        want = np.std([t[name] for t in tables], axis=0, ddof=1)
        np.testing.assert_allclose(whole[f"{name}_member_sd"], want, atol=1e-9, err_msg=name)
    want = np.std([t["hamming"] for t in tables], axis=0, ddof=1)
    np.testing.assert_allclose(whole["hamming_member_sd"], want, atol=1e-9)
    assert (dev["z_member_sd"] > 0).all()


def test_the_spread_of_the_latent_distance_is_the_sd_of_the_results_of_each_member_alone(crowd, cohort):
    """Each member alone is calibrated on the same controls, by its own latents."""
    whole = norm_of(crowd, cohort, ("latent",)).deviations(cohort.target, "latent")
    each = [norm_of(crowd.member(e), cohort, ("latent",)).deviations(cohort.target, "latent") for e in range(3)]
    for name in ("latent_distance", "latent_p", "latent_conformal_p"):
        want = np.std([dev[name] for dev in each], axis=0, ddof=1)
        assert (want > 0).any()
        np.testing.assert_allclose(whole[f"{name}_member_sd"], want, rtol=1e-6, err_msg=name)


def test_equal_members_have_no_spread_and_score_as_one(cohort):
    crowd, alone = crowd_of(cohort), crowd_of(cohort, members=1)
    batch = crowd.preprocess(cohort.train)
    for model in (crowd, alone):
        start_linear(model, batch, torch.arange(len(batch)).expand(model.members, -1))
        model.eval()
    with torch.no_grad():
        for name, x in crowd.state_dict().items():
            x.copy_(alone.state_dict()[name])
    norms = [norm_of(model, cohort, ("reconstruction", "latent")) for model in (crowd, alone)]
    dev, lone = (norm.deviations(cohort.target) for norm in norms)
    spreads = [str(name) for name in dev.data_vars if str(name).endswith("_member_sd")]
    assert sorted(spreads) == sorted(f"{name}_member_sd" for name in ("z", *FIGURES))
    assert all((dev[name] == 0).all() for name in spreads)
    np.testing.assert_allclose(dev["z"], lone["z"], atol=1e-6)
    latents = [norm.deviations(cohort.target, "latent") for norm in norms]
    np.testing.assert_allclose(*(dev["latent_distance"] for dev in latents), rtol=1e-3)  # float32; taken once
    assert (latents[0]["latent_p_member_sd"] < 1e-6).all()  # float32 posteriors of a batch, too
    assert "latent_p_member_sd" not in latents[1]


def test_the_order_of_members_changes_nothing(crowd, crowd_norm, cohort):
    turned = copy.deepcopy(crowd)
    with torch.no_grad():
        for x in turned.state_dict().values():
            x.copy_(x.flip(0))
    want, got = (norm.deviations(cohort.target) for norm in (crowd_norm, norm_of(turned, cohort)))
    for name in ("z", "z_member_sd", "mean_abs_z_member_sd", "n_significant_member_sd"):
        np.testing.assert_allclose(got[name], want[name], atol=1e-6, err_msg=name)


def test_a_lone_model_has_no_spread(norm, cohort):
    dev = norm.deviations(cohort.target)
    table = subject_table(dev, cohort.target.split, cohort.target.group)
    assert not [name for name in (*dev.data_vars, *table) if str(name).endswith("_member_sd")]


def test_groups_of_people_and_missing_cells_matter_to_nobody_else(crowd_norm, cohort, monkeypatch):
    values = {m: frame.copy() for m, frame in cohort.values.items()}
    values["hippocampal"].loc[cohort.target.ids[0]] = np.nan
    holes = mm.Cohort(**{**vars(cohort), "values": values}).target[list(cohort.target.ids[:12])]
    whole = crowd_norm.deviations(holes)
    monkeypatch.setattr("pyro_mmnorm.norm.normative_model.CELLS", 5 * 17)  # five people at a time
    few = crowd_norm.deviations(holes)
    xr.testing.assert_allclose(few, whole)
    assert np.isnan(whole["z_member_sd"].to_numpy()).sum() == 5
    assert np.isfinite(whole["mean_abs_z_member_sd"]).all()


def test_the_spread_survives_the_disk(crowd_norm, cohort, tmp_path):
    norm = copy.copy(crowd_norm).calibrate(cohort.calibrate, ("reconstruction", "latent"))
    norm.save(tmp_path / "model")
    again = mm.load(tmp_path / "model")
    for kind in norm.kinds:
        xr.testing.assert_identical(again.deviations(cohort.target, kind), norm.deviations(cohort.target, kind))


def test_more_people_in_training_leave_less_spread():
    """The spread of bootstrap members is that of training: it falls with the number of people (about as 1 / sqrt)."""
    spread = []
    for healthy in (150, 1200):
        cohort = mm.simulate(healthy=healthy, patients=30, seed=2, regions={"a": 6, "b": 4}, latents=2).to_cohort()
        model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(), members=3)
        mm.fit(model, cohort.train, mm.TrainConfig(epochs=1, resample="bootstrap"), progress=False)
        spread.append(float(norm_of(model, cohort).deviations(cohort.target)["z_member_sd"].mean()))
    assert spread[1] < 0.6 * spread[0]


def test_a_spread_of_two_is_the_distance_over_root_two():
    z = pd.DataFrame([[1.0, np.nan], [0.0, 2.0]])
    parts = []
    for shift in (0.0, 0.5):
        moved = xr.DataArray(z + shift, dims=("subject", "region"))
        parts.append(xr.Dataset({"z": moved, "q": moved, "omnibus_p": moved[:, 0], "mse": moved[:, 0]}))
    got = member_spread(iter(parts))
    np.testing.assert_allclose(got["z_member_sd"], [[0.5 / 2**0.5, np.nan], [0.5 / 2**0.5] * 2])
