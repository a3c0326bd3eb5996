"""Linear baselines against independently computed closed forms and the truth of simulated cohorts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from statsmodels.api import OLS, add_constant

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.hippocampal_ratio import hippocampal_ratio, select_baseline_regions
from pyro_mmnorm.inference.exact import Exact
from pyro_mmnorm.inference.initialisation import start_linear
from pyro_mmnorm.models.linear import LinearGaussian
from pyro_mmnorm.norm.datatree import to_datatree


@pytest.fixture(scope="module", params=[0.0, 0.1], ids=["complete", "incomplete"])
def simulated(request):
    """A linear cohort, whose exact z-scores are known."""
    return mm.simulate(
        healthy=2000, patients=100, missing_modalities=request.param, missing_cells=request.param / 2, seed=1
    )


@pytest.fixture(scope="module")
def holed():
    """A model of 3 factors, and people with different missing cells."""
    cohort = mm.simulate(healthy=300, patients=20, missing_modalities=0.2, missing_cells=0.1, seed=2).to_cohort()
    model = LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=3)
    return model, model.preprocess(cohort.target)


def blocks(model, batch):
    """Covariance of everything, residuals, and observed cells."""
    sigma = (model.loadings.T @ model.loadings + torch.diag(model.noise)).numpy()
    seen, residual = model.residuals(batch)
    return sigma, residual.numpy(), seen.numpy()


def brute_force(sigma, x, j, given):
    """Mean and variance of cell j given some others, by solving with their covariance."""
    weights = np.linalg.solve(sigma[np.ix_(given, given)], sigma[given, j])
    return weights @ x[given], sigma[j, j] - weights @ sigma[given, j]


def test_reconstruction_is_given_all_other_observed_regions(holed):
    model, batch = holed
    sigma, x, seen = blocks(model, batch)
    z = Exact(model=model)(batch, "reconstruction").z
    for i in range(3):
        for j in np.flatnonzero(seen[i])[::7]:
            others = np.flatnonzero(seen[i] & (np.arange(len(sigma)) != j))
            mean, variance = brute_force(sigma, x[i], j, others)
            assert z[i, j] == pytest.approx((x[i, j] - mean) / variance**0.5, abs=1e-9)
        own = np.flatnonzero(seen[i])
        p = np.linalg.inv(sigma[np.ix_(own, own)])  # equal to (P x)_j / sqrt(P_jj)
        np.testing.assert_allclose(z[i, own], p @ x[i, own] / np.sqrt(np.diag(p)), atol=1e-9)


def test_cross_modal_is_given_the_other_modalities_and_normative_nothing(holed):
    model, batch = holed
    sigma, x, seen = blocks(model, batch)
    modality = np.repeat(list(model.preprocess.sizes), list(model.preprocess.sizes.values()))
    cross, alone = (Exact(model=model)(batch, kind).z for kind in ("cross_modal", "normative"))
    for i in range(3):
        for j in range(0, len(sigma), 5):
            mean, variance = brute_force(sigma, x[i], j, np.flatnonzero(seen[i] & (modality != modality[j])))
            assert cross[i, j] == pytest.approx((x[i, j] - mean) / variance**0.5, abs=1e-9)
    np.testing.assert_allclose(alone, x / np.sqrt(np.diag(sigma)), atol=1e-9)


def test_log_evidence_is_the_density_of_the_observed_block(holed):
    model, batch = holed
    sigma, x, seen = blocks(model, batch)
    exact = [stats.multivariate_normal.logpdf(v[s], cov=sigma[np.ix_(s, s)]) for v, s in zip(x, seen, strict=True)]
    np.testing.assert_allclose(model.log_evidence(batch).numpy(), exact, atol=1e-8)


@pytest.mark.parametrize("kind", ["reconstruction", "cross_modal", "normative"])
def test_factor_analysis_finds_the_exact_z_of_a_linear_cohort(simulated, kind):
    """1,200 training people estimate 5 factors of 42 regions well: .99 in five seeds, never below .98."""
    cohort = simulated.to_cohort()
    model = mm.LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=5)
    people = cohort[cohort.split.isin(["test", "target"])]
    z = mm.NormativeModel(model).calibrate(cohort.calibrate, (kind,)).deviations(people, kind)["z"].to_numpy()
    exact = simulated.reference_z(kind).loc[people.ids].to_numpy()
    seen = np.isfinite(exact)
    assert (np.isfinite(z) == seen).all()
    assert np.corrcoef(z[seen], exact[seen])[0, 1] > 0.97


def test_regression_is_the_w_score_whatever_the_kind(simulated):
    cohort = simulated.to_cohort()
    norm = mm.NormativeModel(LinearGaussian.for_cohort(cohort, "regression"))
    norm.calibrate(cohort.calibrate, ("reconstruction", "cross_modal"))
    one, other = (norm.deviations(cohort.test, kind)["z"].to_numpy() for kind in ("reconstruction", "cross_modal"))
    exact = simulated.reference_z("normative").loc[cohort.test.ids].to_numpy()
    seen = np.isfinite(exact)
    np.testing.assert_allclose(one, other, atol=1e-7)  # tolerance of the optimisers of the calibrators
    assert np.corrcoef(one[seen], exact[seen])[0, 1] > 0.97


def test_the_w_score_is_that_of_least_squares_in_statsmodels(simulated):
    """Residual by residual SD, as La Joie et al. have it; shrinkage is weak for 1,200 people. Two regions."""
    cohort = simulated.to_cohort()
    model = LinearGaussian.for_cohort(cohort, "regression")
    raw = mm.NormativeModel(model).raw(cohort.test, "reconstruction")["z_raw"]
    design = {name: add_constant(model.preprocess.design(getattr(cohort, name))) for name in ("train", "test")}
    _, size, ways = np.linalg.svd(design["train"], full_matrices=False)  # indicators of all levels sum to 1
    design = {name: x @ ways[size > 1e-9 * size[0]].T for name, x in design.items()}
    values = {name: model.preprocess.observed(getattr(cohort, name)) for name in ("train", "test")}
    for j in (0, -1):
        fit = OLS(values["train"][:, j], design["train"], missing="drop").fit()
        w = (values["test"][:, j] - fit.predict(design["test"])) / np.sqrt(fit.scale)
        seen = np.isfinite(w)
        assert np.corrcoef(w[seen], raw.to_numpy()[seen, j])[0, 1] > 0.998
        assert np.std(w[seen]) == pytest.approx(np.std(raw.to_numpy()[seen, j]), rel=0.02)


def test_local_excludes_changed_regions_from_the_prediction_of_the_others():
    """One region is shifted by 8 SD: it is flagged, and z of the others is as if it had not been observed."""
    cohort = mm.simulate(healthy=600, patients=20, seed=3).to_cohort()
    model = LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=5)
    batch = model.preprocess(cohort.test)
    x = {m: v.clone() for m, v in batch.values.items()}
    x["cortical"][:, 4] += 8.0
    changed = replace(batch, values=x)
    hidden = {m: v.clone() for m, v in batch.observed.items()}
    hidden["cortical"][:, 4] = False
    found, without = Exact(model=model)(changed, "local"), Exact(model=model)(batch.with_observed(hidden), "local")
    assert found.flagged[:, 4].all()
    same = (found.flagged == without.flagged)[:, np.arange(42) != 4].all(1)
    assert same.mean() > 0.8  # few cells per round: with two changes the order can differ
    others = np.arange(42) != 4
    np.testing.assert_allclose(found.z[same][:, others], without.z[same][:, others], atol=1e-9)


def test_saving_and_loading_changes_no_result(tmp_path):
    cohort = mm.simulate(healthy=300, patients=20, seed=1).to_cohort()
    norm = mm.NormativeModel(LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=3))
    norm.calibrate(cohort.calibrate, ("reconstruction", "local", "latent"))
    norm.save(tmp_path / "model")
    again = mm.load(tmp_path / "model")
    assert again.model.record == {"baseline": "factor_analysis", "latent_dim": 3}
    for kind in norm.kinds:
        assert norm.deviations(cohort.target, kind).identical(again.deviations(cohort.target, kind))
    assert norm.log_evidence(cohort.test).equals(again.log_evidence(cohort.test))
    with pytest.raises(InputError, match="to_datatree: a linear baseline"):
        to_datatree(norm, cohort.test)


def test_it_fits_held_out_people_no_worse_than_scikit_learn():
    """Complete data, 42 regions, 160 training people: shrinkage and the noise floor do not reduce the fit."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    cohort = mm.simulate(healthy=270, patients=4, seed=5).to_cohort()
    model = LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=5)
    train, test = (model.residuals(model.preprocess(part))[1].numpy() for part in (cohort.train, cohort.test))
    theirs = decomposition.FactorAnalysis(5, tol=1e-4, max_iter=5000).fit(train).score_samples(test).mean()
    assert float(model.log_evidence(model.preprocess(cohort.test)).mean()) > theirs


