"""Comparison of runs: properties of paired estimates, and runs with a known order of quality."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import pyro_mmnorm as mm
from pyro_mmnorm.app import pipeline
from pyro_mmnorm.app.compare.gain_sentences import sentence
from pyro_mmnorm.app.compare.paired_estimates import PairedEstimates
from pyro_mmnorm.app.compare.planted import Truth, over_cohorts
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.norm.recalibration import REFITS, refitted_z
from pyro_mmnorm.stats.intervals import Estimate, mean

CONFIG = """
data:
  participants: participants.csv
  id: participant_id
  modalities: {cortical: {tables: [cortical.csv]}, hippocampal: {tables: [hippocampal.csv]}}
  covariates: {age: spline, sex: category}
  reference: {column: diagnosis, values: [CN]}
  groups: {column: diagnosis, order: [CN, MCI, AD]}
  scores: {ADAS13: higher_is_worse}
  split: {column: split}
model: {latent_dim: 4}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Sparse strong changes, which factor analysis detects better than regression."""
    root = tmp_path_factory.mktemp("tables")
    regions = {"cortical": 20, "hippocampal": 8}
    mm.simulate(healthy=700, patients=120, regions=regions, latents=4, stages={"MCI": 1, "AD": 1}, seed=2).write(root)
    (root / "run.yaml").write_text(CONFIG)
    return root / "run.yaml"


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory):
    """Folders: factor analysis, regression, and factor analysis with its results permuted over people."""
    out = tmp_path_factory.mktemp("runs")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "build_report", lambda folder: folder)
        patch.setattr(pipeline, "calibration_report", lambda *_, **__: {})
        for name in ("factor_analysis", "regression"):
            resolved = mm.read_config(config, overrides=[f"baseline={name}"])
            found[name] = pipeline.run(resolved, out=out / name, progress=False)
    found["shuffled"] = shutil.copytree(found["factor_analysis"], out / "shuffled")
    permute(found["shuffled"])
    return found


def permute(folder):
    """Permute the results over people."""
    order = np.random.default_rng(0).permutation(len(pd.read_csv(folder / "z.csv")))
    for name, kept in (
        ("z.csv", ["id"]),
        ("subjects.csv", ["id", "split", "group", "age", "sex", "ADAS13", "log_evidence"]),
    ):
        table = pd.read_csv(folder / name, dtype={"id": str})
        permuted = table.iloc[order].reset_index(drop=True)
        permuted[kept] = table[kept]
        permuted.to_csv(folder / name, index=False)
    with xr.open_dataset(folder / "deviations.nc", engine="h5netcdf") as dev:
        other = dev.load().isel(subject=order).assign_coords(subject=dev["subject"].to_numpy())
    other.to_netcdf(folder / "deviations.nc", engine="h5netcdf")


@pytest.fixture(scope="module")
def table(runs, tmp_path_factory):
    """Regression and the shuffled run against factor analysis, written."""
    out = tmp_path_factory.mktemp("compared")
    folders = [runs[name] for name in ("factor_analysis", "regression", "shuffled")]
    return mm.compare(folders, out=out), out


def one(table, run, measure, about=None):
    rows = table[(table["run"] == run) & (table["measure"] == measure)]
    return rows[rows["about"] == about].iloc[0] if about else rows.iloc[0]


def test_a_run_gains_nothing_over_itself(runs):
    rows = mm.compare([runs["regression"], runs["regression"]])
    gains = rows[rows["gain"].notna()]
    assert set(gains["run"]) == {"regression (2)"}
    assert (gains[["gain", "gain_low", "gain_high"]] == 0).all(axis=None)
    assert (gains[["p", "p_holm"]] == 1).all(axis=None)
    assert gains["sentence"].str.contains("do not differ significantly").all()
    assert len(gains) == len(rows) / 2


def test_the_order_of_runs_changes_the_sign_of_the_gains(runs, table):
    there = table[0][table[0]["run"] == "regression"].reset_index(drop=True)
    back = mm.compare([runs["regression"], runs["factor_analysis"]])
    back = back[back["run"] == "factor_analysis"].reset_index(drop=True)
    assert there["measure"].equals(back["measure"])
    np.testing.assert_allclose(there["gain"], -back["gain"], atol=1e-12)
    np.testing.assert_allclose(there["gain_low"], -back["gain_high"], atol=1e-9)
    np.testing.assert_allclose(there["p"], back["p"], atol=1e-9)


def test_permuted_people_have_worse_results(table):
    rows = table[0]
    for measure, about in (("AUC", "AD"), ("Pearson", "ADAS13"), ("Spearman", "ADAS13"), ("slope per stage", None)):
        row = one(rows, "shuffled", measure, about)
        assert row["gain_high"] < 0, measure
        assert row["p_holm"] < 0.05
        assert re.search("shuffled is worse than factor_analysis by", row["sentence"])


def test_factor_analysis_is_better_than_regression_for_sparse_changes_of_a_linear_cohort(table):
    rows = table[0]
    for measure, about in (("AUC", "AD"), ("share of regions, conformal p ≤ .05", "AD"), ("nats per person", None)):
        row = one(rows, "regression", measure, about)
        assert row["gain_high"] < 0, measure


def test_metrics_agree_with_the_files(runs, table):
    rows, subjects = table[0], pd.read_csv(runs["regression"] / "subjects.csv", index_col=0)
    z = pd.read_csv(runs["regression"] / "z.csv", index_col=0)
    controls, patients = subjects[subjects["split"] == "test"], subjects[subjects["group"] == "AD"]
    score = "mean_abs_z"
    u = stats.mannwhitneyu(patients[score], controls[score]).statistic / len(patients) / len(controls)
    assert one(rows, "regression", "AUC", "AD")["value"] == pytest.approx(u)
    assert one(rows, "regression", "SD of z")["value"] == pytest.approx(z.loc[controls.index].to_numpy().std(ddof=1))
    inside = (z.loc[controls.index].abs() < stats.norm.ppf(0.975)).to_numpy().mean()
    assert one(rows, "regression", "coverage 95 %")["value"] == pytest.approx(inside)
    omnibus = one(rows, "regression", "share of people, omnibus p ≤ .05", "AD")
    assert omnibus["value"] == pytest.approx((patients["omnibus_p"] <= 0.05).mean())
    assert one(rows, "regression", "nats per person")["value"] == pytest.approx(controls["log_evidence"].mean())
    pearson = stats.pearsonr(subjects[score], subjects["ADAS13"]).statistic
    assert one(rows, "regression", "Pearson", "ADAS13")["value"] == pytest.approx(pearson)
    first = (subjects.loc[subjects["group"] == "MCI", score].mean() - controls[score].mean()) / controls[score].std()
    row = one(rows, "regression", "first stage, in SDs of test controls")
    assert (row["value"], row["n"]) == pytest.approx((first, len(controls) + (subjects["group"] == "MCI").sum()))


def test_three_findings_by_hand_from_the_tables(runs):
    """From z.csv and subjects.csv alone, without the package."""
    folder = runs["regression"]
    rows = json.loads((folder / "findings.json").read_text())
    z, who = (pd.read_csv(folder / name, index_col=0) for name in ("z.csv", "subjects.csv"))
    size = z.abs().mean(axis=1)  # 1. the primary endpoint: pairs of people in the order of their stages
    stage = who["group"].map({"CN": 0, "MCI": 1, "AD": 2})
    pairs = [(size[a], size[b]) for a in z.index for b in z.index if stage[a] < stage[b]]
    agreeing = np.mean([(x < y) + (x == y) / 2 for x, y in pairs])
    assert rows["primary"]["value"] == pytest.approx(agreeing)
    controls = z[who["split"] == "test"]  # 2. share of significant regions in healthy people
    significant = (2 * stats.norm.sf(controls.abs()) < 0.05).sum(axis=1) / controls.notna().sum(axis=1)
    assert rows["significance"]["test controls"]["regions"]["value"] == pytest.approx(significant.mean())
    ill = who[who["group"] != "CN"]  # 3. correlation within stages: centred within each
    parts = [who[who["group"] == name].assign(size=size) for name in ("CN", "MCI", "AD")]
    x, y = (np.concatenate([part[column] - part[column].mean() for part in parts]) for column in ("size", "ADAS13"))
    r = (x @ y) / np.sqrt((x @ x) * (y @ y))
    assert rows["correlations"]["ADAS13"]["within_group"]["pearson"]["value"] == pytest.approx(r)
    assert rows["correlations"]["ADAS13"]["within_group"]["pearson"]["n"] == len(ill) + len(controls)


def test_wide_z_do_not_gain_in_groups_and_lose_in_calibration(runs, tmp_path):
    """z multiplied by 1.5 are flagged more often, but separate the groups as before."""
    wide = shutil.copytree(runs["regression"], tmp_path / "wide")
    z = pd.read_csv(wide / "z.csv", index_col=0) * 1.5
    z.to_csv(wide / "z.csv")
    subjects = pd.read_csv(wide / "subjects.csv", index_col=0)
    subjects["mean_abs_z"] *= 1.5
    subjects.to_csv(wide / "subjects.csv")
    rows = mm.compare([runs["regression"], wide])
    for measure in ("slope per stage", "AUC", "Pearson"):
        assert one(rows, "wide", measure)["gain"] == pytest.approx(0, abs=1e-9)
    row = one(rows, "wide", "SD of z")
    assert row["gain_high"] < 0
    assert "farther from 1.00 than regression" in row["sentence"]


def test_the_files_are_complete_and_the_page_loads_nothing(table):
    rows, out = table
    assert pd.read_csv(out / "compare.csv").shape == rows.shape
    content = json.loads((out / "compare.json").read_text())
    assert [run["name"] for run in content["runs"]] == ["factor_analysis", "regression", "shuffled"]
    assert len(content["rows"]) == len(rows)
    page = (out / "compare.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert ">nan<" not in page
    for text in ("AUC, AD", "shuffled is worse than factor_analysis", "Holm p", "4 factors"):
        assert text in page


def test_runs_of_other_people_are_not_compared(runs, tmp_path):
    with pytest.raises(InputError, match="compare: 1 runs; expected at least two"):
        mm.compare([runs["regression"]])
    with pytest.raises(InputError, match=r"no config\.yaml"):
        mm.compare([runs["regression"], tmp_path])
    fewer = shutil.copytree(runs["regression"], tmp_path / "fewer")
    for name in ("z.csv", "subjects.csv"):
        pd.read_csv(fewer / name, dtype=str).iloc[1:].to_csv(fewer / name, index=False)
    with pytest.raises(InputError, match="other people than in the first run: 1 differ"):
        mm.compare([runs["regression"], fewer])
    for column in ("split", "group"):
        other = shutil.copytree(runs["regression"], tmp_path / column)
        subjects = pd.read_csv(other / "subjects.csv", dtype=str)
        subjects.loc[0, column] = {"split": "target", "group": "AD"}[column]
        subjects.to_csv(other / "subjects.csv", index=False)
        with pytest.raises(InputError, match=f"1 people in another {column}"):
            mm.compare([runs["regression"], other])
    bare = shutil.copytree(runs["regression"], tmp_path / "bare")
    (bare / "deviations.nc").unlink()
    with pytest.raises(InputError, match=r"no deviations\.nc"):
        mm.compare([runs["regression"], bare])


def test_the_order_of_people_in_a_folder_does_not_matter(runs, table, tmp_path):
    turned = shutil.copytree(runs["regression"], tmp_path / "regression")
    for name in ("z.csv", "subjects.csv"):
        pd.read_csv(turned / name, dtype=str).iloc[::-1].to_csv(turned / name, index=False)
    rows = mm.compare([runs["factor_analysis"], turned])
    expected = table[0][table[0]["run"] == "regression"]["gain"].to_numpy()
    np.testing.assert_allclose(rows[rows["run"] == "regression"]["gain"], expected, atol=1e-12)


def test_trainings_of_one_model_are_one_row_with_their_spread(runs, table, tmp_path):
    for name, source in (("vae-seed1", "regression"), ("vae-seed2", "shuffled")):
        shutil.copytree(runs[source], tmp_path / name)
    rows = mm.compare([runs["factor_analysis"], tmp_path / "vae-seed1", tmp_path / "vae-seed2"])
    for measure, about in (("AUC", "AD"), ("Pearson", "ADAS13"), ("Spearman", "ADAS13"), ("SD of z", None)):
        row = one(rows, "vae", measure, about)
        alone = [one(table[0], name, measure, about) for name in ("regression", "shuffled")]
        values = sorted(x["value"] for x in alone)
        assert row["value"] == pytest.approx(np.mean(values))
        assert (row["spread_low"], row["spread_high"], row["trainings"]) == pytest.approx((*values, 2))
        assert row["gain"] == pytest.approx(np.mean([x["gain"] for x in alone]))
        assert row["gain_low"] < row["gain"] < row["gain_high"]
        assert row["gain_test"].startswith("paired bootstrap")
    assert any("vae was trained 2 times" in note for note in rows.attrs["notes"])
    lone = mm.compare([runs["factor_analysis"], tmp_path / "vae-seed1"])
    assert set(lone["run"]) == {"factor_analysis", "vae-seed1"}  # one training keeps the name of its folder
    assert one(lone, "vae-seed1", "AUC", "AD")["gain_test"].startswith("DeLong, paired")


def test_planted_regions_are_those_of_the_truth(config, runs, table, tmp_path):
    rows = mm.compare([runs["factor_analysis"], runs["regression"]], out=tmp_path / "out", truth=config.parent)
    row = rows[(rows["part"] == "Planted regions") & (rows["run"] == "regression")].iloc[0]
    z = pd.read_csv(runs["regression"] / "z.csv", index_col=0).abs()
    effect = pd.read_csv(config.parent / "effect.csv", index_col=0).loc[z.index, z.columns].abs() >= 1
    areas = []
    for who in z.index:
        known, hit = z.loc[who].notna(), effect.loc[who]
        if (known & hit).any() and (known & ~hit).any():
            x, y = z.loc[who][known & hit], z.loc[who][known & ~hit]
            areas.append(stats.mannwhitneyu(x, y).statistic / len(x) / len(y))
    assert row["n"] == len(areas)
    assert row["value"] == pytest.approx(np.mean(areas))
    assert row["gain_high"] < 0  # factor analysis localises sparse changes of a linear cohort better
    people = rows.attrs["planted"]["effect"]
    assert people["regression"].mean() == pytest.approx(np.mean(areas))
    assert (tmp_path / "out" / "planted_effect.csv").is_file()
    with pytest.raises(InputError, match=r"no effect\.csv"):
        mm.compare([runs["regression"], runs["regression"]], truth=tmp_path)


def test_classes_of_planted_effect_are_never_averaged():
    ids = pd.Index(["a", "b", "c"])
    effect = pd.DataFrame(2.0, ids, ["t1.x", "t1.y"])
    truth = Truth(effect=effect, sort=pd.Series(["local", "along", ""], ids))
    found = truth.classes(ids)
    assert {about: rows.tolist() for about, rows in found.items()} == {
        "along normal variation": [False, True, False],
        "local": [True, False, False],
    }


def test_the_primary_endpoint_is_not_corrected(table):
    rows = table[0]
    first = rows[rows["part"] == "Primary endpoint"]
    assert first["measure"].unique().tolist() == ["concordance with stage"]
    gains = first[first["gain"].notna()]
    np.testing.assert_array_equal(gains["p_holm"], gains["p"])
    rest = rows[(rows["part"] != "Primary endpoint") & rows["p"].notna()]
    smallest = rest.loc[rest["p"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(1, len(rest) * smallest["p"]))


def test_adjusted_rows_control_for_the_covariates(runs, table):
    subjects = pd.read_csv(runs["regression"] / "subjects.csv", index_col=0)
    given = np.stack([np.ones(len(subjects)), subjects["age"], subjects["sex"] == "F"], 1).astype(float)
    left = [y - given @ np.linalg.lstsq(given, y)[0] for y in subjects[["mean_abs_z", "ADAS13"]].to_numpy(float).T]
    expected = stats.pearsonr(*left).statistic
    assert one(table[0], "regression", "Pearson, adjusted", "ADAS13")["value"] == pytest.approx(expected)
    ranks = [stats.rankdata(x) for x in subjects[["mean_abs_z", "ADAS13"]].to_numpy(float).T]
    group = subjects["group"].where(subjects["split"] == "target", "").to_numpy(str)
    given = group[:, None] == np.array(["MCI", "AD", ""])
    left = [y - given @ np.linalg.lstsq(given.astype(float), y)[0] for y in ranks]
    expected = stats.pearsonr(*left).statistic
    assert one(table[0], "regression", "Spearman within groups", "ADAS13")["value"] == pytest.approx(expected)


# Estimates without runs


def test_over_cohorts_the_interval_contains_the_variance_between_cohorts():
    """Gains of 4 cohorts differ by .05 (SD): half width t_3 .05 / 2 and the error of people, within a fifth."""
    rng = np.random.default_rng(3)
    gains = np.array([-0.05, 0.0, 0.05, 0.1])
    cohorts = [
        pd.DataFrame({"a": x, "b": x + gain}) for gain, x in zip(gains, rng.normal(0.7, 0.1, (4, 200)), strict=True)
    ]
    rows = over_cohorts(cohorts)
    assert rows.loc["b", "gain"] == pytest.approx(gains.mean())
    half = stats.t.ppf(0.975, 3) * gains.std(ddof=1) / 2
    assert rows.loc["b", "gain_high"] - rows.loc["b", "gain"] == pytest.approx(half, rel=0.2)
    assert rows.loc["b", "p"] > 0.05
    assert rows["n"].tolist() == [800, 800]
    with pytest.raises(InputError, match=r"1 cohorts .*at least two"):
        over_cohorts(cohorts[:1])


def test_the_interval_of_a_paired_mean_is_that_of_the_t_test():
    """1,000 draws give the SE within 2.2 % (one SD); 8 % is 3.6 of them."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    y = x + 0.1 + 0.3 * rng.normal(size=200)
    gain = PairedEstimates.by_bootstrap(mean, [x, y], np.zeros(200)).gains[0]
    assert gain.value == pytest.approx((y - x).mean())
    assert gain.se == pytest.approx((y - x).std() / 200**0.5, rel=0.08)
    assert gain.p < 0.05
    assert gain.low > 0


