"""Findings: every estimate is complete, and cohorts with few or missing groups."""

import json

import numpy as np
import pytest
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.findings.endpoints import findings
from pyro_mmnorm.findings.summaries import subject_table
from pyro_mmnorm.results.schema import TEST_CONTROLS
from tests.findings.cohorts import DIRECTIONS, ORDER, findings_of, records


def test_every_estimate_has_its_interval_n_and_test(staged):
    results = findings_of(staged)
    found = list(records(results))
    assert len(found) > 70
    for one in found:
        assert one["low"] <= one["value"] <= one["high"]
        assert one["n"] >= 3
        assert one["test"]
    text = json.dumps(results, allow_nan=False)
    assert json.loads(text)["primary"]["endpoint"].startswith("trend of mean |z| over test controls, SMC, MCI, AD")
    assert "absent" not in json.dumps([results[name] for name in ("primary", "auc", "trend", "pairs")])


def test_findings_are_those_of_the_methods(staged):
    dev, split, group, scores, _ = staged
    subjects, results = subject_table(dev, split, group), findings_of(staged)
    x = {name: subjects.loc[group == name, "mean_sq_z"] for name in ORDER}
    area = stats.mannwhitneyu(x["AD"], x["CN"], method="asymptotic")
    one = results["auc"]["AD"]["mean_sq_z"]["raw"]
    assert (one["value"], one["p"], one["n"]) == pytest.approx((area.statistic / 1600, area.pvalue, 80))
    assert results["auc"]["AD"]["mean_z"]["raw"]["value"] < 0.5  # smaller than expected: cases score lower
    line = stats.linregress(np.repeat(range(4), 40), subjects["mean_abs_z"])
    assert results["trend"]["mean_abs_z"]["raw"]["slope"]["value"] == pytest.approx(line.slope)
    pair = results["pairs"]["AD against SMC"]
    welch = stats.ttest_ind(*(subjects.loc[group == name, "mean_abs_z"] for name in ("AD", "SMC")), equal_var=False)
    assert pair["difference"]["p"] == pytest.approx(welch.pvalue)
    assert len(results["pairs"]) == 6
    rank = results["correlations"]["ADAS13"]["raw"]["spearman"]
    expected = stats.spearmanr(subjects["mean_abs_z"].iloc[10:], scores["ADAS13"].iloc[10:])
    assert (rank["value"], rank["n"], rank["direction"]) == (pytest.approx(expected.statistic), 150, "higher_is_worse")
    assert results["correlations"]["MMSE"]["raw"]["pearson"]["value"] < 0
    assert results["groups"][TEST_CONTROLS]["mean_abs_z"]["null"] == pytest.approx(0.798, abs=1e-3)
    flagged = (dev["q"] < 0.05) & (subjects["group"].to_numpy() == "AD")[:, None]
    larger = float((flagged & (dev["z"] > 0)).sum() / flagged.sum())
    assert results["groups"]["AD"]["share_larger"]["value"] == pytest.approx(larger)


def test_findings_do_not_depend_on_the_order_of_people(staged):
    dev, split, group, scores, adjust = staged
    order = np.random.default_rng(0).permutation(160)
    shuffled = dev.isel(subject=order), split, group, scores.iloc[order], adjust.iloc[::-1]
    assert json.dumps(findings_of(shuffled)) == json.dumps(findings_of(staged))


def test_one_endpoint_is_primary_and_the_others_are_corrected(staged):
    results = findings_of(staged)
    everything = [one for one in records({**results, "primary": {}, "independence": {}}) if "p" in one]
    [primary] = [one for one in everything if "p_holm" not in one]
    assert {"endpoint": results["primary"]["endpoint"], **primary} == results["primary"]
    assert primary == results["trend"]["mean_abs_z"]["raw"]["jonckheere_terpstra"]
    rest = [one for one in everything if "p_holm" in one]
    smallest = min(rest, key=lambda one: one["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, len(rest) * smallest["p"]))


def test_the_primary_endpoint_of_one_group_is_its_auc(staged):
    dev, split, group, scores, adjust = staged
    kept = group.isin(["CN", "AD"])
    part = dev.isel(subject=kept.to_numpy()), split[kept], group[kept], scores, adjust
    results = findings_of(part)
    assert results["primary"]["endpoint"] == "AUC of mean |z|, AD against test controls"
    assert results["primary"]["value"] == results["auc"]["AD"]["mean_abs_z"]["raw"]["value"]
    assert not results.keys() & {"trend", "pairs"}
    assert "One target group: a trend needs at least two, in addition to the test controls." in results["notes"]


def test_healthy_people_alone_have_findings_without_contrasts(staged):
    dev, split, group, scores, adjust = staged
    kept = (split == "test").to_numpy()
    results = findings_of((dev.isel(subject=kept), split[kept], group[kept], scores, adjust))
    parts = ["groups", "significance", "heterogeneity", "correlations", "modalities", "independence"]
    assert list(results) == ["primary", *parts, "notes"]
    assert results["primary"] == {"endpoint": "none: there are no groups to compare"}
    assert results["notes"][0] == "Only test controls were scored: there are no groups to compare."
    assert set(results["correlations"]["ADAS13"]) == {"raw", "adjusted"}


def test_targets_alone_are_not_compared(staged):
    dev, split, group, scores, adjust = staged
    kept = (split == "target").to_numpy()
    results = findings_of((dev.isel(subject=kept), split[kept], group[kept], scores, adjust), scores=False)
    assert results["notes"][:2] == [
        "No test controls were scored: groups are not compared.",
        "Adjusted for age, rating, with slopes within groups.",
    ]
    assert results["correlations"] == {}
    assert not results.keys() & {"auc", "trend", "pairs", "likelihood_ratio"}
    assert set(results["groups"]) == {"SMC", "MCI", "AD"}


def test_a_group_of_two_is_reported_as_too_small(staged):
    dev, split, group, scores, adjust = staged
    kept = group.isin(["CN", "MCI"]) | group.index.isin(["s120", "s121"])
    results = findings_of((dev.isel(subject=kept.to_numpy()), split[kept], group[kept], scores, adjust))
    reason = {"absent": "groups of [40, 2] people; at least 3 in each needed"}
    assert results["auc"]["AD"]["mean_abs_z"]["raw"] == reason
    assert results["trend"]["mean_abs_z"]["raw"]["slope"]["n"] == 82
    assert results["pairs"]["AD against MCI"]["difference"]["absent"].startswith("groups of (2, 40) people")
    assert results["primary"]["absent"] == "groups of [40, 40, 2] people; at least 3 in each needed"


def test_other_people_are_refused(staged):
    dev, split, group, scores, adjust = staged
    subjects = subject_table(dev, split, group).iloc[1:]
    with pytest.raises(InputError, match="findings: different people in dev and subjects; expected the same people"):
        findings(dev, subjects, scores, DIRECTIONS, adjust, ORDER)
