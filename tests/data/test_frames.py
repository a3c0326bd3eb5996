"""Cells: one normal form of text and numbers, columns and ids by name."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mmnorm.core.errors import InputError, check_known, hint
from pyro_mmnorm.data.frames import as_numbers, as_text, by_id, column_of, counted, named, text_of


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1, "1"),
        (3.0, "3"),
        ("1.0", "1"),
        (np.float64(-2.0), "-2"),
        (0.5, "0.5"),
        (True, "true"),
        (np.True_, "true"),
        ("TRUE", "true"),
        (" CN ", "CN"),
        ("007", "007"),
        ("None", "None"),
        (None, ""),
        (np.nan, ""),
        (pd.NA, ""),
        (pd.NaT, ""),
        ("n/a", ""),
        ("  ", ""),
    ],
)
def test_cells_have_one_normal_form(cell, text):
    assert text_of(cell) == text


@settings(max_examples=50, deadline=None)
@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_the_normal_form_is_a_fixed_point(cell):
    assert text_of(text_of(cell)) == text_of(cell)


def test_a_column_of_numbers_and_the_same_column_as_text_are_equal():
    numbers = pd.Series([1.0, 2.0, None])
    assert as_text(numbers).tolist() == as_text(pd.Series(["1", "2.0", ""])).tolist() == ["1", "2", ""]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_survive_as_text(numbers):
    """To one unit in the last place: pandas before 3.1 rounds the last bit of some numbers of 17 digits."""
    read = as_numbers(pd.Series([repr(x) for x in numbers]), "t").to_numpy()
    np.testing.assert_array_max_ulp(read, np.array(numbers), maxulp=1)


@pytest.mark.parametrize(
    "column", [pd.Series([1, None], dtype="Int64"), pd.Series(["1", " NA "]), pd.Series([1, np.nan])]
)
def test_empty_cells_are_not_observed(column):
    np.testing.assert_array_equal(as_numbers(column, "t"), [1.0, np.nan])


@pytest.mark.parametrize(
    "cell", ["1,2", "1_000", "3 mm", "inf", "-Infinity", "1e999", -float("inf"), pd.Timestamp("2020-01-01")]
)
def test_a_cell_that_is_not_a_finite_number_is_refused_with_row_and_column(cell):
    column = pd.Series([cell], index=["sub-7"], name="insula")
    with pytest.raises(
        InputError, match=r"modality 'area', column 'insula', row 'sub-7': '.+'; expected a finite number"
    ):
        as_numbers(column, "modality 'area'")


def test_a_column_is_found_once_or_refused():
    frame = pd.DataFrame([[70, 1, 2]], columns=["age", "dx", "dx"])
    assert column_of(frame, "age", "people").tolist() == [70]
    with pytest.raises(InputError, match=r"people: column 'Agee' is absent; .*'age', 'dx', 'dx'. Did you mean 'age'"):
        column_of(frame, "Agee", "people")
    with pytest.raises(InputError, match=r"column 'dx' occurs 2 times"):
        column_of(frame, "dx", "people")


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"id": [" 007", "8 "], "x": [1, 2]}),
        pd.DataFrame({" id ": ["007", 8], "x": [1, 2]}),
        pd.DataFrame({"x": [1, 2]}, index=pd.Index(["007", 8], name="id")),
        pd.DataFrame({"x": [1, 2]}, index=["007", "8"]),
    ],
)
def test_ids_are_text_from_a_column_or_the_index(frame):
    out = by_id(frame, "id", "t")
    assert out.index.tolist() == ["007", "8"]
    assert out.index.name == "id"
    assert list(out) == ["x"]


def test_ids_keep_leading_zeros_and_whole_numbers_lose_the_decimal_point():
    assert by_id(pd.DataFrame({"id": ["007", 7, 8.0]}), "id", "t").index.tolist() == ["007", "7", "8"]
    assert by_id(pd.DataFrame({"x": [1]}, index=[7]), None, "t").index.tolist() == ["7"]


@pytest.mark.parametrize(
    ("frame", "key", "message"),
    [
        (
            pd.DataFrame({"subject": [1]}),
            "Subject_",
            r"id column 'Subject_' is absent; .* columns are 'subject'.*'subject'",
        ),
        (pd.DataFrame({"x": [1]}), None, r"t: rows without ids"),
        (pd.DataFrame({"id": ["a", "", None]}), "id", r"t: 2 rows without an id"),
        (pd.DataFrame({"id": ["b", "a", " a", "b"]}), "id", r"t: duplicated ids 'a', 'b'"),
    ],
)
def test_invalid_ids_are_refused(frame, key, message):
    with pytest.raises(InputError, match=message):
        by_id(frame, key, "t")


def test_unknown_values_are_refused():
    with pytest.raises(InputError, match=r"kind: 'splin'; expected one of spline, linear. Did you mean 'spline'"):
        check_known("kind", "splin", ("spline", "linear"))


def test_names_and_counts_are_short():
    assert named([]) == "nothing"
    assert named("abcde", 2) == "'a', 'b' and 3 more"
    assert (counted(0, "row"), counted(1, "row")) == ("0 rows", "1 row")
    assert hint("zzz", ["age"], "look") == "look"
