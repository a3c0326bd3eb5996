"""Shares, likelihood ratios and distances against the tables."""

import numpy as np
import pytest

from pyro_mmnorm.findings.summaries import poster_rule, subject_table
from pyro_mmnorm.results.schema import TEST_CONTROLS
from tests.findings.cohorts import findings_of


def test_rates_are_those_of_the_tables(staged):
    dev, split, group, *_ = staged
    subjects, results = subject_table(dev, split, group), findings_of(staged)
    people, controls = subjects[group == "AD"], subjects[split == "test"]
    regions = results["significance"]["AD"]["regions"]
    assert regions["value"] == pytest.approx((people["n_outliers"] / people["n_observed"]).mean())
    z = dev["z"].to_numpy()[(group == "AD").to_numpy()]
    rule = (poster_rule(z).sum(1) / np.isfinite(z).sum(1)).mean()
    assert results["significance"]["AD"]["poster_rule"]["value"] == pytest.approx(rule)
    out, healthy = ((x["omnibus_p"] <= 0.05).mean() for x in (people, controls))
    one = results["likelihood_ratio"]["AD"]
    assert (one["value"], one["rate"], one["healthy_rate"]) == pytest.approx((out / healthy, out, healthy))
    assert one["low"] < out / healthy < one["high"]
    within = results["heterogeneity"]["within"]
    assert within["AD"]["value"] == pytest.approx(people["hamming"].mean(), rel=0.01)  # of pairs, and of people
    assert within[TEST_CONTROLS] == {"absent": "flags that are the same in everybody; flags that vary needed"}
    assert set(results["heterogeneity"]["between"]) >= {"test controls and AD", "MCI and AD"}


def test_a_person_with_an_omnibus_p_of_the_level_is_significant(staged):
    dev, _, group, *_ = staged
    p = np.where((group == "AD").to_numpy(), np.tile([0.05, 0.0501], 80), 1.0)
    p[:2] = 0.05, 0.04
    exact = dev.assign(omnibus_p=("subject", p))
    results = findings_of((exact, *staged[1:]))
    assert results["significance"]["AD"]["people"]["value"] == (p[(group == "AD").to_numpy()] <= 0.05).mean()
    assert results["significance"]["test controls"]["people"]["value"] == 2 / 40
