"""New people and new sites: refused or scored as configured, calibrated after adaptation, and saved."""

import dataclasses
import json
import logging

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pyro_mmnorm as mm
from pyro_mmnorm.app import pipeline
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.norm.sites import local_split

KINDS = ("reconstruction", "cross_modal", "normative", "local", "latent")
LOCAL_CONTROLS = 30


def moved_site(simulated, people, name, seed, shift=0.5, scale=1.25):
    """The same people as if from another site: each region with a random shift of SD `shift`, and a scale."""
    mean, sd = simulated.truth.norm(simulated.participants.loc[people.ids])
    values = np.concatenate([frame.to_numpy() for frame in people.values.values()], 1)
    moved = mean + scale * (values - mean) + shift * sd * np.random.default_rng(seed).normal(size=sd.shape[1])
    frames, begin = {}, 0
    for m, frame in people.values.items():
        frames[m] = pd.DataFrame(moved[:, begin : begin + frame.shape[1]], people.ids, frame.columns)
        begin += frame.shape[1]
    return dataclasses.replace(people, values=frames, covariates=people.covariates.assign(site=name))


@pytest.fixture(scope="module")
def study():
    """A norm of two sites, and people of a third."""
    simulated = mm.simulate(
        healthy=1100, patients=4, regions={"cortical": 16, "hippocampal": 6}, latents=3, sites=2, seed=5
    )
    cohort = simulated.to_cohort()
    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,))
    mm.fit(model, cohort.train, mm.TrainConfig(epochs=8), progress=False)
    norm = mm.NormativeModel(model, draws=32, normative_draws=128).calibrate(cohort.calibrate, KINDS)
    people = cohort.test[(cohort.test.covariates["site"] == "site-1").to_numpy()]
    return simulated, cohort, norm, people


def halves(people):
    chosen = np.random.default_rng(0).permutation(len(people)) < LOCAL_CONTROLS
    return people[chosen], people[~chosen]


def test_thirty_controls_calibrate_the_z_of_a_new_site(study):
    simulated, _, norm, people = study
    found = []
    for seed in range(4):
        local, others = halves(moved_site(simulated, people, "Basel", seed))
        assert len(others) > 100
        z = norm.adapt(local).deviations(others)["z"].to_numpy()
        found.append([z.mean(), z.std(), np.sqrt((z.mean(0) ** 2).mean())])
        # without adaptation z is too wide
        norm.unseen_site = "population"
        assert norm.deviations(others)["z"].to_numpy().std() > 1.3
        norm.unseen_site = "refuse"
    mean, sd, by_region = np.array(found).T
    assert (np.abs(mean) < 0.15).all()
    assert ((sd > 0.9) & (sd < 1.1)).all()
    assert by_region.mean() < 1.3 / np.sqrt(LOCAL_CONTROLS)


def test_every_kind_is_adapted_and_the_old_norm_is_unchanged(study, tmp_path):
    simulated, cohort, norm, people = study
    local, others = halves(moved_site(simulated, people, "Basel", 1))
    before = norm.deviations(cohort.test[cohort.test.ids[:20]])
    adapted = norm.adapt(local)
    assert norm.sites == {}
    assert before.identical(norm.deviations(cohort.test[cohort.test.ids[:20]]))
    adapted.save(tmp_path / "model")
    again = mm.load(tmp_path / "model")
    for kind in KINDS:
        dev = adapted.deviations(others, kind)
        assert dev.identical(again.deviations(others, kind))
        z = dev["latent_z" if kind == "latent" else "z"].to_numpy()
        assert 0.85 < z.std() < 1.15
    with pytest.raises(InputError, match=r"covariate 'site': \d+ subjects of 'Basel' unseen.*Adapt the norm"):
        norm.deviations(others)


def test_each_person_is_scored_by_their_own_site_in_any_order(study):
    simulated, cohort, norm, people = study
    basel, chur = (moved_site(simulated, people, name, seed) for name, seed in (("Basel", 1), ("Chur", 2)))
    (one, rest), (two, _) = halves(basel), halves(chur)
    both = norm.adapt(one).adapt(two)
    old = cohort.test[(cohort.test.covariates["site"] == "site-2").to_numpy()]
    ids = [*rest.ids[:5], *old.ids[:5]]
    mixed = dataclasses.replace(
        cohort.test[sorted(ids)],
        values={m: pd.concat([rest.values[m][:5], old.values[m][:5]]).loc[sorted(ids)] for m in old.values},
        covariates=pd.concat([rest.covariates[:5], old.covariates[:5]]).loc[sorted(ids)],
    )
    dev = both.deviations(mixed)
    assert list(dev["subject"].to_numpy()) == list(mixed.ids)
    for part, alone in ((rest, norm.adapt(one)), (old, norm)):
        want = alone.deviations(part[part.ids[:5]])
        got = dev.sel(subject=want["subject"])
        for name in ("z", "p", "omnibus_p", "expected"):
            np.testing.assert_allclose(got[name], want[name], atol=1e-6)
    assert dev["site_known"].all()