def test_with_an_ideal_value_the_closer_run_gains():
    x = np.linspace(-1, 1, 101)
    paired = PairedEstimates.by_bootstrap(mean, [x + 1.5, x + 0.8, x + 2.2], np.zeros(101), ideal=1.0)
    np.testing.assert_allclose([gain.value for gain in paired.gains], [0.3, -0.7])


def test_a_constant_difference_has_the_smallest_p_of_the_draws():
    gain = PairedEstimates.by_bootstrap(mean, [np.zeros(20), np.ones(20)], np.zeros(20)).gains[0]
    assert (gain.value, gain.low, gain.high) == (1.0, 1.0, 1.0)
    assert gain.p == pytest.approx(1 / 1001)


def test_people_without_a_value_in_any_run_are_left_out_of_all():
    x = np.arange(20.0)
    holed = np.where(x == 19, np.nan, x)
    paired = PairedEstimates.by_bootstrap(mean, [x, holed], np.zeros(20))
    assert paired.estimates[0].value == paired.estimates[1].value == 9.0
    assert paired.estimates[0].n == 19
    with pytest.raises(InputError, match="0 people with a value in every run"):
        PairedEstimates.by_bootstrap(mean, [x, x * np.nan], np.zeros(20))
    with pytest.raises(InputError, match="a statistic that is not finite"):
        PairedEstimates.by_bootstrap(lambda x: mean(x) * np.nan, [x, x], np.zeros(20))


