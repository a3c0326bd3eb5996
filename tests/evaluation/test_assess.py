"""The calibration report: no warning for healthy people, a warning for a group with wrong z."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pyro_mmnorm.calibration.calibrators import CALIBRATORS
from pyro_mmnorm.calibration.gaussian import GaussianCalibrator
from pyro_mmnorm.evaluation.assess import assess
from pyro_mmnorm.evaluation.sums import Prediction
from pyro_mmnorm.stats import metrics
from pyro_mmnorm.stats.dependence import between_modalities
from pyro_mmnorm.stats.grouping import groups
from tests.stats import oracles


def make(seed: int, spoil: float = 1.0):
    rng = np.random.default_rng(seed)
    modality = np.array(["a"] * 20 + ["b"] * 10)

    loadings = {m: rng.normal(size=(3, (modality == m).sum())) * 0.3 for m in "ab"}

    def people(n: int):
        x = rng.normal(size=(n, 30))
        for m in "ab":  # factors of each modality alone
            x[:, modality == m] += rng.normal(size=(n, 3)) @ loadings[m]
        return x, rng.normal(size=(n, 1))

    cal, test = people(300), people(300)
    covariates = pd.DataFrame({"age": test[1][:, 0], "site": np.where(np.arange(300) < 60, "north", "south")})
    test[0][:60] *= spoil
    calibrator = GaussianCalibrator.fit(*cal, {"age": slice(0, 1)})
    return assess(calibrator, cal, test, covariates, {"age": "spline", "site": "category"}, modality, repeats=100)


def test_healthy_people_get_a_good_verdict_and_every_figure_an_interval():
    report = make(3)
    assert report["verdict"].startswith("Calibration check in 300 held-out controls: ")
    for name in ("mean", "sd", "skew", "kurtosis", "beyond_1.96", "coverage_95"):
        figure = report["overall"][name]
        assert figure["low"] <= figure["value"] <= figure["high"], name
    assert {g["by"] for g in report["groups"]} == {"age tertile", "site", "modality"}
    assert all(g["n"] >= 20 for g in report["groups"])
    assert report["warnings"] == []
    assert report["overall"]["pit"]["p"] > 0.01
    json.dumps(report)


def test_a_site_with_wrong_z_is_named_in_a_warning():
    report = make(3, spoil=1.5)
    warning = next(sentence for sentence in report["warnings"] if sentence.startswith("Site north (n = 60): "))
    north = next(g for g in report["groups"] if g["level"] == "north")
    assert f"SD of z: {north['sd']['value']:.2f}" in warning
    assert "(tolerance 0.95 to 1.05)" in warning
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


def one_group(z, prediction=None, name="none", **options):
    """Overall figures of test controls whose raw z are `z`."""
    nothing = np.zeros((len(z), 0))
    fitted = CALIBRATORS[name](z, nothing, {})
    modality, index = np.repeat("a", z.shape[1]), pd.DataFrame(index=range(len(z)))
    return assess(fitted, (z, nothing), (z, nothing), index, {}, modality, prediction=prediction, repeats=16, **options)


def test_figures_are_those_of_the_metrics_also_with_missing_cells():
    rng = np.random.default_rng(0)
    z = 0.1 + 1.2 * rng.standard_t(5, size=(150, 8))
    z[rng.random(z.shape) < 0.2] = np.nan
    overall, cells = one_group(z)["overall"], z[np.isfinite(z)]
    want = {
        "mean": cells.mean(), "sd": cells.std(), "skew": stats.skew(cells), "kurtosis": stats.kurtosis(cells),
        "beyond_2.58": (np.abs(cells) > 2.58).mean(), "coverage_80": (np.abs(cells) < stats.norm.ppf(0.9)).mean(),
        "mace": oracles.mace(z).mean(), **oracles.region_spread(z),
        "pit": metrics.pit_test(z, rng, 1)[0],
    }  # fmt: skip
    for name, value in want.items():
        assert overall[name]["value"] == pytest.approx(value, rel=1e-4), name
    assert overall["mace"]["null"] == pytest.approx(oracles.mace_null(120), rel=0.02)  # 150 people, a fifth missing
    assert overall["shapiro_w"]["value"] == pytest.approx(np.mean(metrics.shapiro_w(z)))
    assert overall["shapiro_w"]["value"] < overall["shapiro_w"]["null"] < 1  # t with 5 degrees of freedom


def test_figures_of_the_prediction_by_hand_and_by_the_metrics():
    # values of about 1500: sums in single precision must not lose them
    rng = np.random.default_rng(1)
    mean, spread = np.array([1500.0, 7.0, 0.01]), np.array([100.0, 2.0, 0.003])
    covariate, rest, noise = rng.normal(size=(3, 200, 3))
    observed = mean + spread * (0.5 * covariate + 0.6 * rest + 0.5 * noise)
    expected, sd = mean + spread * (0.5 * covariate + 0.6 * rest), np.broadcast_to(0.5 * spread, observed.shape)
    observed[::7, 1] = np.nan
    baseline = mean + spread * 0.5 * covariate
    prediction = Prediction(
        observed=observed, expected=expected, sd=sd, mean=mean, spread=spread, by_covariates=baseline
    )
    overall = one_group((observed - expected) / sd, prediction)["overall"]
    log_p = stats.norm.logpdf(observed, expected, sd)
    want = {
        "msll": oracles.msll(log_p, observed, mean, spread).mean(),
        "smse": oracles.smse(observed, expected).mean(),
        "expv": oracles.expv(observed, expected).mean(),
        "expv_beyond_covariates": oracles.expv(observed, expected, baseline).mean(),
    }
    for name, value in want.items():
        assert overall[name]["value"] == pytest.approx(value, rel=1e-3), name
        assert overall[name]["low"] < value < overall[name]["high"]
    crps = np.nanmean(oracles.crps_normal(observed, expected, sd) / spread)
    assert overall["crps"]["value"] == pytest.approx(crps, rel=0.01)  # 15 quantiles
    with_density = Prediction(
        observed=observed, expected=expected, sd=1.7 * sd, mean=mean, spread=spread, log_density=log_p
    )
    again = one_group((observed - expected) / sd, with_density)["overall"]
    assert again["msll"]["value"] == pytest.approx(want["msll"], rel=1e-3)


@pytest.mark.parametrize("name", ["gaussian", "empirical"])
def test_calibration_corrects_the_likelihood_of_a_model_with_too_small_an_sd(name):
    # the model predicts SD 0.3, the truth is 0.6: after calibration MSLL is log 0.6 within 3 standard errors (0.03)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1000, 6))
    y = 0.8 * x + 0.6 * rng.normal(size=(1000, 6))
    prediction = Prediction(observed=y, expected=0.8 * x, sd=np.full(y.shape, 0.3), mean=np.zeros(6), spread=np.ones(6))
    overall = one_group((y - 0.8 * x) / 0.3, prediction, name)["overall"]
    assert overall["msll"]["value"] == pytest.approx(np.log(0.6), abs=0.03)
    assert overall["crps"]["value"] == pytest.approx(0.6 / np.sqrt(np.pi), rel=0.03)
    assert one_group((y - 0.8 * x) / 0.3, prediction)["overall"]["msll"]["value"] > overall["msll"]["value"] + 0.5


class Counted:
    """A calibrator that counts its refits."""

    def __init__(self, fitted):
        self.fitted, self.refits = fitted, 0

    def __getattr__(self, name):
        return getattr(self.fitted, name)

    def __call__(self, raw, design):
        return self.fitted(raw, design)

    def refit(self, raw, design):
        self.refits += 1
        return self.fitted.refit(raw, design)


@pytest.mark.parametrize(("repeats", "refits"), [(10, 1), (11, 2), (25, 3)])
def test_the_calibrator_is_refitted_for_every_ten_samples(repeats, refits):
    raw, nothing = np.random.default_rng(0).normal(size=(60, 3)), np.zeros((60, 0))
    calibrator = Counted(GaussianCalibrator.fit(raw, nothing, {}))
    people, modality = pd.DataFrame(index=range(60)), np.repeat("a", 3)
    assess(calibrator, (raw, nothing), (raw, nothing), people, {}, modality, repeats=repeats)
    assert calibrator.refits == refits


def test_intervals_contain_the_error_of_the_calibrator_too():
    # 40 calibration people: the mean of z varies by sqrt(1/40 + 1/1000) a region; a bootstrap of test people alone
    # would give intervals a fifth as wide
    rng = np.random.default_rng(3)
    cal, test = 0.7 + rng.normal(size=(40, 1)), 0.7 + rng.normal(size=(1000, 1))
    nothing = np.zeros((40, 0)), np.zeros((1000, 0))
    fitted = GaussianCalibrator.fit(cal, nothing[0], {})
    report = assess(fitted, (cal, nothing[0]), (test, nothing[1]), pd.DataFrame(index=range(1000)), {}, np.array(["a"]))
    mean = report["overall"]["mean"]
    assert (mean["high"] - mean["low"]) / (2 * 1.96) == pytest.approx(np.sqrt(1 / 40 + 1 / 1000), rel=0.35)


def test_a_region_that_predicts_itself_is_reported_as_in_sample():
    z = np.random.default_rng(0).normal(size=(60, 3))
    assert one_group(z)["reading"] == "prediction"
    assert one_group(z, predictive=False)["reading"] == "in-sample: the region was used to predict itself"


def dependent(seed: int, shared: float, missing: float = 0.0):
    rng = np.random.default_rng(seed)
    factor, modality = rng.normal(size=(300, 1)), np.array(["a"] * 12 + ["b"] * 8)
    z = np.sqrt(1 - shared) * rng.normal(size=(300, 20)) + np.sqrt(shared) * factor
    within = rng.normal(size=(300, 1))
    z[:, :12] = 0.8 * z[:, :12] + 0.6 * within
    z[rng.random(300) < missing, 12:] = np.nan
    return between_modalities(z, modality, rng=rng, permutations=19)


def test_dependence_between_modalities_differs_from_that_within_one():
    null = [dependent(seed, 0.0, 0.2) for seed in range(40)]
    p = np.array([[figure["p"] for figure in found.values()] for found in null])
    assert (p <= 0.05).mean(0).max() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)
    assert np.mean([f["largest_r"]["value"] for f in null]) == pytest.approx(
        np.mean([f["largest_r"]["null"] for f in null]), rel=0.1
    )
    found = dependent(0, 0.3)
    assert {figure["p"] for figure in found.values()} == {0.05}
    assert found["share_above_0.1"]["value"] > 0.9


def test_one_modality_alone_has_nothing_between_and_dependence_is_a_warning():
    rng = np.random.default_rng(0)
    z = np.sqrt(0.7) * rng.normal(size=(200, 10)) + np.sqrt(0.3) * rng.normal(size=(200, 1))
    assert between_modalities(z, np.repeat("a", 10), rng=rng) == {}
    assert between_modalities(np.full((5, 2), np.nan), np.array(["a", "b"]), rng=rng) == {}
    nothing = np.zeros((200, 0))
    fitted = CALIBRATORS["none"](z, nothing, {})
    index, modality = pd.DataFrame(index=range(200)), np.array(list("aaaaabbbbb"))
    arguments = (fitted, (z, nothing), (z, nothing), index, {}, modality)
    names = np.array([f"{m}.{i}" for i, m in enumerate(modality)])
    report = assess(*arguments, repeats=16, predictive=False, regions=names)
    r = np.corrcoef(z, rowvar=False)[:5, 5:]
    i, j = np.unravel_index(np.abs(r).argmax(), r.shape)
    pair = f"|r| up to {np.abs(r).max():.2f} "
    assert any(pair in text and f"a.{i} and b.{j + 5})" in text for text in report["warnings"])
    assert assess(*arguments, repeats=16)["between_modalities"] == {}  # z of predictive kinds contains the latents


def test_patterns_can_be_given_by_the_caller():
    z = np.random.default_rng(0).normal(size=(60, 3))
    report = one_group(z, patterns=["T1"] * 25 + ["T1 + DTI"] * 35)
    assert {g["level"]: g["n"] for g in report["groups"] if g["by"] == "modalities present"} == {
        "T1": 25,
        "T1 + DTI": 35,
    }


def test_thirds_come_in_their_order_and_pooled_levels_last():
    """By name, `9 to 11` would come after `11 and above`, and `2 levels ...` before every site."""
    age = pd.Series(np.linspace(7.0, 13.0, 90))
    site = pd.Series(np.repeat(["Basel", "Cork", "York", "Zug"], [35, 35, 10, 10]))
    kinds = {"age": "spline", "site": "category"}
    found = groups(pd.DataFrame({"age": age, "site": site}), kinds, np.ones((90, 2), bool), np.array(["a", "a"]))
    levels = {by: [group.level for group in found if group.by == by] for by in ("age tertile", "site")}
    assert levels["age tertile"] == ["below 9", "9 to 11", "11 and above"]
    assert levels["site"] == ["Basel", "Cork", "2 levels under 20 people, pooled"]
    assert sum(group.people.sum() for group in found if group.by == "site") == 90
