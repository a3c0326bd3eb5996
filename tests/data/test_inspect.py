"""Inspection: summary of the data and problems before a run."""

import re

import numpy as np
import pandas as pd
import pytest

from pyro_mmnorm.config import parse_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.inspect import inspect_cohort, inspect_config

N = 80
IDS = [f"s{i:02d}" for i in range(N)]
CONFIG = """
data:
  root: {root}
  participants: people.csv
  id: id
  modalities: {{thickness: {{tables: [thickness.csv]}}, volume: {{tables: [volume.csv]}}}}
  covariates: {{age: spline, eTIV: linear, site: category}}
  reference: {{column: dx, values: [CN]}}
  groups: {{column: dx}}
"""


def frames():
    """Site C has only patients, one of them old with a very small head; a parcel failed; five people lack volumes."""
    draw = np.random.default_rng(0)
    thickness = pd.DataFrame(draw.normal(2.5, 0.2, (N, 2)), columns=["insula", "cuneus"], index=IDS)
    thickness.loc["s03", "insula"] = 0.0
    thickness.loc["s04", "cuneus"] = np.nan
    volume = pd.DataFrame({"Left-Hippocampus": draw.normal(4e3, 300, N), "eTIV": 1.0, "hole": 7.0}, index=IDS).iloc[5:]
    dx = ["CN"] * 60 + ["AD"] * 20
    people = pd.DataFrame({"age": draw.uniform(50, 80, N), "eTIV": draw.normal(1.5e6, 1e5, N), "dx": dx}, index=IDS)
    people.loc["s79", ["age", "eTIV"]] = 95.0, 12160.0
    people["site"] = ["A", "B"] * 30 + ["A"] * 15 + ["C"] * 5
    return {"thickness": thickness, "volume": volume}, people


@pytest.fixture
def inspection(tmp_path):
    tables, people = frames()
    for name, frame in {**tables, "people": people}.items():
        frame.to_csv(tmp_path / f"{name}.csv", index_label="id")
    return inspect_config(parse_config(CONFIG.format(root=tmp_path)))


def rows(frame):
    return [tuple(row) for row in frame.itertuples(index=False)]


def test_subjects_are_counted_by_group_and_split(inspection):
    assert list(inspection.subjects) == ["group", "train", "calibrate", "test", "target"]
    assert rows(inspection.subjects) == [("CN", 36, 12, 12, 0), ("AD", 0, 0, 0, 20)]


def test_regions_and_missing_cells_are_counted(inspection):
    assert rows(inspection.regions) == [("thickness", 2, 80, 2, 1.25), ("volume", 1, 75, 0, 0.0)]
    assert rows(inspection.patterns) == [("thickness + volume", 75), ("thickness", 5)]


def test_categories_and_ranges_are_listed_by_split(inspection):
    sites = inspection.categories.set_index("level")
    assert sites.loc["C", ["train", "calibrate", "test", "target"]].tolist() == [0, 0, 0, 5]
    assert sites[["train", "calibrate", "test"]].to_numpy().sum() == 60
    ages = inspection.ranges.query("covariate == 'age' and split == 'target'")
    assert ages["highest"].item() == 95.0


def test_excluded_columns_and_zeros_are_listed(inspection):
    assert rows(inspection.set_aside) == [("volume", "eTIV", "total"), ("volume", "hole", "constant")]
    assert rows(inspection.zeros) == [("thickness", "insula", 1)]
    assert rows(inspection.intracranial) == [("s79", "eTIV", 12160.0)]


def test_problems_are_reported_in_sentences(inspection):
    problems = "\n".join(inspection.problems)
    assert "covariate 'site': 'C' has no training control but 5 other subjects, who cannot be scored" in problems
    assert re.search(r"covariate 'age': \d+ subjects? outside the training range [\d.]+ to [\d.]+: 's", problems)
    assert (
        "modality 'thickness': 1 value of exactly 0, which FreeSurfer writes for a failed parcel: 'insula'" in problems
    )
    assert "covariate 'eTIV': 1 implausible intracranial volume, such as 12160 of 's79'" in problems


def test_a_rare_modality_is_a_problem():
    tables, people = frames()
    tables["volume"] = tables["volume"].iloc[50:]
    cohort = Cohort.from_frames(tables, people, reference=("dx", ["CN"]))
    assert any(p.startswith("modality 'volume': observed in") for p in inspect_cohort(cohort, tables).problems)


def test_a_clean_cohort_has_no_problem():
    tables, people = frames()
    tables = {m: frame.drop(index=["s03", "s79"], errors="ignore") for m, frame in tables.items()}
    cohort = Cohort.from_frames(tables, people, reference=("dx", ["CN"]))
    inspection = inspect_cohort(cohort, tables)
    assert inspection.problems == ()
    assert "problems\n- none\n" in inspection.to_text()
    assert "implausible intracranial volumes" not in inspection.tables


def test_text_contains_every_table_and_note(inspection):
    text = inspection.to_text()
    assert all(f"{title}\n" in text for title in inspection.tables)
    assert all(f"- {sentence}\n" in text for sentence in (*inspection.notes, *inspection.problems))
    assert len(inspection.tables) == 8


def test_inspection_refuses_the_same_input_as_a_run(tmp_path):
    with pytest.raises(InputError, match=r"thickness.csv: no such file"):
        inspect_config(parse_config(CONFIG.format(root=tmp_path)))
