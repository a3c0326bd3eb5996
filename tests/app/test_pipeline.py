"""A whole run: its files, the rules for its folder, and scoring without training."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pyro_mmnorm as mm
from pyro_mmnorm.app import pipeline
from pyro_mmnorm.core.errors import InputError

FILES = (
    *("config.yaml", "provenance.json", "history.csv", "latents.csv", "diagnostics.json", "z.csv"),
    *("deviations.nc", "subjects.csv", "regions.csv"),
    *("calibration.json", "findings.json", "posterior.nc", "report.html"),
    *("model/arrays.safetensors", "model/model.json", "model/sha256.json"),
)


@pytest.fixture(scope="module")
def config(frames, tmp_path_factory):
    values, people = frames
    root = tmp_path_factory.mktemp("tables")
    for m, frame in values.items():
        frame.to_csv(root / f"{m}.csv")
    people.to_csv(root / "people.csv")
    (root / "run.yaml").write_text(
        """
data:
  participants: people.csv
  id: participant_id
  modalities: {cortical: {tables: [cortical.csv]}, hippocampal: {tables: [hippocampal.csv]}}
  covariates: {age: spline, sex: category, site: category}
  reference: {column: diagnosis, values: [CN]}
  groups: {column: diagnosis, order: [CN, AD]}
  scores: {MMSE: higher_is_better}
