"""Measures under refitted calibrators, and adjusted measures."""

import json

import numpy as np

from tests.findings.cohorts import findings_of, records


def test_intervals_cover_the_sampling_error_of_the_calibration(staged):
    """Scale and location of every region off by chance: intervals grow, values and p-values stay."""
    dev = staged[0]
    rng, z = np.random.default_rng(7), dev["z"].to_numpy()
    other = np.stack([z * rng.normal(1, 0.1, 12) + rng.normal(0, 0.2, 12) for _ in range(4)])
    plain = findings_of(staged)
    same = findings_of((dev.assign(z_refit=(("refit", *dev["z"].dims), np.stack([z, z]))), *staged[1:]))
    assert json.dumps(same) == json.dumps(plain)
    results = findings_of((dev.assign(z_refit=(("refit", *dev["z"].dims), other)), *staged[1:]))
    pairs = [(one, two) for one, two in zip(records(results), records(plain), strict=True) if "low" in one]
    assert all(one["value"] == two["value"] and one.get("p") == two.get("p") for one, two in pairs)
    sizes = [part[name] for part in results["groups"].values() for name in ("n_significant", "dsi", "hamming", "mse")]
    assert all(one["low"] >= 0 for one in sizes if "low" in one)  # few are flagged: twice the SE would be below 0
    wider = [one["high"] - one["low"] > two["high"] - two["low"] for one, two in pairs]
    assert sum(wider) > len(pairs) / 2
    assert results["trend"]["mean_sq_z"]["raw"]["slope"]["low"] < plain["trend"]["mean_sq_z"]["raw"]["slope"]["low"]
    reconstruction = results["auc"]["AD"]["mse"]["raw"]
    assert reconstruction == plain["auc"]["AD"]["mse"]["raw"]  # does not depend on the calibrator
    shuffled = np.random.default_rng(0).permutation(160)
    again = dev.assign(z_refit=(("refit", *dev["z"].dims), other)).isel(subject=shuffled)
    assert json.dumps(findings_of((again, *staged[1:]))) == json.dumps(results)


def test_adjusted_estimates_leave_out_people_without_columns(staged):
    results = findings_of(staged)
    auc, correlation = results["auc"]["SMC"]["mean_abs_z"], results["correlations"]["ADAS13"]
    assert (auc["raw"]["n"], auc["adjusted"]["n"]) == (80, 79)  # s005 is a test control
    assert (correlation["raw"]["pearson"]["n"], correlation["adjusted"]["pearson"]["n"]) == (150, 150)
    assert "Adjusted for age, rating, with slopes within groups." in results["notes"]
    plain = findings_of(staged, adjust=False)
    assert "adjusted" not in json.dumps(plain["auc"])
    assert plain["auc"]["SMC"]["mean_abs_z"]["raw"]["value"] == auc["raw"]["value"]
