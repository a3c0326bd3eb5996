"""The calibration report: right on healthy people, loud where a group is off."""

import numpy as np
import pandas as pd

from pyro_mmnorm.assessment import assess
from pyro_mmnorm.calibration import GaussianCalibrator


def make(seed: int, spoil: float = 1.0):
    rng = np.random.default_rng(seed)
    modality = np.array(["a"] * 20 + ["b"] * 10)

    def people(n: int):
        x = rng.normal(size=(n, 3)) @ rng.normal(size=(3, 30)) * 0.3 + rng.normal(size=(n, 30))
        return x, rng.normal(size=(n, 1))

    loadings_seed = rng.integers(2**31)
    rng = np.random.default_rng(loadings_seed)
    cal, test = people(300), people(300)
    covariates = pd.DataFrame({"age": test[1][:, 0], "site": np.where(np.arange(300) < 60, "north", "south")})
    test[0][:60] *= spoil
    calibrator = GaussianCalibrator.fit(*cal, {"age": slice(0, 1)})
    return assess(calibrator, cal, test, covariates, {"age": "spline", "site": "category"}, modality, repeats=100)


def test_healthy_people_get_a_good_verdict_and_every_figure_an_interval():
    report = make(3)
    assert report["verdict"].startswith("Calibrated on 300 test controls")
    for name in ("mean", "sd", "skew", "kurtosis", "beyond_1.96", "coverage_95"):
        figure = report["overall"][name]
        assert figure["low"] <= figure["value"] <= figure["high"], name
    assert {g["by"] for g in report["groups"]} == {"age tertile", "site", "modality"}
    assert all(g["n"] >= 20 for g in report["groups"])


def test_a_site_that_is_off_is_named_in_words():
    report = make(3, spoil=1.5)
    assert any("z of site north (n = 60)" in sentence for sentence in report["warnings"])
    assert not any("south" in sentence for sentence in report["warnings"])


def test_small_levels_are_pooled():
    rng = np.random.default_rng(0)
    raw, design = rng.normal(size=(100, 5)), np.zeros((100, 0))
    calibrator = GaussianCalibrator.fit(raw, design, {})
    covariates = pd.DataFrame({"site": [f"s{i % 10}" for i in range(100)]})
    report = assess(
        calibrator, (raw, design), (raw, design), covariates, {"site": "category"}, np.array(["a"] * 5), repeats=5
    )
    assert [g["level"] for g in report["groups"] if g["by"] == "site"] == ["10 levels under 20 people, pooled"]


def test_patterns_of_missing_modalities_are_groups():
    rng = np.random.default_rng(0)
    raw, design = rng.normal(size=(100, 5)), np.zeros((100, 0))
    calibrator = GaussianCalibrator.fit(raw, design, {})
    holed = raw.copy()
    holed[:40, 3:] = np.nan
    report = assess(
        calibrator,
        (raw, design),
        (holed, design),
        pd.DataFrame(index=range(100)),
        {},
        np.array(list("aaabb")),
        repeats=5,
    )
    found = {g["level"]: g["n"] for g in report["groups"] if g["by"] == "modalities present"}
    assert found == {"a": 40, "a + b": 60}