def test_people_scored_as_population_are_marked(study):
    simulated, _, norm, people = study
    someone = moved_site(simulated, people[people.ids[:15]], "Basel", 1)
    anywhere = mm.NormativeModel(norm.model, draws=32, unseen_site="population")
    anywhere.calibration = norm.calibration
    dev = anywhere.deviations(someone)
    assert not dev["site_known"].any()
    assert np.isfinite(dev["z"]).all()
    assert np.isfinite(anywhere.log_evidence(someone)).all()
    assert norm.as_population().deviations(someone).identical(dev)
    assert anywhere.adapt(someone).deviations(someone)["site_known"].all()
    misspelt = dataclasses.replace(someone, covariates=someone.covariates.assign(sex="W"))
    with pytest.raises(InputError, match="covariate 'sex': 15 subjects"):
        anywhere.deviations(misspelt)


def test_people_beyond_the_range_of_training_are_named(norm, cohort):
    some = cohort.test[cohort.test.ids[:4]]
    old = dataclasses.replace(some, covariates=some.covariates.assign(age=[60.0, 95.0, 61.0, 12.0]))
    assert norm.deviations(old)["outside_range"].to_numpy().tolist() == ["", "age", "", "age"]
    strict = mm.NormativeModel(norm.model, outside_range="refuse")
    strict.calibration = norm.calibration
    with pytest.raises(
        InputError, match=r"covariate 'age': 2 subjects outside the range of training, such as 'sub-\d+'"
    ):
        strict.deviations(old)
    assert not strict.deviations(some[some.ids[:1]])["outside_range"].item()


def test_a_norm_without_the_covariate_site_is_adapted_as_a_whole():
    simulated = mm.simulate(healthy=500, patients=4, regions={"cortical": 10}, latents=2, seed=2)
    cohort = simulated.to_cohort()
    norm = mm.NormativeModel(mm.MMVAE.for_cohort(cohort, latent_dim=2), draws=32).calibrate(cohort.calibrate)
    local, others = halves(moved_site(simulated, cohort.test, "anything", 1))
    dev = norm.adapt(local).deviations(others)
    assert "site_known" not in dev
    assert abs(dev["z"].mean()) < 0.2
    assert 0.85 < dev["z"].std() < 1.15


def test_too_few_controls_are_refused_and_the_latent_kind_is_left_out_for_few(study, caplog):
    simulated, cohort, norm, people = study
    basel = moved_site(simulated, people, "Basel", 1)
    with pytest.raises(InputError, match="site 'Basel': 9 controls; expected at least 10 to adapt to it"):
        norm.adapt(basel[basel.ids[:9]])
    with pytest.raises(InputError, match="adapt: only sites met in training"):
        norm.adapt(cohort.test)
    with pytest.raises(InputError, match="adapt: a norm that is not calibrated"):
        mm.NormativeModel(norm.model).adapt(basel)
    wide = mm.MMVAE.for_cohort(cohort, latent_dim=8, hidden=(8,))
    wide = mm.NormativeModel(wide, draws=16).calibrate(cohort.calibrate, ("reconstruction", "latent"))
    with caplog.at_level(logging.INFO, "pyro_mmnorm"):
        few = wide.adapt(basel[basel.ids[:11]])
    assert "site 'Basel': kind latent is left out" in caplog.text
    assert np.isnan(few.deviations(basel, "latent")["latent_distance"]).all()
    assert np.isfinite(few.deviations(cohort.test, "latent")["latent_p"]).all()


def test_the_local_split_takes_two_thirds_and_at_least_ten():
    for n, chosen in ((10, 10), (12, 10), (15, 10), (16, 11), (60, 40)):
        ids = [f"s{i:02d}" for i in range(n + 3)]
        sites, healthy = pd.Series("Basel", ids), pd.Series([True] * n + [False] * 3, ids)
        split = local_split(sites, healthy, seed=1)
        assert (split == "calibrate").sum() == chosen
        assert (split[~healthy] == "target").all()
        turned = local_split(sites[::-1], healthy[::-1], seed=1)
        assert turned.sort_index().equals(split)
    sites = pd.Series(["Basel"] * 20 + [""] * 20, [f"s{i:02d}" for i in range(40)])
    split = local_split(sites, sites == sites)
    assert set(split[sites == ""]) == {"test"}
    given = pd.Series(["calibrate"] * 11 + ["test"] * 9 + ["calibrate"] * 20, sites.index)
    assert (local_split(sites, sites == sites, given) == "calibrate").sum() == 11
    with pytest.raises(InputError, match="site 'Basel': 0 controls; expected at least 10"):
        local_split(sites, sites != sites)


CONFIG = """
data:
  participants: people.csv
  id: participant_id
  modalities: {cortical: {tables: [cortical.csv]}, hippocampal: {tables: [hippocampal.csv]}}
  covariates: {age: spline, sex: category, site: category}
  reference: {column: diagnosis, values: [CN]}
  groups: {column: diagnosis, order: [CN, AD]}
model: {latent_dim: 3, hidden: [8]}
train: {epochs: 3}
deviations: {kinds: [normative, latent], primary: normative, draws: 16, normative_draws: 64}
"""


