"""Simulated cohorts agree with their documented truth.

Statistical tests have fixed seeds. Their bounds lie FIVE standard errors out, so that with a fresh seed one comparison
fails by chance in 2 of a million cases, and a test of at most a few hundred comparisons in fewer than 1 of 1,000.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import pyro_mmnorm as mm
from pyro_mmnorm.config import parse_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.splits import SPLITS
from pyro_mmnorm.simulation.kinds import simulate
from pyro_mmnorm.simulation.poster import poster
from pyro_mmnorm.simulation.scenario import Scenario
from pyro_mmnorm.simulation.truth import Truth

FIVE = 5.0
KINDS = ("normative", "reconstruction", "cross_modal")
EFFECTS = ("one_region", "sparse", "dense", "latent")
SMALL = {"cortical": 6, "subcortical": 4, "hippocampal": 3}
MESSY = {
    "sites": 4,
    "heteroscedastic": 1.6,
    "common_factor": 0.2,
    "missing_modalities": 0.3,
    "missing_cells": 0.1,
    "age_shape": "normal",
}


def table(cohort):
    """Values of all regions, [n, d]."""
    return np.hstack([frame.to_numpy() for frame in cohort.values.values()])


def deviation(cohort):
    """(x - mean) / SD given the covariates, [n, d]."""
    mean, sd = cohort.truth.norm(cohort.participants)
    return (table(cohort) - mean) / sd


def covariance(truth):
    """Covariance of the deviations, [d, d]."""
    return truth.loadings @ truth.loadings.T + np.diag(truth.noise_sd**2)


# What the healthy are like


@pytest.mark.parametrize("common_factor", [0.0, 0.2])
def test_covariance_is_loadings_and_noise(common_factor):
    n = 20_000
    cohort = simulate(healthy=n, patients=0, regions=SMALL, common_factor=common_factor, heteroscedastic=1.6, sites=3)
    true = covariance(cohort.truth)
    np.testing.assert_allclose(np.diag(true), 1, rtol=1e-12)
    error = np.sqrt((1 + true**2) / n)  # standard error of a covariance of Gaussians of SD 1
    assert (np.abs(np.cov(deviation(cohort), rowvar=False) - true) < FIVE * error).all()


def test_regression_estimates_the_covariate_effects():
    n = 20_000
    cohort = simulate(healthy=n, patients=0, regions=SMALL, sites=3)
    people, truth = cohort.participants, cohort.truth
    age = (people["age"].to_numpy() - 63.5) / 18.5
    site = pd.get_dummies(people["site"]).to_numpy(float)
    design = np.column_stack([age, age**2 - 1 / 3, people["sex"] == "M", site])
    inverse = np.linalg.inv(design.T @ design)
    fitted = inverse @ design.T @ (table(cohort) / truth.sd)
    base = truth.mean / truth.sd - truth.sex / 2
    true = np.vstack([truth.age_slope, truth.age_bend, truth.sex, base + truth.site_shift])
    error = 1.25 * np.sqrt(np.diag(inverse))[:, None]  # 1.25: the largest SD of a site
    assert (np.abs(fitted - true) < FIVE * error).all()


def test_sites_have_their_own_mean_scale_and_size():
    cohort = simulate(healthy=30_000, patients=0, regions=SMALL, sites=3, site_shift=0.5, site_scale=(0.8, 1.25))
    people, truth = cohort.participants, cohort.truth
    np.testing.assert_allclose(np.sort(truth.site_scale), [0.8, 1, 1.25])
    share = people["site"].value_counts(normalize=True).sort_index().to_numpy()
    np.testing.assert_allclose(share, np.array([6, 3, 2]) / 11, atol=FIVE * 0.5 / np.sqrt(30_000))
    centred = (table(cohort) - truth.norm(people)[0]) / truth.sd
    for k, name in enumerate(truth.sites):
        own = centred[people["site"] == name]
        bound = FIVE * truth.site_scale[k] / np.sqrt(2 * len(own))
        assert (np.abs(own.std(axis=0) - truth.site_scale[k]) < bound).all()
    many = simulate(healthy=300, patients=0, regions={"m": 100}, sites=20, site_shift=0.5).truth.site_shift
    assert abs(many.std() - 0.5) < FIVE * 0.5 / np.sqrt(2 * many.size)


def test_one_site_has_no_shift():
    truth = simulate(healthy=50, patients=0, site_shift=3.0, site_scale=(0.1, 9.0)).truth
    assert (truth.site_shift == 0).all()
    assert truth.site_scale.tolist() == [1.0]


def test_sd_increases_with_age_by_the_factor():
    """E log|z| does not depend on age when z has unit SD, so the slope of log|x - mean| is that of the log SD."""
    n = 20_000
    cohort = simulate(healthy=n, patients=0, regions=SMALL, heteroscedastic=1.6, age=(20, 80))
    age = (cohort.participants["age"].to_numpy() - 50) / 30
    log_size = np.log(np.abs(table(cohort) - cohort.truth.norm(cohort.participants)[0]))
    slope = (age @ (log_size - log_size.mean(axis=0))) / (age @ age)
    error = 1.11 / np.sqrt(age @ age)  # SD of log|z| is pi / sqrt(8)
    assert (np.abs(2 * slope - np.log(1.6)) < FIVE * 2 * error).all()


def test_tails_are_those_of_t_with_unchanged_sd():
    """What the latents, drawn again, leave is t-distributed noise of SD 1. A Kolmogorov-Smirnov test is failed by
    chance once in a million seeds; 65,000 Gaussian cells fail it by far."""
    n, tails = 5000, 5.0
    cohort = simulate(healthy=n, patients=0, regions=SMALL, tails=tails)
    signal = cohort.truth.signal(cohort.scenario.rng("latents").standard_normal((n, cohort.scenario.latents)))
    noise = ((deviation(cohort) - signal) / cohort.truth.noise_sd).ravel()
    assert stats.kstest(noise, stats.t(tails, scale=np.sqrt((tails - 2) / tails)).cdf).pvalue > 1e-6
    assert stats.kstest(noise, stats.norm.cdf).pvalue < 1e-6
    assert stats.kurtosis(noise) > 1


def test_common_factor_is_the_mean_correlation():
    cohort = simulate(healthy=5000, patients=0, regions={"a": 60, "b": 55}, latents=10, common_factor=0.2)
    r = np.corrcoef(deviation(cohort), rowvar=False)[np.triu_indices(115, 1)]
    # The other factors have loadings of random sign: their part of the mean is at most .4 / 10, by chance.
    assert abs(r.mean() - 0.2) < 0.04
    assert (cohort.truth.loadings[:, -1] > 0).all()


def test_nonlinear_has_linear_as_its_limit():
    nearly, linear = (Truth.draw(Scenario(nonlinear=s)) for s in (1e-4, 0.0))
    z = np.random.default_rng(0).standard_normal((200, 5))
    assert linear.network is None
    # Moments of the network come from 20,000 draws: FIVE standard errors are .025 of its scale and .035 of its mean.
    np.testing.assert_allclose(nearly.signal(z), linear.signal(z), rtol=0.03, atol=0.04)


def test_nonlinear_is_curved_with_unchanged_sd():
    truth = Truth.draw(Scenario(nonlinear=3.0, common_factor=0.2))
    z = np.random.default_rng(0).standard_normal((20_000, 6))
    signal = truth.signal(z)
    # Two samples of 20,000: kurtosis of these sums of bounded units is below that of a Gaussian.
    np.testing.assert_allclose(signal.mean(axis=0), 0, atol=FIVE * np.sqrt(2 / 20_000))
    np.testing.assert_allclose(signal.var(axis=0), 1 - truth.noise_sd**2, rtol=FIVE * np.sqrt(4 / 20_000))
    left = signal - z @ np.linalg.lstsq(z, signal, rcond=None)[0]
    assert (left.var(axis=0) / signal.var(axis=0)).mean() > 0.1


@pytest.mark.parametrize(("shape", "sd"), [("uniform", 40 / np.sqrt(12)), ("normal", 8.8)])  # 10 cut off at two SD
def test_ages(shape, sd):
    n = 20_000
    cohort = simulate(healthy=n, patients=n, regions=SMALL, age=(40, 80), age_shape=shape, patients_older=6)
    healthy, ill = cohort.participants["age"].iloc[:n], cohort.participants["age"].iloc[n:]
    assert cohort.participants["age"].between(40, 80).all()
    assert abs(healthy.mean() - 60) < FIVE * sd / np.sqrt(n)
    assert abs(ill.mean() - 66) < FIVE * sd / np.sqrt(n)
    assert abs(healthy.std() - sd) < FIVE * sd / np.sqrt(2 * n)


def test_missing_cells_and_modalities():
    n = 10_000
    cohort = simulate(healthy=n, patients=0, regions=SMALL, missing_modalities=0.3, missing_cells=0.1)
    lacks = pd.DataFrame({m: frame.isna().all(axis=1) for m, frame in cohort.values.items()})
    share = 0.3 - 0.3**3 / 3  # of those who would lack all three, one modality is given back
    # Beside these, all 3 cells of the smallest modality are missing by chance in 1 of 1,000.
    assert (np.abs(lacks.mean() - share) < FIVE * 0.46 / np.sqrt(n) + 0.001).all()
    seen = cohort.values["cortical"][~lacks["cortical"]]
    assert abs(seen.isna().to_numpy().mean() - 0.1) < FIVE * 0.3 / np.sqrt(seen.size)
    only = simulate(healthy=2000, patients=0, regions=SMALL, missing_modalities=0.9)
    assert pd.DataFrame({m: frame.notna().all(axis=1) for m, frame in only.values.items()}).any(axis=1).all()


# The exact z


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, MESSY], ids=["plain", "messy"])
def test_reference_z_is_standard_normal_in_controls(kind, options):
    cohort = simulate(healthy=8000, patients=0, regions=SMALL, **options)
    z, people = cohort.reference_z(kind), cohort.participants
    assert (z.notna().to_numpy() == np.isfinite(table(cohort))).all()
    parts = [slice(None), people["age"] < 55, people["age"] > 75, *(people["site"] == s for s in cohort.truth.sites)]
    for part in parts:
        count = z[part].count()
        assert (z[part].mean().abs() < FIVE / np.sqrt(count)).all()
        assert ((z[part].std() - 1).abs() < FIVE / np.sqrt(2 * count)).all()


def brute_force(cohort, person, place, kind):
    """The z of one cell from its conditional Gaussian, in the unit of the tables."""
    mean, sd = (part[person] for part in cohort.truth.norm(cohort.participants))
    x, modality = table(cohort)[person], cohort.truth.modality
    own = np.arange(len(x)) == place if kind == "reconstruction" else modality == modality[place]
    given = np.isfinite(x) & ~own & (kind != "normative")
    full = sd[:, None] * covariance(cohort.truth) * sd
    weight = np.linalg.solve(full[np.ix_(given, given)], full[given, place])
    expected = mean[place] + weight @ (x - mean)[given]
    return (x[place] - expected) / np.sqrt(full[place, place] - weight @ full[given, place])


@pytest.mark.parametrize("kind", KINDS)
def test_reference_z_equals_the_conditional_gaussian(kind):
    cohort = simulate(healthy=40, patients=10, regions=SMALL, **MESSY)
    z, observed = cohort.reference_z(kind).to_numpy(), np.isfinite(table(cohort))
    assert 0.5 < observed.mean() < 0.8
    for person, place in zip(*np.nonzero(observed), strict=True):
        assert z[person, place] == pytest.approx(brute_force(cohort, person, place, kind), abs=1e-9)


def test_cross_modal_without_another_modality_is_normative():
    cohort = simulate(healthy=60, patients=0, regions=SMALL, missing_modalities=0.9)
    alone = sum(frame.notna().any(axis=1) for frame in cohort.values.values()) == 1
    assert alone.sum() > 30
    np.testing.assert_allclose(
        cohort.reference_z("cross_modal")[alone], cohort.reference_z("normative")[alone], atol=1e-12
    )


def correlations(effect):
    """Correlation of planted effect and reference z over the cells of the patients."""
    cohort = simulate(healthy=50, patients=300, regions={"a": 64, "b": 35, "c": 16}, effect=effect, common_factor=0.2)
    planted = cohort.effect.to_numpy()[50:].ravel()
    return {k: np.corrcoef(planted, cohort.reference_z(k).to_numpy()[50:].ravel())[0, 1] for k in KINDS}


def test_conditional_z_detect_local_change_and_not_normal_variation():
    """300 patients of 115 regions; the bounds leave .1 to either side, and chance is below .03."""
    sparse, latent = correlations("sparse"), correlations("latent")
    assert sparse["reconstruction"] > sparse["cross_modal"] > sparse["normative"] > 0.5
    assert latent["normative"] > 0.5
    assert abs(latent["reconstruction"]) < 0.15


@pytest.mark.parametrize("options", [{"nonlinear": 2.0}, {"tails": 4.0}])
def test_without_closed_form_there_is_an_error(options):
    with pytest.raises(InputError, match=r"reference z: .*no closed form.*nonlinear=0 and tails=None"):
        simulate(healthy=50, patients=0, **options).reference_z("normative")


def test_unknown_kind():
    with pytest.raises(InputError, match="Did you mean 'cross_modal'"):
        simulate(healthy=50, patients=0).reference_z("crossmodal")


@pytest.mark.parametrize(("column", "value"), [("site", "site-9"), ("sex", "female")])
def test_norm_refuses_unknown_sites_and_sexes(column, value):
    cohort = simulate(healthy=20, patients=0)
    with pytest.raises(InputError, match=f"{column}: '{value}'; expected one of"):
        cohort.truth.norm(cohort.participants.assign(**{column: value}))


# What is wrong with the patients


@pytest.mark.parametrize(("effect", "many", "size"), [("one_region", 1, 4), ("sparse", 6, 4), ("dense", 50, 0.7)])
def test_regions_change_by_the_size_in_both_directions(effect, many, size):
    cohort = simulate(healthy=20, patients=100, regions={"a": 70, "b": 30}, effect=effect)
    planted = cohort.effect.to_numpy()
    assert (planted[:20] == 0).all()
    assert (np.count_nonzero(planted[20:], axis=1) == many).all()
    changed = planted[planted != 0]
    np.testing.assert_allclose(np.abs(changed), size, atol=1e-12)
    assert 0.2 < (changed > 0).mean() < 0.8  # of 100 or more fair coins: 6 SE
    assert len(np.unique(planted[20:] != 0, axis=0)) > 50


def test_latent_effect_is_along_one_factor():
    cohort = simulate(healthy=20, patients=50, effect="latent", common_factor=0.2, latents=4)
    loadings = cohort.truth.loadings
    moved = np.linalg.lstsq(loadings, cohort.effect.to_numpy()[20:].T, rcond=None)[0].T
    np.testing.assert_allclose(moved @ loadings.T, cohort.effect.to_numpy()[20:], atol=1e-12)
    assert (np.count_nonzero(np.abs(moved) > 1e-9, axis=1) == 1).all()
    np.testing.assert_allclose(np.abs(moved).max(axis=1), 3)
    assert (np.abs(moved[:, -1]) < 1e-9).all()  # never the common factor


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("options", [{}, {"nonlinear": 3.0}, MESSY], ids=["plain", "curved", "messy"])
def test_patients_differ_only_by_the_effect(effect, options):
    ill, well = (
        simulate(healthy=30, patients=40, effect=effect, effect_size=size, patients_older=5, **options)
        for size in (None, 0.0)
    )
    assert (well.effect == 0).all(axis=None)
    assert (ill.effect.iloc[30:] != 0).any(axis=1).all()
    sd = ill.truth.norm(ill.participants)[1]
    observed = np.isfinite(table(ill))
    np.testing.assert_allclose(((table(ill) - table(well)) / sd)[observed], ill.effect.to_numpy()[observed], atol=1e-9)


def test_latent_effect_in_a_nonlinear_cohort_is_bounded():
    """Bounded units: the effect of an increasing shift has a limit, unlike in a linear cohort."""
    near, far = (
        simulate(healthy=10, patients=40, effect="latent", nonlinear=3.0, effect_size=size).effect.iloc[10:]
        for size in (1e5, 2e5)
    )
    np.testing.assert_allclose(near, far, atol=1e-3)
    assert near.abs().max(axis=None) > 1


def test_subtypes_have_regions_of_their_own():
    cohort = simulate(healthy=20, patients=60, regions={"a": 70, "b": 30}, subtypes=3)
    subtype = cohort.participants["subtype"].iloc[20:]
    rows = cohort.effect.iloc[20:].drop_duplicates()
    assert subtype.value_counts().to_dict() == {1: 20, 2: 20, 3: 20}
    assert (cohort.participants["subtype"].iloc[:20] == 0).all()
    assert (cohort.effect.iloc[20:].groupby(subtype).nunique() == 1).all(axis=None)
    assert len(rows) == 3
    assert ((rows != 0).sum() <= 1).all()


def test_stages_increase_to_the_full_effect():
    stages = {"SMC": 1.0, "EMCI": 2.0, "LMCI": 0.5, "AD": 0.5}
    cohort = simulate(healthy=40, patients=400, effect="one_region", stages=stages)
    people = cohort.participants
    assert people["diagnosis"].value_counts().to_dict() == {"CN": 40, "SMC": 100, "EMCI": 200, "LMCI": 50, "AD": 50}
    size = cohort.effect.abs().max(axis=1).groupby(people["diagnosis"]).agg(["min", "max"])
    np.testing.assert_allclose(size.loc[["CN", *stages]], np.array([[0, 1, 2, 3, 4]]).T * np.ones(2))
    means = people.groupby("stage")["ADAS13"].mean()
    # 8 + 22 severity^2, cut off at 0 (2 SD below the mean of controls: +0.03), noise 4, at least 40 people
    np.testing.assert_allclose(means, 8 + 22 * np.arange(5) ** 2 / 16, atol=FIVE * 4 / np.sqrt(40))


# The record


def same(one, other):
    assert list(one.values) == list(other.values)
    for left, right in zip(
        [one.participants, one.effect, *one.values.values()],
        [other.participants, other.effect, *other.values.values()],
        strict=True,
    ):
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_the_same_seed_gives_the_same_cohort():
    options = {"healthy": 50, "patients": 20, "tails": 5.0, "nonlinear": 2.0, **MESSY}
    same(simulate(**options), simulate(Scenario(**options)))
    same(simulate(Scenario(**options), seed=2), simulate(**options, seed=2))
    assert not np.array_equal(table(simulate(**options)), table(simulate(**options, seed=2)), equal_nan=True)


def test_the_truth_does_not_depend_on_the_number_of_people():
    few, many = (simulate(healthy=n, patients=n // 2, nonlinear=2.0, sites=3).truth.arrays() for n in (20, 200))
    assert list(few) == list(many)
    assert all(np.array_equal(few[name], many[name]) for name in few)


def test_parts_of_a_cohort_are_drawn_independently():
    """Missing cells do not change other values, and an effect does not change controls."""
    full, gappy = (simulate(healthy=30, patients=10, missing_cells=share) for share in (0.0, 0.2))
    seen = np.isfinite(table(gappy))
    assert not seen.all()
    assert (table(full)[seen] == table(gappy)[seen]).all()
    other = simulate(healthy=30, patients=10, effect="dense", subtypes=2)
    assert (table(full)[:30] == table(other)[:30]).all()


def test_split_holds_out_a_fifth_twice():
    people = simulate(healthy=500, patients=50, sites=3).participants
    assert people["split"].value_counts().reindex(SPLITS).to_list() == [300, 100, 100, 50]
    assert ((people["split"] == "target") == (people["diagnosis"] != "CN")).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("healthy", 0),
        ("healthy", 2.5),
        ("patients", -1),
        ("regions", {}),
        ("regions", {"a": 0}),
        ("regions", {"a": "bankssts"}),
        ("regions", {"a": ["x", "x"]}),
        ("regions", {"no name": 3}),
        ("regions", {"participants": 3}),
        ("latents", 0),
        ("seed", -1),
        ("age", (80, 40)),
        ("age", 45),
        ("age_shape", "gamma"),
        ("patients_older", 20),
        ("sites", 0),
        ("site_shift", -1),
        ("site_scale", (0, 1)),
        ("common_factor", 1.0),
        ("nonlinear", -1),
        ("heteroscedastic", 0),
        ("tails", 2),
        ("tails", float("nan")),
        ("missing_modalities", 1.0),
        ("missing_cells", 1.5),
        ("effect", "strong"),
        ("effect_size", -4),
        ("subtypes", -1),
        ("stages", {}),
        ("stages", {"CN": 1.0}),
        ("stages", {"AD": 0.0}),
    ],
)
def test_a_scenario_out_of_range_is_refused(field, value):
    with pytest.raises(InputError, match=rf"^scenario: {field}: .*; expected .*\. Correct {field}\.$") as error:
        simulate(**{field: value})
    assert error.value.got == repr(value)


def test_an_unknown_field_is_refused():
    with pytest.raises(InputError, match=r"scenario: subtype: .*Did you mean 'subtypes'"):
        simulate(subtype=3)


def test_no_torch_is_loaded():
    drawn = "import sys, pyro_mmnorm.simulation.poster as s; s.poster(100, 10)"
    code = f"{drawn}; assert not {{'torch', 'pyro'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Onwards


def test_to_cohort_keeps_all_people_and_regions():
    cohort = simulate(healthy=100, patients=20, sites=2, missing_cells=0.05, stages={"MCI": 1.0, "AD": 1.0})
    door = cohort.to_cohort()
    assert door.regions == list(cohort.effect.columns)
    assert (len(door.train), len(door.calibrate), len(door.test), len(door.target)) == (60, 20, 20, 20)
    assert dict(door.kinds) == {"age": "spline", "sex": "category", "site": "category"}
    assert door.groups == ("CN", "MCI", "AD")
    assert dict(door.directions) == {"ADAS13": "higher_is_worse"}
    assert not any(door.set_aside.values())
    for m, frame in cohort.values.items():
        np.testing.assert_array_equal(door.values[m], frame.loc[door.ids])
    assert list(simulate(healthy=100, patients=0).to_cohort().kinds) == ["age", "sex"]


def test_written_tables_are_restored(tmp_path):
    cohort = simulate(healthy=60, patients=10, regions=SMALL, missing_cells=0.1)
    folder = cohort.write(tmp_path / "new" / "tables")
    reference = {f"reference_{kind}.csv": cohort.reference_z(kind) for kind in KINDS}
    frames = {f"{m}.csv": frame for m, frame in cohort.values.items()} | {"effect.csv": cohort.effect} | reference
    assert sorted(path.name for path in folder.iterdir()) == sorted([*frames, "participants.csv", "truth.npz"])
    for name, frame in frames.items():
        back = pd.read_csv(folder / name, index_col="participant_id")
        pd.testing.assert_frame_equal(back, frame, atol=0.5e-4, rtol=1e-9, check_index_type=False)
    people = pd.read_csv(folder / "participants.csv", index_col="participant_id")
    pd.testing.assert_frame_equal(people, cohort.participants, check_dtype=False, check_index_type=False)
    with np.load(folder / "truth.npz") as archive:
        assert {name: archive[name].shape for name in archive} == {k: x.shape for k, x in cohort.truth.arrays().items()}
        np.testing.assert_array_equal(archive["loadings"], cohort.truth.loadings)


def test_a_reference_of_an_earlier_cohort_is_removed(tmp_path):
    simulate(healthy=20, patients=0, regions=SMALL).write(tmp_path)
    simulate(healthy=20, patients=0, regions=SMALL, nonlinear=2.0).write(tmp_path)
    assert not list(tmp_path.glob("reference_*"))
    with np.load(tmp_path / "truth.npz") as archive:
        assert float(archive["network_steepness"]) == 2.0


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    cohort = simulate(healthy=20, patients=0, regions=SMALL)
    cohort.write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def torn(path, _):
        path.write_bytes(path.read_bytes()[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", torn)
    with pytest.raises(OSError, match="disk full"):
        simulate(healthy=20, patients=0, regions=SMALL, seed=2).write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_is_refused_as_folder(tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(InputError, match=r"taken: a file; expected a folder"):
        simulate(healthy=20, patients=0).write(tmp_path / "taken")


# The poster's cohort


@pytest.fixture(scope="module")
def posters_cohort():
    return poster()


def test_poster_has_the_size_of_the_poster(posters_cohort):
    people = posters_cohort.participants
    counts = {"CN": 9875, "SMC": 106, "EMCI": 312, "LMCI": 263, "AD": 181}
    assert people["diagnosis"].value_counts().to_dict() == counts
    assert people["split"].value_counts().reindex(SPLITS).to_list() == [5925, 1975, 1975, 862]
    assert {m: frame.shape[1] for m, frame in posters_cohort.values.items()} == {
        "cortical": 64,
        "subcortical": 35,
        "hippocampal": 16,
    }
    assert people["age"].between(45, 82).all()
    assert people["site"].nunique() == 3
    assert (table(posters_cohort) > 0).all()


def test_poster_volumes_depend_on_the_stage(posters_cohort):
    people, effect = posters_cohort.participants, posters_cohort.effect
    by_stage = effect.groupby(people["stage"]).mean()
    for name in ("subcortical.Left-Hippocampus", "hippocampal.right_CA1", "cortical.lh_entorhinal_volume"):
        assert by_stage[name].is_monotonic_decreasing
        assert by_stage[name].iloc[-1] < -1
    assert by_stage["subcortical.Left-Amygdala"].iloc[-1] < -1
    assert by_stage["subcortical.Right-Lateral-Ventricle"].is_monotonic_increasing
    assert by_stage["subcortical.Right-Lateral-Ventricle"].iloc[-1] > 1
    assert (effect["cortical.lh_pericalcarine_volume"] == 0).all()
    # Severity varies within a stage with SD .15 around 1, so 22 severity^2 has SD 6.6 beside noise of 4: r = .85.
    ill = people["diagnosis"] == "AD"
    assert effect.loc[ill, "subcortical.Left-Hippocampus"].corr(people.loc[ill, "ADAS13"]) < -0.7


def test_poster_has_exact_z(posters_cohort):
    """Regions are correlated by the first factor, and z of each region is standard normal over 9,875 controls."""
    z = posters_cohort.reference_z("reconstruction").iloc[:9875]
    assert (z.mean().abs() < FIVE / np.sqrt(9875)).all()
    assert ((z.std() - 1).abs() < FIVE / np.sqrt(2 * 9875)).all()
    r = np.corrcoef(posters_cohort.reference_z("normative").iloc[:9875], rowvar=False)
    assert abs(r[np.triu_indices(115, 1)].mean() - 0.2) < 0.04  # see the common factor above


def test_demo_configuration_reads_the_tables_of_poster(tmp_path, monkeypatch):
    path = Path(__file__).parents[2] / "configs" / "demo.yaml"
    assert parse_config(path.read_text(encoding="utf-8")).data.root == "demo_data"
    cohort = poster(healthy=120, patients=30, seed=2)
    monkeypatch.setenv("MMNORM_DEMO", str(cohort.write(tmp_path)))
    read, direct = mm.read_cohort(path), cohort.to_cohort()
    assert read.regions == direct.regions
    assert (read.groups, dict(read.kinds)) == (direct.groups, dict(direct.kinds))
    assert read.split.to_dict() == direct.split.to_dict()
    for m in direct.values:
        np.testing.assert_allclose(read.values[m], direct.values[m], rtol=0, atol=0.6e-4)


def test_every_cohort_of_the_documentation_can_be_drawn():
    text = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
    table = text[text.index("| what |") : text.index("Effects are")]
    calls = re.findall(r"`(\w+=[^`]+)`", table)
    assert len(calls) >= 13
    for code in calls:
        options = eval(f"dict({code})")
        sizes = {"controls": 10} if options.get("kind") == "ukb_adni" else {}
        cohort = simulate(healthy=40, patients=10, **options, **sizes)
        assert cohort.effect.to_numpy().any(), code
