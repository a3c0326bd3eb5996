"""Preprocessing: fitted on training controls only, regions by name, unknown input refused."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.covariates import Term, natural_spline
from pyro_mmnorm.data.preprocess import Preprocess


def test_training_controls_are_standardised(cohort):
    batch = Preprocess.fit(cohort.train)(cohort.train)
    for x in batch.values.values():
        np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)  # float32
        np.testing.assert_allclose(x.std(0, correction=0), 1, atol=1e-5)


def test_only_training_controls_are_used_for_the_fit(cohort):
    shifted = {m: frame.where(cohort.split == "train", frame * 3 + 7) for m, frame in cohort.values.items()}
    other = dataclasses.replace(cohort, values=shifted)
    assert Preprocess.fit(cohort.train) == Preprocess.fit(other.train)


def test_units_are_restored(cohort):
    preprocess = Preprocess.fit(cohort.train)
    x = preprocess(cohort.test).values["cortical"].numpy()
    np.testing.assert_allclose(
        preprocess.to_units("cortical", x, cohort.test), cohort.test.values["cortical"], rtol=1e-5
    )


def test_a_spline_is_linear_beyond_its_knots_and_smooth_within():
    knots = np.array([0.0, 1.0, 2.0, 4.0])
    x = np.linspace(-3, 8, 1101)
    second = np.diff(natural_spline(x, knots), 2, axis=0) / 0.01**2
    outside = (x[1:-1] < 0) | (x[1:-1] > 4)
    assert np.abs(second[outside]).max() < 1e-6
    assert np.abs(np.diff(second, axis=0)).max() < 1  # no jump in the second derivative: steps shrink with the grid


def test_regions_are_matched_by_name_in_any_order(cohort):
    preprocess = Preprocess.fit(cohort.train)
    turned = {m: frame[frame.columns[::-1]] for m, frame in cohort.values.items()}
    a, b = preprocess(cohort), preprocess(dataclasses.replace(cohort, values=turned))
    assert all(a.values[m].equal(b.values[m]) for m in a.values)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.drop(columns="cor_3"), "1 regions missing, such as 'cor_3'"),
        (lambda f: f.assign(insula=1.0), "1 regions unknown, such as 'insula'"),
    ],
)
def test_missing_and_unknown_regions_are_refused(cohort, change, match):
    values = {**cohort.values, "cortical": change(cohort.values["cortical"])}
    with pytest.raises(InputError, match=match):
        Preprocess.fit(cohort.train)(dataclasses.replace(cohort, values=values))


def test_a_modality_that_the_new_people_lack_is_not_observed(cohort):
    values = {"cortical": cohort.values["cortical"]}
    batch = Preprocess.fit(cohort.train)(dataclasses.replace(cohort, values=values))
    assert not batch.observed["hippocampal"].any()


def test_an_unknown_modality_is_refused(cohort):
    values = {**cohort.values, "pet": cohort.values["cortical"]}
    with pytest.raises(InputError, match=r"modalities: .*'pet'.*expected some of"):
        Preprocess.fit(cohort.train)(dataclasses.replace(cohort, values=values))


def test_a_category_unseen_in_training_is_refused_by_name(cohort):
    covariates = cohort.covariates.assign(site=cohort.covariates["site"].replace("Bern", "Berne"))
    with pytest.raises(InputError, match=r"covariate 'site': \d+ subjects of 'Berne' unseen.*Did you mean 'Bern'"):
        Preprocess.fit(cohort.train)(dataclasses.replace(cohort, covariates=covariates))


def test_an_admitted_site_has_zeros_in_its_columns_and_others_are_still_refused(cohort):
    preprocess = Preprocess.fit(cohort.train)
    covariates = cohort.covariates.assign(site="Zug")
    new = dataclasses.replace(cohort, covariates=covariates)
    with pytest.raises(InputError, match=r"'Zug' unseen in training.*Adapt the norm .*unseen_site: population"):
        preprocess.design(new)
    columns = preprocess.groups["site"]
    for admitted in (("Zug",), None):
        other = preprocess.admitting(admitted)
        design, trained = other.design(new), preprocess.design(cohort)
        assert not design[:, columns].any()
        assert np.array_equal(np.delete(design, columns, 1), np.delete(trained, columns, 1))
        assert np.array_equal(other.design(cohort), trained)
        assert Preprocess.from_record(json.loads(json.dumps(other.to_record()))) == other
    with pytest.raises(InputError, match=r"'Zug' unseen"):
        preprocess.admitting(("Basel",)).design(new)
    men = dataclasses.replace(cohort, covariates=cohort.covariates.assign(sex="man"))
    with pytest.raises(InputError, match=r"covariate 'sex'.*Exclude those subjects"):
        preprocess.admitting(None).design(men)


def test_people_outside_the_range_of_training_are_found(cohort):
    preprocess = Preprocess.fit(cohort.train)
    assert not preprocess.outside(cohort.train).to_numpy().any()
    ends = cohort.train.covariates["age"].min(), cohort.train.covariates["age"].max()
    some = cohort.test[cohort.test.ids[:4]]
    ages = some.covariates.assign(age=[ends[0], ends[0] - 1e-3, ends[1], ends[1] + 1e-3])
    changed = dataclasses.replace(some, covariates=ages)
    assert preprocess.outside(changed)["age"].tolist() == [False, True, False, True]
    with pytest.raises(InputError, match="covariate 'age': 2 subjects outside the range of training"):
        preprocess.outside(changed, refuse=True)
    assert preprocess.sites == ("Aachen", "Bern")


def test_an_absent_covariate_is_refused(cohort):
    with pytest.raises(InputError, match=r"covariates: 'age' absent"):
        Preprocess.fit(cohort.train)(dataclasses.replace(cohort, covariates=cohort.covariates.drop(columns="age")))


def test_constant_and_rare_regions_are_excluded_and_ignored_later(cohort):
    frame = cohort.values["cortical"].assign(flat=5.0, rare=np.nan)
    frame.loc[frame.index[:3], "rare"] = [1.0, 2.0, 3.0]
    changed = dataclasses.replace(cohort, values={**cohort.values, "cortical": frame})
    preprocess = Preprocess.fit(changed.train)
    assert preprocess.set_aside["cortical"] == ("flat", "rare")
    assert preprocess(changed).values["cortical"].shape[1] == 12
    nothing = dataclasses.replace(cohort, values={"cortical": frame[["flat"]]})
    with pytest.raises(InputError, match="no region that varies among the training controls"):
        Preprocess.fit(nothing.train)


def test_covariates_without_variance_are_refused():
    with pytest.raises(InputError, match="70 for every training control"):
        Term.fit(pd.Series([70.0] * 40, name="age"), "linear")
    with pytest.raises(InputError, match="fewer than 3 distinct knots"):
        Term.fit(pd.Series([70.0] * 20 + [71.0] * 20, name="age"), "spline")


def test_its_record_restores_it(cohort):
    preprocess = Preprocess.fit(cohort.train)
    assert Preprocess.from_record(json.loads(json.dumps(preprocess.to_record()))) == preprocess


@pytest.mark.parametrize(("scaling", "low", "high"), [("minmax", 0, 1), ("mean", 0.2, 2.0)])
def test_regions_are_scaled_as_configured(cohort, scaling, low, high):
    x = Preprocess.fit(cohort.train, scaling=scaling)(cohort.train).values["cortical"]
    assert low <= x.min()
    assert x.max() <= high
    if scaling == "mean":
        assert x.mean(0).sub(1).abs().max() < 1e-5
    with pytest.raises(InputError, match="scaling 'log'; expected standard, minmax, or mean"):
        Preprocess.fit(cohort.train, scaling="log")


def test_one_hot_has_one_column_per_whole_number_of_training_and_refuses_others():
    """The published encoding of age, which is undefined for an age absent from training (PAPER.md, point 6)."""
    term = Term.fit(pd.Series([61.2, 47.9, 61.9, 9.0], name="age"), "one_hot")
    assert term.levels == ("9", "47", "61")
    got = term(pd.Series([61.0, 9.99, 47.5], name="age"))
    np.testing.assert_array_equal(got, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    with pytest.raises(
        InputError, match=r"2 subjects of '48', '62' unseen in training, such as 'b'; expected one of '9', '47'"
    ):
        term(pd.Series({"a": 61.5, "b": 62.0, "c": 48.0}, name="age"))


def test_one_hot_survives_the_record_and_works_in_a_cohort(frames):
    values, people = frames
    cohort = Cohort.from_frames(
        values, people.assign(age=people["age"].clip(55, 60)).reset_index(), id="participant_id",
        covariates={"age": "one_hot", "sex": "category"}, reference=("diagnosis", ["CN"]), seed=1,
    )  # fmt: skip
    fitted = Preprocess.fit(cohort.train)
    assert fitted.width == 6 + 2
    again = Preprocess.from_record(json.loads(json.dumps(fitted.to_record())))
    np.testing.assert_array_equal(again.design(cohort), fitted.design(cohort))
    np.testing.assert_array_equal(fitted.design(cohort).sum(1), 2)