def test_a_vae_at_its_linear_start_is_this_baseline():
    """Its posterior is exact there, so its bound is the evidence for any draws; float32 errs by 1e-3 nats."""
    cohort = mm.simulate(healthy=400, patients=4, seed=6).to_cohort()
    vae = mm.MMVAE.for_cohort(cohort, latent_dim=3)
    train = vae.preprocess(cohort.train)
    start_linear(vae, train, torch.arange(len(train))[None])
    linear = LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=3)
    bound, exact = (mm.NormativeModel(m, draws=4, refine=0).log_evidence(cohort.test).to_numpy() for m in (vae, linear))
    np.testing.assert_allclose(bound, exact, atol=5e-3)


def hippocampal_cohort(columns, icv=1.5e6, name="eTIV"):
    ids = [f"sub-{i:02d}" for i in range(60)]
    people = pd.DataFrame({name: icv + 1e3 * np.arange(60)}, index=ids)
    table = pd.DataFrame({c: 1000.0 * (i + 1) + np.arange(60) ** 1.5 for i, c in enumerate(columns)}, index=ids)
    return Cohort.from_frames({"aseg": table}, people, covariates={name: "linear"})


def test_the_hippocampal_ratio_is_the_sum_of_both_sides_over_icv():
    cohort = hippocampal_cohort(["Left-Hippocampus", "Right-Hippocampus", "left_CA1", "lh_insula_volume"])
    cohort.values["aseg"].iloc[1, 0] = np.nan
    ratio = hippocampal_ratio(cohort).values
    assert list(ratio) == ["hippocampus"]
    found = ratio["hippocampus"]["volume_over_icv"]
    assert found.iloc[0] == pytest.approx((1000 + 2000) / 1.5e6)
    assert np.isnan(found.iloc[1])  # a sum without one side is missing
    parts = hippocampal_cohort(["left_CA1", "left_CA3", "lh_insula_volume"])
    assert hippocampal_ratio(parts).values["hippocampus"].iloc[0, 0] == pytest.approx(3000 / 1.5e6)
    assert select_baseline_regions("regression", cohort) is cohort
    norm = mm.NormativeModel(LinearGaussian.for_cohort(hippocampal_ratio(parts), "hippocampal_volume"))
    assert norm.preprocess.names == ["hippocampus.volume_over_icv"]


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="no region that is a hippocampus"):
        hippocampal_ratio(hippocampal_cohort(["lh_insula_volume", "lh_cuneus_volume"]))
    with pytest.raises(InputError, match="no ICV among the covariates"):
        hippocampal_ratio(hippocampal_cohort(["Left-Hippocampus", "Right-Hippocampus"], name="age"))
    with pytest.raises(InputError, match=r"covariate 'eTIV': .* values of 0 or less.*; expected positive volumes"):
        hippocampal_ratio(hippocampal_cohort(["Left-Hippocampus", "Right-Hippocampus"], icv=-3e3))
    cohort = hippocampal_cohort(["Left-Hippocampus", "Right-Hippocampus"])
    with pytest.raises(InputError, match="baseline: 'pca'"):
        LinearGaussian.for_cohort(cohort, "pca")
    with pytest.raises(InputError, match="latent_dim 0; expected at least 1"):
        LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=0)