def test_intervals_cover_the_sampling_error_of_the_calibration(runs, table, tmp_path):
    """Refits by hand: the interval is that of the scored people with the spread over refits added."""
    rows, kind = table[0], "reconstruction"
    bare = {}
    for name in ("factor_analysis", "regression"):
        bare[name] = shutil.copytree(runs[name], tmp_path / name)
        (bare[name] / "calibration_controls.nc").unlink()
    alone = mm.compare(list(bare.values()))
    assert any(
        "because the folder of factor_analysis has no data of the calibration controls" in note
        for note in alone.attrs["notes"]
    )
    shares = {}
    for name in bare:
        with (
            xr.open_dataset(runs[name] / "deviations.nc") as dev,
            xr.open_dataset(runs[name] / "calibration_controls.nc") as controls,
        ):
            z_raw = dev["z_raw"].sel(kind=kind, subject=controls["subject"]).to_numpy()
            calibrator = mm.load(runs[name] / "model").calibrators[kind]
            z = np.stack([refitted_z(calibrator, controls.load(), z_raw, i) for i in range(REFITS)])
            ids = controls["subject"].to_numpy()
        ill = (pd.read_csv(runs[name] / "subjects.csv", index_col=0).loc[ids, "group"] == "AD").to_numpy()
        z = z[:, ill]
        shares[name] = ((np.abs(z) > stats.norm.ppf(0.975)) & np.isfinite(z)).sum((1, 2)) / np.isfinite(z).sum((1, 2))
    measure, about = "share of regions, p < .05", "AD"
    before, after = (one(t, "regression", measure, about) for t in (alone, rows))
    wide = stats.norm.ppf(0.975)
    for end in ("low", "high"):
        half = np.hypot(before[end] - before["value"], wide * shares["regression"].std(ddof=1))
        assert abs(after[end] - after["value"]) == pytest.approx(half)
    spread = (shares["regression"] - shares["factor_analysis"]).std(ddof=1)
    half = np.hypot(before["gain_high"] - before["gain"], wide * spread)
    assert after["gain_high"] - after["gain"] == pytest.approx(half)
    assert after["p"] == pytest.approx(2 * stats.norm.sf(abs(after["gain"]) * wide / half))
    assert before["gain"] == after["gain"]
    # metrics that do not depend on the calibrator are unchanged
    for measure, about in (("nats per person", None), ("AUC of reconstruction error", "AD")):
        before, after = (one(t, "regression", measure, about) for t in (alone, rows))
        assert before[["low", "high", "p", "test"]].tolist() == after[["low", "high", "p", "test"]].tolist()


