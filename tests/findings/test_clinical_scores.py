"""Correlations with scores, and the contribution of modalities, against nested regressions and scipy."""

import numpy as np
import pytest
from scipy import stats

from pyro_mmnorm.findings.summaries import subject_table
from tests.findings.cohorts import findings_of


def test_what_a_modality_adds_to_a_score_is_the_f_test_of_nested_regressions(staged):
    dev, split, group, scores, _ = staged
    x, y = subject_table(dev, split, group).iloc[10:], scores["ADAS13"].iloc[10:].to_numpy()
    small = np.stack([np.ones(150), x["mean_abs_z.t2"]], 1)
    full = np.column_stack([small, x["mean_abs_z.t1"]])
    less, more = (((y - d @ np.linalg.lstsq(d, y)[0]) ** 2).sum() for d in (small, full))
    one = findings_of(staged)["modalities"]["t1"]["scores"]["ADAS13"]["raw"]
    assert one["p"] == pytest.approx(stats.f.sf((less - more) / (more / 147), 1, 147))
    assert one["value"] ** 2 == pytest.approx((less - more) / less)


def test_what_a_modality_adds_to_an_auc_is_delongs_difference(staged):
    dev, _, group, *_ = staged
    z, results = np.abs(dev["z"].to_numpy()), findings_of(staged)["modalities"]
    every, rest = np.nanmean(z, 1), np.nanmean(z[:, 6:], 1)  # t1 is the first half
    rows = {name: (group == name).to_numpy() for name in ("CN", "AD")}
    area = [stats.mannwhitneyu(x[rows["AD"]], x[rows["CN"]]).statistic / 1600 for x in (every, rest)]
    assert results["t1"]["gain"]["AD"]["value"] == pytest.approx(area[0] - area[1])
    assert results["t1"]["auc"]["AD"]["value"] > results["t2"]["auc"]["AD"]["value"] - 0.5  # both are there


def test_modalities_with_a_common_residual_are_dependent(staged):
    dev, split, group, scores, adjust = staged
    common = np.random.default_rng(3).normal(size=(160, 1))
    tied = dev.assign(z=dev["z"] + 2 * common)
    apart, together = (
        findings_of((d, split, group, scores, adjust))["independence"]["first_eigenvalue"] for d in (dev, tied)
    )
    assert apart["p"] > 0.05
    assert together["p"] == pytest.approx(0.01)
    assert together["low"] > together["null"]
    assert together["n"] == 40


def test_the_expected_sign_of_a_correlation_is_reported(staged):
    results = findings_of(staged)["correlations"]
    for name, sign in (("ADAS13", 1), ("MMSE", -1)):
        one = results[name]["raw"]["spearman"]
        assert np.sign(one["value"]) == sign
        assert one["as_expected"] is True


def test_a_correlation_between_stages_disappears_within_them(staged):
    """MMSE is a function of the stage: it does not vary within stages, so there is no estimate."""
    one = findings_of(staged)["correlations"]["MMSE"]["within_group"]["pearson"]
    assert one == {
        "absent": "a column without variation; columns that vary needed",
        "direction": "higher_is_better",
    }
