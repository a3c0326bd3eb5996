"""The poster's study in miniature: all models on the same people, and a page with n and interval of every estimate."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import pyro_mmnorm as mm
from pyro_mmnorm.app import pipeline
from pyro_mmnorm.app.compare.planted import Truth, person_auc
from pyro_mmnorm.app.study import study as studies
from pyro_mmnorm.app.study.running import run_models
from pyro_mmnorm.app.study.variants import Variant, variants
from pyro_mmnorm.config import shipped_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.plots.stages import frequency_bars, stage_boxes

ODD = "<b>AD & co</b>"
"""A group name that is markup unless the page escapes it."""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    mm.simulate(kind="ukb_adni", healthy=260, controls=120, patients=80).write(root)
    people = pd.read_csv(root / "participants.csv", dtype=str, keep_default_na=False)
    people.replace({"diagnosis": {"AD": ODD}}).to_csv(root / "participants.csv", index=False)
    small = ["model.hidden=[8]", "model.latent_dim=3", "train.epochs=2", "deviations.draws=16"]
    groups = f'data.groups.order=["CN", "SMC", "EMCI", "LMCI", "{ODD}"]'
    return shipped_config("ukb_adni.yaml", overrides=[f"data.root={root}", groups, *small])


def some(config):
    """Three of the models are enough for these tests."""
    return [model for model in variants(config) if model.name in ("mmnormvae", "unimodal", "regression")]


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "calibration_report", lambda *_, **__: {})
        patch.setattr(studies, "variants", some)
        return mm.study(config, out=tmp_path_factory.mktemp("study") / "a", seeds=2, processes=1)


@pytest.mark.slow
def test_a_study_is_complete_and_can_be_resumed(folder, config):
    runs = {path.name for path in (folder / "runs").iterdir()}
    assert runs == {"mmnormvae", "mmnormvae-seed2", "unimodal", "unimodal-seed2", "regression"}
    assert (folder / "runs" / "mmnormvae" / "report.html").is_file()
    stems = {path.stem for path in (folder / "figures").glob("*.svg")}
    assert stems == {path.stem for path in (folder / "figures").glob("*.png")}
    assert {name[0] for name in stems} == {"1", "2", "3", "4"}
    # a resumed study does not train again
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.is_file()}
    cohort = mm.read_cohort(config)
    found, _ = run_models(config, cohort, some(config), seeds=2, out=folder / "runs", processes=1)
    assert [len(runs) for runs in found.values()] == [2, 2, 1]
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.is_file()} == before
    # every estimate has n and an interval, and that of a trained model its range over trainings
    table = pd.read_csv(folder / "study.csv")
    assert (table["n"] > 0).all()
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    trained = table["model"].isin(["mmnormvae", "unimodal"])
    assert (table["seeds"][trained] == 2).all()
    assert (table["seeds"][~trained] == 1).all()
    assert (table["seeds_low"] <= table["value"]).all()
    # ... and equals that of the run
    own = json.loads((folder / "runs" / "unimodal" / "findings.json").read_text())["trend"]["mean_abs_z"]["raw"][
        "slope"
    ]
    row = table[(table["model"] == "unimodal") & (table["measure"] == "slope per stage of mean |z|")]
    assert row[["value", "low", "high", "n"]].to_numpy().ravel() == pytest.approx(
        [own[k] for k in ("value", "low", "high", "n")]
    )
    # the page loads nothing, and escapes names
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert ODD not in page
    assert "&lt;b&gt;AD &amp; co&lt;/b&gt;" in page
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert "Ceiling" in page
    with pytest.raises(InputError, match="another configuration"):
        mm.study(config.model_copy(update={"seed": 7}), out=folder)


@pytest.mark.slow
def test_parallel_processes_have_the_same_results_and_report_impossible_models(config, folder, tmp_path):
    """A model that is not possible with these tables is left out with the reason."""
    cohort, linear = mm.read_cohort(config), some(config)[-1]
    bad = Variant(name="bad", label="bad", description="", changes={"model": {"modality_weights": {"pet": 2.0}}})
    found, notes = run_models(config, cohort, [linear, bad], seeds=1, out=tmp_path, processes=2)
    assert list(found) == ["regression"]
    assert "pet" in notes[0]
    one, two = (pd.read_csv(path / "z.csv") for path in (tmp_path / "regression", folder / "runs" / "regression"))
    pd.testing.assert_frame_equal(one, two)


def test_the_models_differ_only_in_their_purpose():
    config = shipped_config("ukb_adni.yaml", overrides=["model.hidden=[12]", "model.latent_dim=5"])
    runs = {model.name: model.applied(config, seed=4) for model in variants(config)}
    assert {run.seed for run in runs.values()} == {4}
    assert {tuple(run.model.hidden) for run in runs.values()} == {(12,)}
    assert all(run.train == config.train and run.data == config.data for run in runs.values())
    assert (runs["unimodal"].model.latent_dim, runs["unimodal"].model.private_dim) == (0, 5)
    assert runs["concatenated"].model.experts == "joint"
    assert runs["factor_analysis"].model.latent_dim == 5


def test_a_named_part_is_replaced_and_not_merged():
    """A likelihood with options is replaced as a whole."""
    config = shipped_config("ukb_adni.yaml", overrides=["model.likelihood={name: student_t, df: 5}"])
    one = Variant(
        name="x", label="", description="", changes={"model": {"likelihood": {"name": "normal", "scale": 0.7}}}
    )
    assert one.applied(config, 1).model.likelihood == {"name": "normal", "scale": 0.7}


def test_person_auc_is_that_of_every_pair():
    rng = np.random.default_rng(0)
    z, effect = rng.normal(size=(6, 9)), np.where(rng.random((6, 9)) < 0.4, -2.0, 0.3)
    z[1, :3], effect[:, 0], effect[:, 8] = np.nan, 0.3, -2.0  # some of both in everybody
    for i, found in enumerate(person_auc(z, effect)):
        hit = np.abs(effect[i]) >= 1
        pairs = [np.sign(abs(a) - abs(b)) for a in z[i][hit] for b in z[i][~hit] if np.isfinite(a) and np.isfinite(b)]
        assert found == pytest.approx(np.mean([(pair + 1) / 2 for pair in pairs]))


def test_the_auc_of_a_perfect_score_is_1_and_of_noise_one_half():
    """Noise: a mean of 400 AUCs with SD about .1 is outside .02 of .5 once in 10,000 seeds."""
    rng = np.random.default_rng(1)
    effect = np.where(rng.random((400, 40)) < 0.3, 2.0, 0.0)
    assert person_auc(effect, effect).mean() == 1
    assert person_auc(rng.normal(size=effect.shape), effect).mean() == pytest.approx(0.5, abs=0.02)


def test_the_truth_is_read_as_it_was_written(tmp_path):
    drawn = mm.simulate(kind="ukb_adni", healthy=20, controls=10, patients=12, effect="along")
    drawn.write(tmp_path)
    truth = Truth.beside(tmp_path)
    assert truth.about == "along normal variation"
    np.testing.assert_allclose(truth.effect.to_numpy(), drawn.effect.to_numpy(), atol=1e-3)
    assert truth.severity.to_dict() == pytest.approx(drawn.hidden["severity"].to_dict(), abs=1e-3)


def people(n=40, width=1.0):
    rng = np.random.default_rng(2)
    group = np.repeat(["CN", "MCI", "AD"], n)
    size = 0.8 + 0.2 * np.repeat([0, 1, 2], n) + 0.1 * width * rng.normal(size=3 * n)
    return pd.DataFrame({"split": np.where(group == "CN", "test", "target"), "group": group, "mean_abs_z": size})


def test_stage_boxes_show_controls_first_and_the_null():
    ax = stage_boxes({"VAE": people(), "regression": people(width=2)}, order=["MCI", "AD"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["test controls\nn 40", "MCI\nn 40", "AD\nn 40"]
    assert any(np.allclose(line.get_ydata(), np.sqrt(2 / np.pi)) for line in ax.get_lines())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "VAE",
        "regression",
        "expected under calibration: 0.798",
    ]
    assert ax.get_ylabel()
    assert ax.get_title(loc="left")
    with pytest.raises(InputError, match="no model"):
        stage_boxes({})
    with pytest.raises(InputError, match="no value"):
        stage_boxes({"VAE": people().assign(mean_abs_z=np.nan)})


def test_frequency_bars_show_the_healthy_rate():
    rows = pd.DataFrame({"region": ["left_CA1", "right_CA1"], "n": 40, "share_significant": [0.4, 0.1],
        "share_significant_low": [0.25, 0.03], "share_significant_high": [0.57, 0.24],
        "share_significant_controls": [0.05, 0.075]})  # fmt: skip
    ax = frequency_bars({"MCI": rows, "AD": rows})
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([40, 10, 40, 10])
    healthy = [
        segment[0][0] for part in ax.collections for segment in part.get_segments() if segment[0][0] == segment[1][0]
    ]
    assert healthy == pytest.approx([5, 7.5, 5, 7.5])
    assert isinstance(ax.get_figure(root=True), Figure)
    with pytest.raises(InputError, match="no table"):
        frequency_bars({})