def test_a_table_has_one_column_per_argument_of_the_statistic():
    x = np.random.default_rng(0).normal(size=(30, 2))
    paired = PairedEstimates.by_bootstrap(lambda a, b: mean(a - b), [x, x[:, ::-1]], np.zeros(30))
    value = (x[:, 0] - x[:, 1]).mean()
    assert [one.value for one in paired.estimates] == pytest.approx([value, -value])
    assert paired.gains[0].value == pytest.approx(-2 * value)


def test_the_gain_of_a_wider_interval_has_a_larger_p():
    """z is value over half width: a refit spread that doubles the width halves z."""
    gain = Estimate(value=1.0, low=0.5, high=1.5, n=9, test="t", p=2 * stats.norm.sf(3.0))
    estimates = [Estimate(value=v, low=v - 1, high=v + 1, n=9, test="t") for v in (0.0, 1.0)]
    spread = np.sqrt(3) * 0.5 / stats.norm.ppf(0.975)  # hypot(.5, 1.96 s) = 1
    refits = np.array([[0.0, 1.0], [0.0, 1.0 + np.sqrt(2) * spread]])  # SD with n - 1: s
    wide = PairedEstimates(estimates=estimates, gains=[gain], by_seed=[[0.0], [1.0]]).widened(refits, None).gains[0]
    assert (wide.low, wide.high) == pytest.approx((0.0, 2.0))
    assert wide.p == pytest.approx(2 * stats.norm.sf(1.5))


@pytest.mark.parametrize(
    ("p", "holm", "text"),
    [
        (0.0499, 0.04, "a is better than b by 0.10 [0.05, 0.15] (0.90 against 0.80; p 0.050, Holm 0.040)."),
        (
            0.0499,
            0.05,
            "a is better than b by 0.10 [0.05, 0.15] (0.90 against 0.80; p 0.050, Holm 0.050), not significant",
        ),
        (
            0.05,
            0.05,
            "a and b do not differ significantly (0.90 against 0.80; gain 0.05 to 0.15, p 0.050, Holm 0.050).",
        ),
    ],
)
def test_the_sentence_follows_p_and_holm(p, holm, text):
    row = {"run": "a", "measure": "AUC", "about": "AD", "ideal": np.nan, "value": 0.9, "reference": 0.8}
    row |= {"gain": 0.1, "gain_low": 0.05, "gain_high": 0.15, "p": p, "p_holm": holm}
    assert sentence(row, "b").startswith(f"AUC, AD: {text}")