model: {latent_dim: 3, hidden: [8]}
train: {epochs: 3}
deviations: {draws: 32}
"""
    )
    return mm.read_config(root / "run.yaml")


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    return pipeline.run(config, out=tmp_path_factory.mktemp("runs") / "a", progress=False)


def test_a_run_writes_every_file_and_nothing_half(folder):
    assert all((folder / name).is_file() for name in FILES)
    assert list((folder / "figures").glob("*.png"))
    assert not [p for p in folder.rglob("*") if p.name.startswith(".") or p.suffix == ".part"]


def test_raw_deviations_are_inferred_once(config, tmp_path, monkeypatch):
    """Raw z of each person and kind is computed once per run; controls with masked modalities count as other people."""
    asked = []

    def raw(norm, cohort, kind="reconstruction", *, member=None, compute=mm.NormativeModel.raw):
        asked.extend((kind, member, person, tuple(row)) for person, row in cohort.present.iterrows())
        return compute(norm, cohort, kind, member=member)

    monkeypatch.setattr(mm.NormativeModel, "raw", raw)
    kinds = ["reconstruction", "normative", "local"]
    deviations = config.deviations.model_copy(update={"kinds": kinds, "normative_draws": 64})
    one = config.model_copy(update={"deviations": deviations, "baseline": "factor_analysis"})
    pipeline.run(one, out=tmp_path / "a", progress=False, brief=True)
    assert len(asked) == len(set(asked))
    scored = mm.read_cohort(one).split != "train"
    assert {kind: sum(name == kind for name, *_ in asked) >= scored.sum() for kind in kinds} == dict.fromkeys(
        kinds, True
    )
    # a loaded norm computes those of its calibration controls again, and the report is the same
    report = (tmp_path / "a" / "calibration.json").read_bytes()
    (tmp_path / "a" / "calibration.json").unlink()
    asked.clear()
    pipeline.run(one, out=tmp_path / "a", progress=False, brief=True, resume=True)
    assert len(asked) == len(set(asked))
    assert (tmp_path / "a" / "calibration.json").read_bytes() == report


def test_its_tables_hold_the_same_people_and_regions(folder, config):
    z = pd.read_csv(folder / "z.csv", index_col=0)
    subjects = pd.read_csv(folder / "subjects.csv", index_col=0)
    dev = xr.open_dataset(folder / "deviations.nc", engine="h5netcdf")
    assert z.index.name == "id"
    assert list(z.index) == list(subjects.index) == list(dev["subject"].to_numpy())
    assert list(z.columns) == list(dev["region"].to_numpy())
    assert z.columns[0] == "cortical.cor_0"
    assert dev["z"].dims == ("kind", "subject", "region")
    np.testing.assert_allclose(dev["z"].sel(kind="reconstruction"), z)
    assert set(subjects["split"]) == {"test", "target"}
    np.testing.assert_allclose(subjects["mean_abs_z"], z.abs().mean(axis=1))
    assert {"age", "sex", "site", "MMSE"} <= set(subjects)
    assert set(dev.data_vars) >= {"z", "z_raw", "p", "q", "expected", "sd", "extrapolated"}
    assert mm.read_config(folder / "config.yaml").model.latent_dim == config.model.latent_dim


def test_the_planted_loss_is_the_strongest_region_of_the_patients(folder):
    regions = pd.read_csv(folder / "regions.csv")
    patients = regions[regions["group"] == "AD"].set_index("region")
    assert patients["mean_z"].idxmin() == "hip_0"
    assert patients.loc["hip_0", "share_significant"] > 0.7 > 5 * patients.loc["hip_0", "share_significant_controls"]


def test_the_posterior_opens_with_arviz(folder):
    import arviz as az

    tree = az.from_netcdf(folder / "posterior.nc")
    assert tree["posterior"]["z"].dims == ("chain", "draw", "subject", "latent")
    for group in ("posterior_predictive", "log_likelihood", "observed_data", "constant_data"):
        assert group in tree.children


def test_provenance_lists_inputs_times_and_counts(folder):
    record = json.loads((folder / "provenance.json").read_text())
    assert set(record["inputs"]) == {"people.csv", "cortical.csv", "hippocampal.csv"}
    assert all(step["seconds"] >= 0 and step["peak_memory_mib"] > 0 for step in record["steps"].values())
    assert sum(record["counts"]["subjects"].values()) == 260


def test_two_runs_of_one_seed_give_the_same_z(folder, config, tmp_path):
    again = pipeline.run(config, out=tmp_path / "b", progress=False, brief=True)
    assert (again / "z.csv").read_bytes() == (folder / "z.csv").read_bytes()


def test_a_used_folder_is_left_alone_unless_asked(folder, config, tmp_path):
    before = (folder / "z.csv").stat().st_mtime_ns
    with pytest.raises(InputError, match="a folder that is not empty"):
        pipeline.run(config, out=folder)
    assert (folder / "z.csv").stat().st_mtime_ns == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="a folder that holds no run"):
        pipeline.run(config, out=tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file; expected a folder"):
        pipeline.run(config, out=tmp_path / "file")


def test_resume_continues_with_the_trained_model(config, tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "calibration_report", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(config, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r" / "calibration.json").exists()
    z = (tmp_path / "r" / "z.csv").read_bytes()
    monkeypatch.setattr(pipeline, "fit", interrupted)  # must not be called again
    pipeline.run(config, out=tmp_path / "r", resume=True, progress=False, brief=True)
    assert (tmp_path / "r" / "z.csv").read_bytes() == z
    other = config.model_copy(update={"seed": 9})
    with pytest.raises(InputError, match="another configuration"):
        pipeline.run(other, out=tmp_path / "r", resume=True, progress=False)


def test_overwrite_replaces_an_earlier_run(config, tmp_path):
    """A run of a baseline has no history.csv and no diagnostics.json; a file of the user stays."""
    old = pipeline.run(config, out=tmp_path / "r", progress=False, brief=True)
    (old / "mine.txt").write_text("")
    assert (old / "history.csv").is_file()
    baseline = config.model_copy(update={"baseline": "regression"})
    pipeline.run(baseline, out=old, overwrite=True, progress=False, brief=True)
    assert not (old / "history.csv").exists()
    assert (old / "mine.txt").is_file()


def test_scoring_without_training_gives_the_same_z(folder, config, tmp_path):
    scored = pipeline.score(folder, config, out=tmp_path / "s")
    whole, run = (pd.read_csv(f / "z.csv", index_col=0) for f in (scored, folder))
    assert len(whole) == 260
    np.testing.assert_allclose(whole.loc[run.index, run.columns], run, atol=1e-9)


def test_scoring_needs_a_finished_run(config, tmp_path):
    with pytest.raises(InputError, match=r"sha256\.json: no such file"):
        pipeline.score(tmp_path / "nothing", config, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_weight_for_no_modality_is_refused_before_anything_is_written(config, tmp_path):
    model = config.model.model_copy(update={"modality_weights": {"pet": 1.0}})
    with pytest.raises(InputError, match=r"model.modality_weights: \['pet'\]"):
        pipeline.run(config.model_copy(update={"model": model}), out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("baseline", ["factor_analysis", "regression"])
def test_a_baseline_writes_the_same_folder_without_training_files(config, tmp_path, baseline):
    chosen = config.model_copy(update={"baseline": baseline})
    done = pipeline.run(chosen, out=tmp_path / "b", progress=False)
    missing = [name for name in FILES if not (done / name).is_file()]
    assert missing == ["history.csv", "latents.csv", "diagnostics.json", "posterior.nc"]
    page = (done / "report.html").read_text()
    assert baseline in page
    assert "no model was trained" in page
    subjects = pd.read_csv(done / "subjects.csv", index_col=0)
    assert np.isfinite(subjects["log_evidence"]).equals(subjects["split"] == "test")
    z = (done / "z.csv").read_bytes()
    pipeline.run(chosen, out=done, resume=True, progress=False, brief=True)
    assert (done / "z.csv").read_bytes() == z
    scored = pipeline.score(done, config, out=tmp_path / "s")
    whole, run = (pd.read_csv(f / "z.csv", index_col=0) for f in (scored, done))
    np.testing.assert_allclose(whole.loc[run.index, run.columns], run, atol=1e-9)


def test_a_baseline_without_latents_has_no_latent_distance(config, tmp_path):
    kinds = config.deviations.model_copy(update={"kinds": ["reconstruction", "latent"]})
    chosen = config.model_copy(update={"baseline": "regression", "deviations": kinds})
    with pytest.raises(InputError, match=r"deviations.kinds: latent, with baseline regression"):
        pipeline.run(chosen, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_healthy_cohort_runs_without_patients(config, frames, tmp_path):
    data = config.data.model_copy(update={"reference": "everyone", "groups": None})
    done = pipeline.run(config.model_copy(update={"data": data}), out=tmp_path / "h", progress=False)
    assert set(pd.read_csv(done / "subjects.csv")["split"]) == {"test"}
    assert (done / "report.html").is_file()


def test_every_file_of_an_ensemble_has_its_members(config, tmp_path):
    chosen = config.model_copy(update={"model": config.model.model_copy(update={"members": 3})})
    done = pipeline.run(chosen, out=tmp_path / "e", progress=False)
    dev = xr.open_dataset(done / "deviations.nc", engine="h5netcdf")
    assert dev["z_member_sd"].dims == ("kind", "subject", "region")
    assert dev["z_member_sd"].notnull().equals(dev["z"].notnull())
    subjects = pd.read_csv(done / "subjects.csv", index_col=0)
    for name in ("mean_abs_z", "mean_sq_z", "mean_z", "n_outliers", "n_significant", "dsi", "omnibus_p", "mse"):
        np.testing.assert_allclose(subjects[f"{name}_member_sd"], dev[f"{name}_member_sd"][0], rtol=1e-6, atol=1e-12)
    assert dev["flagged_by_member"].sizes["member"] == 3
    assert (subjects["hamming_member_sd"] >= 0).all()
    history, latents = (pd.read_csv(done / f"{name}.csv") for name in ("history", "latents"))
    assert {f"best_epoch_member_{e}" for e in range(3)} <= set(history)
    assert set(latents["member"]) == {0, 1, 2}
    assert len(json.loads((done / "diagnostics.json").read_text())["active_units"]) == 3
    with xr.open_datatree(done / "posterior.nc", engine="h5netcdf") as tree:
        assert set(tree["posterior"]["member"].to_numpy()) == {0, 1, 2}
    scored = pipeline.score(done, config, out=tmp_path / "s")
    later = pd.read_csv(scored / "subjects.csv", index_col=0).loc[subjects.index]
    np.testing.assert_allclose(later["mean_abs_z_member_sd"], subjects["mean_abs_z_member_sd"], atol=1e-9)


def test_a_cohort_without_covariates_is_run(config, tmp_path):
    data = config.data.model_copy(update={"covariates": {}})
    one = config.model_copy(update={"data": data, "baseline": "regression"})
    folder = pipeline.run(one, out=tmp_path / "r", progress=False, brief=True)
    subjects = pd.read_csv(folder / "subjects.csv", index_col=0)
    assert subjects["outside_range"].isna().all()
    assert np.isfinite(subjects["mean_abs_z"]).all()
