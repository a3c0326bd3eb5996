"""Tables on disk: formats, ragged rows, FreeSurfer's id columns, and the cohort of a configuration."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyro_mmnorm.config import parse_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data import tables
from pyro_mmnorm.data.frames import as_numbers
from pyro_mmnorm.data.tables import input_files, read_cohort, read_frames, read_table

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
N = 60
IDS = [f"{i:03d}" for i in range(N)]
CONFIG = """
seed: 4
data:
  root: {root}
  participants: people.tsv
  id: subject
  modalities:
    thickness: {{tables: [lh.tsv, rh.tsv]}}
    volume: {{tables: [aseg.csv], exclude: ["*vent*"]}}
  covariates: {{age: {{column: AGE, kind: spline}}, sex: category}}
  reference: {{column: dx, values: [0]}}
  split: {{calibrate: 0.2, test: 0.2}}
"""


@pytest.fixture
def root(tmp_path):
    """A small study in the format of FreeSurfer's table commands."""
    draw = np.random.default_rng(0)
    for hemi in ("lh", "rh"):
        frame = pd.DataFrame({f"{hemi}_insula": draw.normal(3, 0.2, N).round(4), "eTIV": draw.normal(1.5e6, 1e5, N)})
        frame.index = pd.Index(IDS, name=f"{hemi}.aparc.thickness")
        frame.to_csv(tmp_path / f"{hemi}.tsv", sep="\t")
    aseg = pd.DataFrame({"Left-Hippocampus": draw.normal(4000, 300, N), "4th-vent": draw.normal(900, 90, N)})
    aseg.assign(subject=IDS).iloc[::-1].to_csv(tmp_path / "aseg.csv", index=False)
    people = pd.DataFrame({"subject": IDS, "AGE": draw.uniform(20, 80, N), "sex": ["F", "M"] * (N // 2)})
    people.assign(dx=[0.0] * 50 + [1.0] * 10).to_csv(tmp_path / "people.tsv", sep="\t", index=False)
    return tmp_path


def config_of(root, **changes):
    text = CONFIG.format(root=root)
    for old, new in changes.items():
        text = text.replace(old, new)
    return parse_config(text)


def test_csv_tsv_and_parquet_give_the_same_table(tmp_path):
    frame = pd.DataFrame({"id": ["007", "8"], "x": ["1.50", ""]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.TSV", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.TSV", "a.parquet"):
        assert read_table(tmp_path / name).to_dict("list") == {"id": ["007", "8"], "x": ["1.50", ""]}


def reference_reader(text):
    """Every cell as text, by Python's own csv module, without a header."""
    header, *rows = csv.reader(text.splitlines(keepends=True), strict=True)
    return header, list(zip(*(row for row in rows if row), strict=True))


def outcome(column):
    """The numbers of a column (-0 is 0), or the message that refuses it."""
    try:
        return (as_numbers(column.rename("x"), "t") + 0.0).tolist()
    except InputError as error:
        return str(error)


CELL = st.one_of(
    st.floats().map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map("{:.25g}".format),
    st.integers().map(str),
    st.sampled_from(
        ["", " ", "NA", "n/a", "#N/A", "<NA>", "NaN", "NULL", "None", "na", "-", "-9999", "007", "1.50", "+3", ".5",
         "1.", "1e999", "-inf", "Infinity", "0x10", "1_000", "1,5", " 2 ", "\t3", "true", "False", "2020-01-01", "1d5",
         "-0", "18446744073709551616", "9007199254740993", "CN", "a\nb", 'q"q', "２"]
    ),
)  # fmt: skip
TABLE = st.integers(1, 4).flatmap(lambda d: st.lists(st.tuples(CELL, *[CELL] * d), min_size=1, max_size=12))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=TABLE, cells=st.sampled_from([1, 7, 500_000]))
@example(rows=[("a", "1", "2"), ("b", "x", "3"), ("c", "2", "4")], cells=1)
def test_columns_of_numbers_equal_their_text(tmp_path, monkeypatch, rows, cells):
    """With `ids`: the same numbers, or the same error, as from the text of each cell, for blocks of any length."""
    monkeypatch.setattr(tables, "CELLS", cells)
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", *("x" for _ in rows[0][1:])], *rows])
    header, columns = reference_reader((tmp_path / "a.csv").read_bytes().decode())
    plain, table = read_table(tmp_path / "a.csv"), read_table(tmp_path / "a.csv", ids="id")
    assert list(plain) == list(table) == header
    assert table.iloc[:, 0].tolist() == list(columns[0])
    for place, cells_of in enumerate(columns):
        assert plain.iloc[:, place].tolist() == list(cells_of)
        expected = outcome(pd.Series(cells_of, dtype=str))
        got = outcome(table.iloc[:, place])
        if isinstance(expected, str):
            assert got == expected
        else:  # pandas before 3.1 rounds the last bit of some numbers of 17 digits
            np.testing.assert_array_max_ulp(np.array(got), np.array(expected), maxulp=1)
        assert (table.dtypes.iloc[place].kind == "f") == (place > 0 and not isinstance(expected, str))


def test_ids_and_the_first_column_stay_text_beside_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("first,x, id ,y\n01,1.50,007,low\n02,,8,2\n")
    table = read_table(tmp_path / "a.csv", ids="id")
    assert table["first"].tolist() == ["01", "02"]
    assert table[" id "].tolist() == ["007", "8"]
    assert table["y"].tolist() == ["low", "2"]
    np.testing.assert_array_equal(table["x"], [1.5, np.nan])


def test_csv_needs_no_pyarrow_and_parquet_names_the_extra(tmp_path):
    """In an interpreter without pyarrow."""
    (tmp_path / "a.csv").write_text("id,x,y\n007,1.5,low\n")
    pd.DataFrame({"id": ["007"]}).to_parquet(tmp_path / "a.parquet")
    code = f"""
import sys
sys.modules["pyarrow"] = None
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.tables import read_table
table = read_table({str(tmp_path / "a.csv")!r}, ids="id")
assert table.to_dict("list") == {{"id": ["007"], "x": [1.5], "y": ["low"]}}, table
try:
    read_table({str(tmp_path / "a.parquet")!r})
except InputError as error:
    sys.stdout.write(str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "a.parquet: parquet, but pyarrow is not installed; expected pyarrow. Install pyro-mmnorm[parquet]" in (
        done.stdout
    ), done.stderr


def test_an_index_in_parquet_becomes_the_first_column(tmp_path):
    frame = pd.DataFrame({"x": [1.5, 2.5]}, index=pd.Index(["007", "8"], name="id"))
    frame.to_parquet(tmp_path / "a.parquet")
    frame.rename_axis(index=None).to_parquet(tmp_path / "b.parquet")
    assert list(read_table(tmp_path / "a.parquet")) == ["id", "x"]
    assert list(read_table(tmp_path / "b.parquet")) == ["", "x"]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("\ufeffid,x\n1,2\n", ["id", "x"]),
        ("id,x\r\n1,2\r\n\r\n", ["id", "x"]),
        ('id,"x, y"\n1,"2"\n', ["id", "x, y"]),
        ("id,eTIV,eTIV\n1,2,2\n", ["id", "eTIV", "eTIV"]),
    ],
)
def test_text_of_spreadsheets_is_read(tmp_path, content, columns):
    (tmp_path / "a.csv").write_text(content, encoding="utf-8", newline="")
    assert read_table(tmp_path / "a.csv").columns.tolist() == columns
    assert read_table(tmp_path / "a.csv").iloc[0].tolist() == ["1", "2", "2"][: len(columns)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"x", r"ending '.xlsx'; expected a table that ends in .csv, .tsv, .parquet"),
        ("a.csv", b"id,x\n1,2\n2\n", r"a.csv: 1 cells in line 3, 2 in the header; expected as many cells in every row"),
        ("a.csv", b"id,x\n1,2,\n", r"3 cells in line 2, 2 in the header"),
        ("a.csv", b"id,x\n1,\xe4\n", r"a.csv: no UTF-8.*Save it as CSV UTF-8"),
        ("a.csv", b'id,x\n1,"2\n', r"a.csv: unexpected end of data; expected text with closed quotes"),
        ("a.csv", b"id,x\n", r"a.csv: no row below the header"),
        ("b.csv", b"", r"b.csv: no row below the header"),
        (
            "a.csv",
            b"id\tx\n1\t2\n",
            r"a.csv: one column only, .* A .csv is separated by commas",
        ),
        ("a.tsv", b"id,x\n1,2\n", r"a.tsv: one column only, 'id,x'"),
        ("a.parquet", b"id,x\n1,2\n", r"a.parquet: .*; expected a parquet file"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


def test_a_missing_file_shows_a_similar_name(root):
    with pytest.raises(InputError, match=r"peopel.tsv: no such file; expected a table. Did you mean 'people.tsv'"):
        read_table(root / "peopel.tsv")
    with pytest.raises(InputError, match=r"no such folder; expected a table; .* exists. Check data.root"):
        read_table(root / "stats" / "deep" / "people.tsv")


def test_a_configuration_becomes_a_cohort(root):
    cohort = read_cohort(config_of(root))
    assert cohort.ids.tolist() == IDS
    assert cohort.regions == ["thickness.lh_insula", "thickness.rh_insula", "volume.Left-Hippocampus"]
    assert list(cohort.covariates) == ["age", "sex"]
    assert cohort.split.value_counts().to_dict() == {"train": 30, "calibrate": 10, "test": 10, "target": 10}
    assert cohort.set_aside == {"thickness": {"eTIV": "total"}, "volume": {"4th-vent": "excluded"}}


def test_values_of_different_tables_are_joined_by_id(root):
    cohort, aseg = read_cohort(config_of(root)), pd.read_csv(root / "aseg.csv", dtype={"subject": str})
    expected = aseg.set_index("subject")["Left-Hippocampus"].loc[IDS]
    np.testing.assert_array_equal(cohort.values["volume"]["Left-Hippocampus"], expected)


def test_a_path_and_a_configuration_are_equivalent(root):
    (root / "run.yaml").write_text(CONFIG.format(root="."))
    one, other = read_cohort(root / "run.yaml"), read_cohort(config_of(root))
    pd.testing.assert_series_equal(one.split, other.split)
    pd.testing.assert_series_equal(read_cohort(str(root / "run.yaml")).split, other.split)


def test_the_seed_of_the_configuration_determines_the_split(root):
    one, other = read_cohort(config_of(root)), read_cohort(config_of(root, **{"seed: 4": "seed: 5"}))
    assert not one.split.equals(other.split)


def test_new_people_are_read_for_scoring(root):
    for name in ("lh.tsv", "rh.tsv", "people.tsv"):
        lines = (root / name).read_text().splitlines(keepends=True)
        (root / name).write_text("".join(lines[:3]))
    cohort = read_cohort(config_of(root), everyone="target")
    assert cohort.split.to_dict() == {"000": "target", "001": "target"}


@pytest.mark.parametrize(
    "corner", ["Measure:volume", "lh.aparc.area", "rh.aparc.a2009s.thickness", "Subject", "volume", ""]
)
def test_the_first_column_of_freesurfer_is_the_id(root, corner):
    lines = (root / "lh.tsv").read_text().splitlines(keepends=True)
    (root / "lh.tsv").write_text(lines[0].replace("lh.aparc.thickness", corner) + "".join(lines[1:]))
    assert len(read_cohort(config_of(root))) == N


def test_another_first_column_is_not_an_id(root):
    text = (root / "lh.tsv").read_text()
    (root / "lh.tsv").write_text(text.replace("lh.aparc.thickness", "subjects"))
    with pytest.raises(InputError, match=r"lh.tsv: id column 'subject' is absent; .*Did you mean 'subjects'"):
        read_cohort(config_of(root))


def test_a_table_with_an_id_twice_is_named(root):
    with (root / "rh.tsv").open("a") as file:
        file.write("007\t3.1\t1500000\n")
    with pytest.raises(InputError, match=r"rh.tsv: duplicated ids '007'"):
        read_cohort(config_of(root))


def test_a_region_in_two_tables_must_be_the_same(root):
    text = (root / "rh.tsv").read_text()
    (root / "rh.tsv").write_text(text.replace("rh_insula", "lh_insula"))
    with pytest.raises(InputError, match=r"modality 'thickness': two different columns named 'lh_insula'"):
        read_cohort(config_of(root))


def test_a_person_without_a_hemisphere_lacks_that_hemisphere_only(root):
    lines = (root / "rh.tsv").read_text().splitlines(keepends=True)
    (root / "rh.tsv").write_text("".join(lines[:1] + lines[2:]))
    first = read_cohort(config_of(root)).values["thickness"].iloc[0]
    assert first.isna().to_dict() == {"lh_insula": False, "rh_insula": True}


def test_frames_are_those_on_disk(root):
    tables, people = read_frames(config_of(root).data)
    assert list(tables["thickness"]) == ["lh_insula", "eTIV", "rh_insula", "eTIV"]
    assert tables["volume"].index.name == "subject"
    assert people["subject"].tolist() == IDS


def test_input_files_are_listed_once_each(root):
    config = config_of(root, **{"aseg.csv": "lh.tsv"})
    assert input_files(config) == [root / name for name in ("people.tsv", "lh.tsv", "rh.tsv")]


@pytest.mark.parametrize(("name", "folder", "n"), [("abide", "abide_fs6", 980), ("aomic", "aomic_piop2", 224)])
def test_open_data_are_read_by_their_configuration(shared, monkeypatch, name, folder, n):
    """The real tables: 68 regions per cortical measure and 34 of aseg, without flagged people and two without age."""
    monkeypatch.setenv(f"MMNORM_{name.upper()}", str(shared / "data" / folder))
    cohort = read_cohort(CONFIGS / f"{name}.yaml")
    assert len(cohort) == n
    assert {m: len(frame.columns) for m, frame in cohort.values.items()} == {
        "thickness": 68,
        "area": 68,
        "volume": 68,
        "subcortical": 34,
    }
