"""Participants: inclusion, reference, groups and covariates."""

import numpy as np
import pandas as pd
import pytest

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.participants import (
    check_label_leakage,
    covariate_columns,
    excluded,
    filled_labels,
    group_labels,
    joined,
    plain_column,
    reference_subjects,
    score_columns,
)


def people(**columns):
    return pd.DataFrame(columns, index=list("abcdefgh")[: len(next(iter(columns.values())))])


def test_rows_are_joined_by_id_and_sorted():
    notes = []
    area = pd.DataFrame({"id": ["c", "a", "x", "y"], "insula": [3, 1, 9, 9]})
    thickness = pd.DataFrame({"id": ["b", "a"], "insula": [2.2, 1.1]})
    participants = pd.DataFrame({"id": ["d", "c", "b", "a"], "age": [4, 3, 2, 1]})
    tables, who = joined({"area": area, "thickness": thickness}, participants, "id", notes)
    assert who["age"].to_dict() == {"a": 1, "b": 2, "c": 3}
    np.testing.assert_array_equal(tables["area"]["insula"], [1, np.nan, 3])  # b has no row: not observed
    np.testing.assert_array_equal(tables["thickness"]["insula"], [1.1, 2.2, np.nan])
    assert notes == [
        "modality 'area': 2 rows without a participant excluded: 'x', 'y'",
        "1 participant without a row in any modality excluded: 'd'",
    ]


def test_ids_without_a_match_are_shown_in_both_spellings():
    table = pd.DataFrame({"id": ["7", "8"], "insula": [1, 2]})
    participants = pd.DataFrame({"id": ["007", "008"]})
    with pytest.raises(InputError, match=r"modality 'area': no id in common .*: '7', '8' here, '007', '008' there"):
        joined({"area": table}, participants, "id", [])


@pytest.mark.parametrize("values", [[1], ["1"], ["1.0"], [1.0]])
@pytest.mark.parametrize("column", [[1, 2], ["1", "2"], [1.0, 2.0], ["1.0", " 2.0"]], ids=str)
def test_reference_values_are_compared_as_text(column, values):
    assert reference_subjects(people(dx=column), ("dx", values), needed=True).tolist() == [True, False]


def test_booleans_are_compared_in_any_spelling():
    for column in ([True, False], ["True", "False"], ["TRUE", "false"]):
        assert reference_subjects(people(well=column), ("well", [True]), needed=True).tolist() == [True, False]


def test_all_people_are_healthy_without_a_reference():
    assert reference_subjects(people(age=[1, 2]), None, needed=True).all()


def test_a_reference_without_subjects_shows_the_existing_values():
    frame = people(dx=["TD", "ASD", None])
    with pytest.raises(InputError, match=r"reference column 'dx': no subject with 'CN'; .*: 'ASD', 'TD'"):
        reference_subjects(frame, ("dx", ["CN"]), needed=True)
    assert not reference_subjects(frame, ("dx", ["CN"]), needed=False).any()
    with pytest.raises(InputError, match=r"column 'DX' is absent.*Did you mean 'dx'"):
        reference_subjects(frame, ("DX", ["CN"]), needed=True)


def test_flags_exclude_subjects_with_a_note():
    notes = []
    frame = people(flag=["True", "False", "true", None], dx=["CN", "CN", "AD", "AD"])
    healthy = frame["dx"] == "CN"
    assert excluded(frame, healthy, {"flag": [True]}, notes).tolist() == [True, False, True, False]
    assert excluded(frame, healthy, {"flag": [""]}, []).tolist() == [False, False, False, True]
    assert notes == ["1 reference and 1 other subjects excluded by flag"]
    with pytest.raises(InputError, match=r"participants: column 'flags' is absent.*Did you mean 'flag'"):
        excluded(frame, healthy, {"flags": [True]}, [])


def test_covariates_are_renamed_numbers_or_categories():
    frame = people(AGE=["70", "71.5"], sex=[1.0, 2.0], SITE=["01", "02"])
    terms = {"age": ("AGE", "spline"), "sex": ("sex", "category"), "site": ("SITE", "category")}
    out = covariate_columns(frame, terms, missing="error", notes=[])
    assert out["age"].dtype == np.float64
    assert out.to_dict("list") == {"age": [70.0, 71.5], "sex": ["1", "2"], "site": ["01", "02"]}


def test_without_covariates_nobody_is_excluded():
    assert len(covariate_columns(people(age=[1, 2]), {}, missing="error", notes=[])) == 2


@pytest.mark.parametrize("kind", ["linear", "category"])
def test_missing_covariates_are_refused_or_exclude(kind):
    frame, notes = people(age=["70", "n/a", "", "60"]), []
    with pytest.raises(InputError, match=r"covariate 'age': no value for 2 subjects: 'b', 'c'; .*set_aside"):
        covariate_columns(frame, {"age": ("age", kind)}, missing="error", notes=notes)
    out = covariate_columns(frame, {"age": ("age", kind)}, missing="set_aside", notes=notes)
    assert out.index.tolist() == ["a", "d"]
    assert notes == ["2 subjects without age excluded: 'b', 'c'"]


