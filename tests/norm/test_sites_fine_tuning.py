"""Fine-tuning of the decoder for a new site: kept where it improves prediction, and only there."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import pyro_mmnorm as mm
from pyro_mmnorm.norm import sites
from pyro_mmnorm.norm.sites import fine_tuned, site_units
from tests.stats.oracles import region_spread

KINDS = ("reconstruction", "cross_modal", "normative", "latent")


def other_scanner(simulated, people, shift, scale):
    """The same people measured by another scanner, with a shift (in SDs) and a scale of each region."""
    mean, sd = simulated.truth.norm(simulated.participants.loc[people.ids])
    frames, begin = {}, 0
    for m, frame in people.values.items():
        own = slice(begin, begin := begin + frame.shape[1])
        moved = mean + scale * (np.hstack([f.to_numpy() for f in people.values.values()]) - mean) + shift * sd
        frames[m] = pd.DataFrame(moved[:, own], people.ids, frame.columns)
    return dataclasses.replace(people, values=frames, covariates=people.covariates.assign(site="Basel"))


@pytest.fixture(scope="module")
def study():
    """A norm of two sites by factor analysis (exact, no training), people of a third, and its shift and scale."""
    simulated = mm.simulate(
        healthy=2000, patients=4, regions={"cortical": 16, "hippocampal": 8}, latents=3, sites=2, seed=5,
        site_scale=(1.0, 1.0),
    )  # fmt: skip
    cohort = simulated.to_cohort()
    norm = mm.NormativeModel(mm.LinearGaussian.for_cohort(cohort, "factor_analysis", latent_dim=3))
    norm = norm.calibrate(cohort.calibrate, KINDS)
    people = cohort.test[(cohort.test.covariates["site"] == "site-1").to_numpy()]
    rng = np.random.default_rng(1)
    return simulated, norm, people, 0.5 * rng.normal(size=24), np.exp(0.3 * rng.normal(size=24))


def spread(norm, people, kind):
    """RMS over regions of SD - 1 in people that nothing was fitted on."""
    return region_spread(norm.deviations(people, kind)["z"].to_numpy())["rms_sd"]


def test_a_scale_of_each_region_is_learned(study, tmp_path):
    simulated, norm, people, shift, scale = study
    local = other_scanner(simulated, people, shift, scale)
    chosen, others = local[local.ids[:80]], local[local.ids[80:]]
    plain, (tuned, report) = norm.adapt(chosen), fine_tuned(norm, chosen)
    assert report["Basel"]["fine_tuned"]
    assert report["Basel"]["gain"] > 3 * report["Basel"]["standard_error"]
    found = np.array(site_units(norm, chosen).scale) / np.array(norm.preprocess.units_at("")[1])
    assert np.corrcoef(np.log(found), np.log(scale))[0, 1] > 0.9  # the SD of a log SD of 80 people is .08, of scale .3
    for kind in KINDS[:3]:  # plain: .25 to .4; of 80 people the SD of an SD is .08
        assert spread(tuned, others, kind) < 0.12 < spread(plain, others, kind)
        z = tuned.deviations(others, kind)["z"].to_numpy()
        assert abs(z.std() - 1) < 0.05
        assert abs(z.mean()) < (0.3 if kind == "normative" else 0.1)
    assert 0.8 < tuned.deviations(others, "latent")["latent_z"].to_numpy().std() < 1.2
    assert norm.preprocess.units == {}
    tuned.save(tmp_path / "model")
    again = mm.load(tmp_path / "model")
    for kind in KINDS:
        assert again.deviations(others, kind).identical(tuned.deviations(others, kind))
    at = {"sex": "F", "site": "Basel"}
    name = norm.preprocess.names[3]
    curve = mm.centiles(tuned, name, (5, 95), at=at, points=5)
    trained = mm.centiles(norm, name, (5, 95), at=at | {"site": "site-1"}, points=5)
    ratio = float((curve.diff("centile") / trained.diff("centile")).mean())
    assert ratio == pytest.approx(scale[3], rel=0.2)


def test_a_scanner_like_the_others_keeps_the_decoder_or_loses_nothing(study):
    simulated, norm, people, _, _ = study
    local = other_scanner(simulated, people, 0.0, 1.0)
    chosen, others = local[local.ids[:80]], local[local.ids[80:]]
    tuned, report = fine_tuned(norm, chosen)
    assert report["Basel"]["gain"] < 0.02  # nats a region
    for kind in KINDS[:3]:
        assert spread(tuned, others, kind) < spread(norm.adapt(chosen), others, kind) + 0.02


@pytest.mark.parametrize(("gain", "kept"), [(0.10, False), (0.16, True), (-0.5, False)])
def test_fine_tuning_is_kept_if_the_gain_exceeds_its_standard_error(study, monkeypatch, gain, kept):
    """Gains of 60 people are `gain` + 1 and `gain` - 1 in equal shares: their standard error is 1 / sqrt(59) = 0.13."""
    simulated, norm, people, shift, scale = study
    chosen = other_scanner(simulated, people, shift, scale)[people.ids[:60]]
    value = dict(zip(chosen.ids, np.where(np.arange(60) % 2, gain + 1, gain - 1), strict=True))

    def log_density(norm, people, kind):
        fine = "Basel" in norm.preprocess.units
        return np.array([value[person] if fine else 0.0 for person in people.ids])

    monkeypatch.setattr(sites, "_log_density", log_density)
    report = fine_tuned(norm, chosen)[1]["Basel"]
    assert report["gain"] == pytest.approx(gain)
    assert report["standard_error"] == pytest.approx(59**-0.5)
    assert report["fine_tuned"] == kept


def test_sites_with_fewer_than_fifty_controls_are_not_fine_tuned(study):
    simulated, norm, people, shift, scale = study
    local = other_scanner(simulated, people, shift, scale)
    chosen, others = local[local.ids[:49]], local[local.ids[80:]]
    tuned, report = fine_tuned(norm, chosen)
    assert report["Basel"] == {"controls": 49, "fine_tuned": False, "why": "fewer than 50 controls"}
    assert tuned.deviations(others).identical(norm.adapt(chosen).deviations(others))
