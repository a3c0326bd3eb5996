"""Conformal p-values by group: valid in every group, with a note where a group is too small."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import pyro_mmnorm as mm
from pyro_mmnorm.calibration.calibrated import Calibrated
from pyro_mmnorm.calibration.calibrators import CALIBRATORS
from pyro_mmnorm.calibration.conformal import Conformal, mean_square
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.norm.calibration_report import calibration_report


def test_p_within_a_group_is_that_of_a_conformal_of_its_people():
    rng = np.random.default_rng(0)
    scores, labels = rng.exponential(size=(60, 3)), np.repeat(["a", "b"], 30)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    new, groups = rng.exponential(size=(8, 3)), np.array(list("abababab"))
    new[2, 1] = np.nan
    p = Conformal.fit(scores).within(labels)(new, groups)
    for label in "ab":
        alone = Conformal.fit(scores[labels == label])
        np.testing.assert_array_equal(p[groups == label], alone(new[groups == label]))


def test_a_group_that_is_too_small_or_unknown_is_compared_with_all_and_named():
    rng = np.random.default_rng(0)
    scores, labels = rng.exponential(size=(70, 2)), np.repeat(["a", "b", "c"], [40, 18, 12])
    scores[:25, 1] = np.nan  # of a, 15 people have region 1
    marginal = Conformal.fit(scores)
    p = marginal.within(labels)
    new, groups = rng.exponential(size=(4, 2)), ["a", "b", "c", "elsewhere"]
    np.testing.assert_array_equal(
        p.conditional(groups), [[True, False], [False, False], [False, False], [False, False]]
    )
    np.testing.assert_array_equal(p(new, groups)[1:], marginal(new)[1:])
    np.testing.assert_array_equal(p(new, groups)[0, 1], marginal(new)[0, 1])
    assert (
        p.note
        == "Too few calibration controls for p = 0.05, compared with all controls instead: a (15), b (18), c (12)."
    )
    assert marginal.within(labels, level=0.1).note == ""


@pytest.mark.parametrize(("people", "enough"), [(18, False), (19, True)])
def test_p_of_a_twentieth_needs_nineteen_people(people, enough):
    labels = np.repeat(["a", "b"], [people, 60])
    within = Conformal.fit(np.arange(people + 60.0)[:, None]).within(labels)
    assert within.conditional(["a"]).item() == enough
    assert (within.note == "") == enough


def test_a_z_is_extrapolated_only_beyond_the_largest_score():
    """The largest |z| of the calibration controls of each region is not extrapolated, the next larger number is."""
    raw = np.random.default_rng(2).normal(size=(30, 2))
    nothing = np.zeros((30, 0))
    calibrated = Calibrated({"reconstruction": CALIBRATORS["none"](raw, nothing, {})})
    largest = np.abs(raw).max(0)
    new = np.stack([largest, np.nextafter(largest, np.inf), -largest, -np.nextafter(largest, np.inf)])
    ones = (("subject", "region"), np.ones_like(new))
    table = xr.Dataset({"z_raw": (("subject", "region"), new), "expected": ones, "sd": ones})
    found = calibrated(table, np.zeros((4, 0)), "reconstruction")["extrapolated"]
    assert found.all("region").to_numpy().tolist() == [False, True, False, True]
    assert found.any("region").to_numpy().tolist() == [False, True, False, True]


def test_in_each_group_p_is_valid_where_the_marginal_one_is_not():
    # one group is 1.5 times as wide: 200 splits, P(p <= .05) <= .05 + 3 SD / sqrt(200) in each
    shares = {"marginal": [], "within": []}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = np.repeat(["narrow", "wide"], 100)
        width = np.where(labels == "wide", 1.5, 1.0)[:, None]
        z, new = (np.abs(width * rng.normal(size=(200, 4))) for _ in range(2))
        marginal = Conformal.fit(z)
        found = {"marginal": marginal(new), "within": marginal.within(labels)(new, labels)}
        for name, p in found.items():
            shares[name].append([(p[labels == label] <= 0.05).mean() for label in ("narrow", "wide")])
    within = np.array(shares["within"])
    assert (within.mean(0) <= 0.05 + 3 * within.std(0) / np.sqrt(200)).all()
    assert np.mean(shares["marginal"], axis=0)[1] > 0.08


def test_region_and_omnibus_of_a_calibrator_by_pattern():
    rng = np.random.default_rng(1)
    raw, pattern = rng.normal(size=(120, 6)), np.repeat(["both", "T1"], 60)
    raw[60:, 3:] = np.nan
    fitted = CALIBRATORS["empirical"](raw, np.zeros((120, 0)), {})
    new = rng.normal(size=(400, 6))
    new[:, 3:] = np.nan
    z, labels = fitted(new, np.zeros((400, 0))), np.repeat("T1", 400)
    region = fitted.conformal.within(pattern)
    assert region.conditional(["T1"]).tolist() == [[True] * 3 + [False] * 3]
    omnibus = fitted.omnibus.within(pattern)
    assert omnibus.note == ""
    assert (omnibus(mean_square(z)[:, None], labels) <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 * (1 / 60))


def test_labels_and_level_are_checked():
    scores = Conformal.fit(np.ones((5, 1)))
    with pytest.raises(InputError, match=r"\(4,\) labels; expected one per calibration control, \(5,\)"):
        scores.within(["a"] * 4)
    with pytest.raises(InputError, match="conformal level: 2"):
        scores.within(["a"] * 5, level=2)


def test_a_norm_compares_within_groups_and_notes_those_that_are_too_small(norm, cohort, tmp_path):
    within = mm.NormativeModel(norm.model, draws=32, conformal_within="sex").calibrate(cohort.calibrate)
    dev, sex = within.deviations(cohort.target), cohort.target.covariates["sex"].to_numpy()
    conformal = within.calibrators["reconstruction"].conformal
    cal_sex = cohort.calibrate.covariates["sex"].to_numpy()
    for one in ("F", "M"):
        same, size = conformal.scores[cal_sex == one], (cal_sex == one).sum()
        scores = np.abs(dev["z"].to_numpy()[sex == one])
        by_hand = (1 + (same[None] >= scores[:, None]).sum(1)) / (size + 1)
        enough = size >= 19
        assert (dev["p_within"].to_numpy()[sex == one] == enough).all()
        if enough:
            np.testing.assert_allclose(dev["p"].to_numpy()[sex == one], by_hand)
    within.save(tmp_path / "model")
    assert mm.load(tmp_path / "model").deviations(cohort.target).identical(dev)
    report = calibration_report(within, cohort)["reconstruction"]
    groups = report["calibrator"]["conformal_within"]["groups"]
    assert {sex: group["people"] for sex, group in groups.items()} == {s: (cal_sex == s).sum() for s in ("F", "M")}
    p = within.deviations(cohort.test)[["p", "omnibus_p"]]
    shares = report["conformal"]["regions_p_below_0.05"]
    by_person = (p["p"] <= 0.05).mean("region").to_numpy()
    half = 1.96 * by_person.std(ddof=1) / np.sqrt(len(by_person))
    np.testing.assert_allclose(shares["value"], by_person.mean())
    np.testing.assert_allclose(
        [shares["low"], shares["high"]], [max(0, by_person.mean() - half), by_person.mean() + half]
    )
    assert report["conformal"]["omnibus_p_below_0.05"]["value"] == pytest.approx(float((p["omnibus_p"] < 0.05).mean()))
    small = [s for s in groups if groups[s]["people"] < 19]
    assert any("Too few calibration controls" in text for text in report["warnings"]) == bool(small)


def test_patterns_of_modalities_are_groups_and_other_names_are_refused(norm, cohort):
    holed = dataclasses.replace(cohort.calibrate, values=dict(cohort.calibrate.values))
    frame = holed.values["hippocampal"].copy()
    frame.iloc[:22] = np.nan
    holed.values["hippocampal"] = frame
    within = mm.NormativeModel(norm.model, draws=32, conformal_within="pattern").calibrate(holed)
    assert set(within.calibration.groups) == {"cortical", "cortical + hippocampal"}
    dev = within.deviations(holed)
    assert set(dev["conformal_group"].to_numpy()) == set(within.calibration.groups)
    first = dev.isel(subject=0)
    seen = np.isfinite(first["z"])
    assert first["p_within"][seen].all()
    assert float(first["p"].min()) >= 1 / 23 - 1e-12
    with pytest.raises(InputError, match=r"deviations.conformal_within: 'age'; expected 'pattern' or .*'sex'"):
        mm.NormativeModel(norm.model, draws=32, conformal_within="age").calibrate(cohort.calibrate)