def test_codes_of_missing_values_are_not_interpreted():
    out = covariate_columns(people(age=[-9999, 70]), {"age": ("age", "linear")}, missing="error", notes=[])
    assert out["age"].tolist() == [-9999.0, 70.0]


@pytest.mark.parametrize(
    ("terms", "missing", "message"),
    [
        ({"age": ("agee", "spline")}, "error", r"column 'agee' is absent.*Did you mean 'age'"),
        ({"age": ("age", "splin")}, "error", r"covariate 'age': 'splin'; expected one of spline, linear, category"),
        ({"dx": ("dx", "linear")}, "error", r"participants, column 'dx', row 'a': 'CN'; expected a finite number"),
        ({"age": ("age", "spline")}, "drop", r"missing_covariates: 'drop'; expected one of error, set_aside"),
        ({"gone": ("gone", "linear")}, "set_aside", r"participants: no subject left"),
    ],
)
def test_invalid_covariates_are_refused(terms, missing, message):
    frame = people(age=[70, 71], dx=["CN", "AD"], gone=["", ""])
    with pytest.raises(InputError, match=message):
        covariate_columns(frame, terms, missing=missing, notes=[])


def test_an_empty_diagnosis_is_refused():
    with pytest.raises(
        InputError, match=r"column 'dx': no value for 1 subject: 'b'; .*exclude_subjects: \{dx: \[''\]\}"
    ):
        filled_labels(people(dx=["CN", " "]), "dx")


def test_groups_without_a_column_are_reference_and_target():
    healthy = pd.Series([False, True], index=["a", "b"])
    label, order = group_labels(people(age=[1, 2]), healthy, None)
    assert label.tolist() == ["target", "reference"]
    assert order == ("reference", "target")
    assert group_labels(people(age=[1, 2]), healthy | True, None)[1] == ("reference",)


def test_groups_have_the_given_order_or_healthy_first():
    frame = people(dx=["AD", "CN", "SMC", "CN"])
    healthy = frame["dx"] == "CN"
    assert group_labels(frame, healthy, ("dx", ["SMC", "AD", "CN", "EMCI"]))[1] == ("SMC", "AD", "CN")
    assert group_labels(frame, healthy, ("dx", []))[1] == ("CN", "AD", "SMC")
    with pytest.raises(
        InputError, match=r"groups column 'dx': group 'SMC', such as for 'c'; expected one of 'CN', 'AD'"
    ):
        group_labels(frame, healthy, ("dx", ["CN", "AD"]))
    with pytest.raises(InputError, match=r"column 'dx': no value for 1 subject"):
        group_labels(people(dx=["CN", None]), healthy[:2], ("dx", []))


HEALTHY = pd.Series([True, True, True, False, False, False])
STAGE = pd.Series(["CN", "CN", "CN", "MCI", "AD", "AD"])


@pytest.mark.parametrize(
    ("column", "source", "message"),
    [
        ([70, 71, 72, 73, 74, 75], "dx", r"covariate 'c': column 'dx', which defines the reference"),
        (
            ["x", "x", "x", "y", "y", "y"],
            "code",
            r"values that are one to one with the reference",
        ),
        ([0, 0, 0, 1, 1, 1], "code", r"one to one.*do not show its effect"),
        (["0", "0", "0", "1", "2", "2"], "code", r"one to one"),
    ],
)
def test_the_diagnosis_is_refused_as_a_covariate_under_any_name(column, source, message):
    with pytest.raises(InputError, match=message):
        check_label_leakage(pd.DataFrame({"c": column}), {"c": source}, ["dx"], [HEALTHY, STAGE])


@pytest.mark.parametrize(
    "column", [["M", "F", "M", "F", "F", "F"], [70, 71, 72, 73, 74, 75], ["A", "B", "C", "D", "E", "E"]]
)
def test_other_covariates_are_accepted(column):
    check_label_leakage(pd.DataFrame({"c": column}), {"c": "code"}, ["dx"], [HEALTHY, STAGE])


def test_scores_are_numbers_with_a_direction():
    frame = people(MMSE=["29", "", "n/a"], note=["good", "", ""])
    np.testing.assert_array_equal(score_columns(frame, {"MMSE": "higher_is_better"})["MMSE"], [29.0, np.nan, np.nan])
    assert score_columns(frame, {}).shape == (3, 0)
    with pytest.raises(InputError, match=r"score 'MMSE': 'worse'; expected one of higher_is_worse, higher_is_better"):
        score_columns(frame, {"MMSE": "worse"})
    with pytest.raises(InputError, match=r"participants, column 'note', row 'a': 'good'"):
        score_columns(frame, {"note": "higher_is_worse"})
    with pytest.raises(InputError, match=r"column 'MMS' is absent.*Did you mean 'MMSE'"):
        score_columns(frame, {"MMS": "higher_is_better"})


def test_columns_to_adjust_for_are_numbers_or_categories():
    frame = people(snr=["1.5", "", "2"], rating=["OK", "", "fail"])
    np.testing.assert_array_equal(plain_column(frame, "snr"), [1.5, np.nan, 2.0])
    rating = plain_column(frame, "rating")
    assert rating.dropna().tolist() == ["OK", "fail"]
    assert rating.isna().tolist() == [False, True, False]