def written(root, values, people):
    """A folder with tables and a configuration that names them."""
    root.mkdir()
    for m, frame in values.items():
        frame.to_csv(root / f"{m}.csv")
    people.to_csv(root / "people.csv")
    (root / "run.yaml").write_text(CONFIG)
    return mm.read_config(root / "run.yaml")


@pytest.fixture(scope="module")
def run_folder(frames, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapt")
    config = written(root / "tables", *frames)
    folder = pipeline.run(config, out=root / "run", progress=False)
    values, people = frames
    ids = [*people.index[:60], *people.index[-10:]]
    local = written(
        root / "local",
        {m: frame.loc[ids] * 1.1 + 20 for m, frame in values.items()},
        people.loc[ids].assign(site=["Basel"] * 40 + ["Chur"] * 12 + ["Bern"] * 8 + ["Basel"] * 10),
    )
    data = local.model_copy(update={"deviations": mm.Config.model_fields["deviations"].default})
    return folder, data, root


def test_scoring_a_site_before_it_is_adapted_to_is_refused_and_afterwards_not(run_folder):
    folder, local, root = run_folder
    with pytest.raises(InputError, match=r"'Basel', 'Chur' unseen in training"):
        pipeline.score(folder, local, out=root / "refused")
    assert not (root / "refused").exists()
    population = local.deviations.model_copy(update={"unseen_site": "population"})
    scored = pipeline.score(folder, local.model_copy(update={"deviations": population}), out=root / "population")
    subjects = pd.read_csv(scored / "subjects.csv", index_col=0)
    assert (subjects["site_known"] == (subjects["site"] == "Bern")).all()

    out = mm.adapt(folder, local, out=root / "adapted")
    files = {"config.yaml", "provenance.json", "model", "z.csv", "deviations.nc", "subjects.csv", "calibration.json"}
    assert files | {"manifest.json"} == {path.name for path in out.iterdir()}
    z = pd.read_csv(out / "z.csv", index_col=0)
    subjects = pd.read_csv(out / "subjects.csv", index_col=0)
    dev = xr.open_dataset(out / "deviations.nc", engine="h5netcdf")
    counts = subjects.groupby("site")["split"].value_counts()
    assert counts.to_dict() == {
        ("Basel", "test"): 13,
        ("Basel", "target"): 10,
        ("Chur", "test"): 2,
        ("Bern", "test"): 8,
    }
    assert subjects["site_known"].all()
    assert {"outside_range", "age", "mean_abs_z"} <= set(subjects)
    assert np.isfinite(dev["latent_distance"]).all()
    report = json.loads((out / "calibration.json").read_text())
    assert list(report) == ["Basel"]  # of Chur two controls were left
    assert report["Basel"]["normative"]["overall"]["n"] == 13
    assert "adapt" in json.loads((out / "provenance.json").read_text())["steps"]
    assert mm.read_config(out / "config.yaml").deviations.primary == "normative"

    later = pipeline.score(out, local, out=root / "later")
    again = pd.read_csv(later / "z.csv", index_col=0)
    np.testing.assert_allclose(again.loc[z.index, z.columns], z, atol=1e-9)


def test_adapting_to_ten_controls_leaves_nobody_to_score(run_folder, frames):
    folder, _, root = run_folder
    values, people = frames
    ids = people.index[:10]
    tables = {m: frame.loc[ids] for m, frame in values.items()}
    config = written(root / "ten", tables, people.loc[ids].assign(site="Basel"))
    out = pipeline.adapt(folder, config, out=root / "of_ten", fine_tune=True)
    files = {"config.yaml", "provenance.json", "manifest.json", "model", "adaptation.json"}
    assert {path.name for path in out.iterdir()} == files
    report = json.loads((out / "adaptation.json").read_text())
    assert report == {"Basel": {"controls": 10, "fine_tuned": False, "why": "fewer than 50 controls"}}
    assert list(mm.load(out / "model").sites) == ["Basel"]
    nine = written(root / "nine", {m: x[:9] for m, x in tables.items()}, people[:9].assign(site="Basel"))
    with pytest.raises(InputError, match="site 'Basel': 9 controls; expected at least 10"):
        pipeline.adapt(folder, nine, out=root / "of_nine")
    assert not (root / "of_nine").exists()


def test_a_run_refuses_people_before_training(frames, tmp_path):
    values, people = frames
    config = written(tmp_path / "tables", values, people.assign(age=people["age"].mask(people.index == "sub-259", 99)))
    strict = config.deviations.model_copy(update={"outside_range": "refuse"})
    with pytest.raises(
        InputError, match="covariate 'age': 1 subjects outside the range of training, such as 'sub-259'"
    ):
        pipeline.run(config.model_copy(update={"deviations": strict}), out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_a_norm_that_knows_sites_asks_for_them(study):
    _, cohort, norm, _ = study
    people = cohort.calibrate
    blind = dataclasses.replace(people, covariates=people.covariates.drop(columns="site"))
    with pytest.raises(InputError, match="covariate 'site': absent"):
        norm.adapt(blind)
