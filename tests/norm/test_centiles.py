"""Centile charts: z on a curve is that of its centile, curves never cross, and they agree with a known truth."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import special

import pyro_mmnorm as mm
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.inference.predictive import Predictive
from pyro_mmnorm.models.likelihoods import LIKELIHOODS
from pyro_mmnorm.norm.centiles import CENTILES, people_beside, profile_centiles

AT = {"sex": "F", "site": "Bern"}
REGION = "hippocampal.hip_2"


@pytest.fixture(scope="module")
def normative(norm, cohort):
    return mm.NormativeModel(norm.model, normative_draws=256).calibrate(cohort.calibrate, ("normative",))


def people_on(curve, cohort):
    """People on a curve, in whom only this region was observed."""
    n, (m, name) = curve.sizes["age"], str(curve.name).split(".")
    some = cohort[cohort.ids[:n]]
    values = {key: pd.DataFrame(np.nan, some.ids, frame.columns) for key, frame in some.values.items()}
    values[m][name] = curve.to_numpy()
    on_curve = {"age": curve["age"].to_numpy(), "sex": curve["sex"].item(), "site": curve["site"].item()}
    covariates = pd.DataFrame(on_curve, index=some.ids)
    return dataclasses.replace(some, values=values, covariates=covariates)


def test_the_z_of_a_value_on_a_curve_is_that_of_its_centile(normative, cohort):
    curves = mm.centiles(normative, REGION, (0.1, *CENTILES, 99.9), at=AT, points=20)
    for q, curve in zip(curves["centile"].to_numpy(), curves, strict=True):
        z = normative.deviations(people_on(curve, cohort), "normative")["z"].sel(region=REGION)
        # covariates and values are float32 in a batch: one part in 10^7 of 1000 units, 10^-5 SD
        np.testing.assert_allclose(z, special.ndtri(q / 100), atol=1e-3)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_raw_z_of_a_quantile_is_the_one_asked_for(cohort, likelihood):
    model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(4,), likelihood=likelihood, members=2)
    batch, region = model.preprocess(cohort.test), 3
    predictive = Predictive(model=model, normative_draws=32)
    for z in (-6.0, -1.0, 0.0, 3.0):
        x = predictive.quantile(batch, np.full((1, len(batch), 1), z), "cortical", [region])
        values = {**batch.values, "cortical": batch.values["cortical"].double()}
        values["cortical"][:, region] = values["cortical"].new_tensor(x[0, :, 0])
        found = predictive(dataclasses.replace(batch, values=values).double(), "normative").z
        np.testing.assert_allclose(found[:, region], z, atol=1e-6)


def test_curves_increase_with_the_centile(normative):
    for region in normative.preprocess.names[::5]:
        curves = mm.centiles(normative, region, (0.01, 1, 49.9, 50, 50.1, 99, 99.99), at=AT, points=8)
        assert (curves.diff("centile") > 0).all()
        assert np.isfinite(curves).all()


def test_several_regions_at_once_are_each_alone(normative):
    names = [normative.preprocess.names[i] for i in (14, 2, 5)]
    several = mm.centiles(normative, names, (5, 50, 95), at=AT, points=6)
    assert several.dims == ("region", "centile", "age")
    for name in names:
        alone = mm.centiles(normative, name, (5, 50, 95), at=AT, points=6)
        np.testing.assert_allclose(several.sel(region=name), alone, rtol=1e-7)
    quick = mm.centiles(normative, names, (5, 50, 95), at=AT, points=6, draws=128)
    sd = several.sel(centile=95) - several.sel(centile=50)
    assert float((abs(quick - several) / sd).max()) < 0.05  # 128 draws of a Sobol set, not 256


def test_curves_are_those_of_the_truth_where_it_is_known():
    simulated = mm.simulate(healthy=1500, patients=4, regions={"cortical": 8, "hippocampal": 4}, latents=2, seed=3)
    cohort = simulated.to_cohort()
    model = mm.MMVAE.for_cohort(cohort, latent_dim=2, hidden=(8,))
    mm.fit(model, cohort.train, mm.TrainConfig(epochs=8), progress=False)
    norm = mm.NormativeModel(model, normative_draws=512).calibrate(cohort.calibrate, ("normative",))
    errors = []
    for j, region in enumerate(norm.preprocess.names):
        curves = mm.centiles(norm, region, (5, 50, 95), at={"sex": "M"}, points=12)
        people = pd.DataFrame({"age": curves["age"].to_numpy(), "sex": "M", "site": "site-1"})
        mean, sd = (part[:, j] for part in simulated.truth.norm(people))
        errors.append((curves.to_numpy() - mean) / sd - special.ndtri([0.05, 0.5, 0.95])[:, None])
    # 300 calibration and 810 training controls: the error of a mean is about .06 SD, that of a 5 % centile about .08
    rms = np.sqrt(np.square(errors).mean((0, 2)))
    assert rms[1] < 0.1
    assert (rms[[0, 2]] < 0.14).all()


def test_a_chart_of_an_adapted_site_is_that_of_its_people(normative, cohort):
    moved = {m: frame + 200 for m, frame in cohort.test.values.items()}
    local = dataclasses.replace(cohort.test, values=moved, covariates=cohort.test.covariates.assign(site="Basel"))
    charts = [
        mm.centiles(norm, REGION, (50,), at={**AT, "site": site}, points=5)
        for norm, site in ((normative, "Bern"), (normative.adapt(local), "Basel"))
    ]
    # 2 SD up; 40 controls: .16 SD, or 16 units, and shrinkage
    np.testing.assert_allclose(charts[1] - charts[0].to_numpy(), 200, atol=80)


def test_the_people_of_a_chart_have_its_categories(normative, cohort):
    curves = mm.centiles(normative, REGION, (50,), at=AT, points=2)
    people = people_beside(curves, cohort.test)
    rows = cohort.test.covariates
    assert list(people.index) == list(rows.index[(rows["sex"] == "F") & (rows["site"] == "Bern")])
    assert (people["value"] == cohort.test.values["hippocampal"].loc[people.index, "hip_2"]).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"region": "hip_2"}, "region: 'hip_2'; expected one of"),
        ({"centiles": (50, 5)}, "expected increasing centiles between 0 and 100"),
        ({"centiles": (0, 50)}, "expected increasing centiles"),
        ({"points": 1}, "at 1 points; expected"),
        ({"by": "sex"}, r"by: 'sex'; expected one of \['age'\]"),
        ({"at": {"sex": "F"}}, r"at: \['site'\] missing or not needed"),
        ({"at": {**AT, "icv": 1.0}}, r"at: \['icv'\] missing or not needed"),
        ({"at": {**AT, "sex": "X"}}, "covariate 'sex'"),
        ({"at": {**AT, "site": "Basel"}}, r"covariate 'site'.*Adapt the norm"),
    ],
)
def test_a_chart_of_what_the_norm_does_not_know_is_refused(normative, change, match):
    with pytest.raises(InputError, match=match):
        mm.centiles(normative, **{"region": REGION, "at": AT, **change})


def test_a_number_beyond_training_and_an_uncalibrated_kind_are_refused(norm, cohort):
    with pytest.raises(InputError, match="a norm not calibrated for kind 'normative'"):
        mm.centiles(norm, REGION, at=AT)
    with_icv = cohort.covariates.assign(icv=np.linspace(1000, 1800, len(cohort)))
    sized = dataclasses.replace(cohort, covariates=with_icv, kinds={**cohort.kinds, "icv": "linear"})
    model = mm.MMVAE.for_cohort(sized, latent_dim=2, hidden=(4,))
    sized = mm.NormativeModel(model, normative_draws=16).calibrate(sized.calibrate, ("normative",))
    with pytest.raises(InputError, match=r"at: icv: 3000; expected 1\d+(\.\d+)? to 1\d+"):
        mm.centiles(sized, REGION, at={**AT, "icv": 3000})
    assert mm.centiles(sized, REGION, by="icv", at={**AT, "age": 60}).dims == ("centile", "icv")


def test_the_curves_of_a_profile_are_those_of_its_covariates(normative, cohort):
    curves = profile_centiles(normative, cohort.calibrate, cohort.test, points=3)
    profiles = set(zip(curves["sex"].to_numpy(), curves["site"].to_numpy(), strict=True))
    assert profiles == set(cohort.test.covariates[["sex", "site"]].itertuples(index=False, name=None))
    profile = curves.isel(profile=1)
    at = {name: str(profile[name].item()) for name in ("sex", "site")}
    alone = mm.centiles(normative, REGION, (5, 25, 50, 75, 95), at=at, points=3, draws=256)
    np.testing.assert_allclose(profile["value"].sel(region=REGION), alone, rtol=1e-6)  # raw z is right to 1e-7


def test_a_norm_of_another_kind_keeps_its_kinds(norm, cohort):
    before = norm.kinds
    assert "value" in profile_centiles(norm, cohort.calibrate, cohort.test, points=2)
    assert norm.kinds == before


def test_without_a_covariate_that_has_a_range_there_are_no_curves(cohort, norm):
    of_sex = dataclasses.replace(cohort, covariates=cohort.covariates[["sex"]], kinds={"sex": "category"})
    model = mm.MMVAE.for_cohort(of_sex, latent_dim=2, hidden=(4,))
    assert not profile_centiles(mm.NormativeModel(model), of_sex.calibrate, of_sex.test)
