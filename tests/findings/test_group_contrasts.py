"""Contrasts of groups against scipy."""

import pytest
from scipy import stats

from pyro_mmnorm.findings.summaries import subject_table
from tests.findings.cohorts import findings_of


def test_reconstruction_error_is_compared_as_on_the_poster(staged):
    dev, _, group, *_ = staged
    x = {name: dev["mse"].to_numpy()[(group == name).to_numpy()] for name in ("CN", "AD")}
    expected = stats.mannwhitneyu(x["AD"], x["CN"]).statistic / 1600
    assert findings_of(staged)["auc"]["AD"]["mse"]["raw"]["value"] == pytest.approx(expected)


def test_the_first_stage_is_compared_with_the_test_controls(staged):
    dev, split, group, *_ = staged
    x = subject_table(dev, split, group)["mean_abs_z"]
    one = findings_of(staged)["trend"]["mean_abs_z"]["raw"]["first_stage"]
    welch = stats.ttest_ind(x[group == "SMC"], x[split == "test"], equal_var=False)
    ends = welch.confidence_interval(0.95)
    assert (one["low"], one["high"], one["p"]) == pytest.approx((*ends, welch.pvalue))
