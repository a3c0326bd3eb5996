"""Regions: excluded columns and observed cells."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.regions import RegionRules, failed_parcels, usable_regions

FREESURFER_TOTALS = [  # spellings of FreeSurfer 5 to 8 tables
    "lh_MeanThickness_thickness", "rh_WhiteSurfArea_area", "BrainSegVol", "BrainSegVolNotVent", "eTIV", "lhCortexVol",
    "CortexVol", "lhCorticalWhiteMatterVol", "rhCerebralWhiteMatterVol", "SubCortGrayVol", "TotalGrayVol", "MaskVol",
    "SupraTentorialVolNotVentVox", "lhSurfaceHoles", "BrainSegVol-to-eTIV", "EstimatedTotalIntraCranialVol",
    "IntraCranialVol", "left_Whole_hippocampal_body", "right_hippocampal-fissure", "Left-vessel", "5th-Ventricle",
    "Right-choroid-plexus", "non-WM-hypointensities",
]  # fmt: skip
REGIONS = [
    "lh_insula_thickness",
    "Left-Hippocampus",
    "Brain-Stem",
    "left_CA1-body",
    "Left-Cerebellum-White-Matter",
    "CSF",
]


def usable(table, modality="m", **rules):
    notes = []
    frame, aside = usable_regions(table, RegionRules(**rules), modality=modality, notes=notes)
    return frame, aside, notes


def table_of(**columns):
    return pd.DataFrame(columns, index=[f"s{i}" for i in range(len(next(iter(columns.values()))))])


def test_totals_are_excluded_and_regions_kept():
    table = pd.DataFrame({name: [1.0, 2.0] for name in FREESURFER_TOTALS + REGIONS})
    frame, aside, notes = usable(table)
    assert list(frame) == REGIONS
    assert aside == dict.fromkeys(FREESURFER_TOTALS, "total")
    assert notes == [
        "modality 'm': 23 columns excluded (total): 'lh_MeanThickness_thickness', 'rh_WhiteSurfArea_area', "
        "'BrainSegVol' and 20 more"
    ]


def test_totals_can_be_kept():
    frame, aside, notes = usable(table_of(eTIV=[1e6, 2e6]), totals="keep")
    assert (list(frame), aside, notes) == (["eTIV"], {}, [])


def test_patterns_include_and_exclude_and_are_case_sensitive():
    table = table_of(lh_a=[1, 2], lh_b=[1, 2], rh_a=[1, 2], LH_a=[1, 2])
    frame, aside, _ = usable(table, include=["lh_*"], exclude=["*_b"])
    assert list(frame) == ["lh_a"]
    assert aside == {"lh_b": "excluded", "rh_a": "not included", "LH_a": "not included"}


def test_a_pattern_that_matches_nothing_is_noted():
    _, _, notes = usable(table_of(a=[1, 2], eTIV=[1, 2]), exclude=["A", "eTIV"])
    assert notes[0] == "modality 'm': the pattern 'A' matches no column"
    assert not any("'eTIV' matches" in note for note in notes)  # it matches, though a total anyway


def test_an_exact_zero_among_positive_values_is_not_observed():
    table = table_of(insula=[2.0, 0.0, 3.0], gain=[-1.0, 0.0, 2.0], hole=[0.0, 1.0, 0.0])
    frame, aside, notes = usable(table)
    np.testing.assert_array_equal(frame["insula"], [2.0, np.nan, 3.0])
    np.testing.assert_array_equal(frame["gain"], [-1.0, 0.0, 2.0])
    assert aside == {"hole": "constant"}  # one size is left
    assert notes[0] == "modality 'm': 1 cell of exactly 0 taken as not observed (failed parcels): 'insula'"


def test_zeros_can_be_kept():
    frame, _, notes = usable(table_of(insula=[2.0, 0.0]), zeros="keep")
    assert frame["insula"].tolist() == [2.0, 0.0]
    assert notes == []


def test_failed_parcels_ignore_missing_cells():
    assert failed_parcels(table_of(a=[0.0, np.nan, 1.0]))["a"].tolist() == [True, False, False]


def test_columns_that_do_not_vary_are_excluded():
    table = table_of(a=[1.0, 2.0, 3.0], same=[5, 5, np.nan], never=["", "NA", None], zero=[0.0, 0.0, 0.0])
    frame, aside, _ = usable(table)
    assert list(frame) == ["a"]
    assert aside == {"same": "constant", "never": "never observed", "zero": "constant"}


def test_new_people_keep_every_region():
    frame, aside, _ = usable(table_of(a=[1.0], zero=[0.0], never=[np.nan]), varying=False)
    assert list(frame) == ["a", "zero", "never"]
    assert frame.isna().iloc[0].tolist() == [False, True, True]
    assert aside == {}


def test_two_columns_of_one_name_must_be_identical():
    ids = ["s0", "s1"]
    alike = pd.DataFrame([["1", 1.0], ["2", 2.0]], columns=["a", "a"], index=ids)
    assert usable(alike)[0].to_dict("list") == {"a": [1.0, 2.0]}
    with pytest.raises(InputError, match=r"modality 'area': two different columns named 'a'"):
        usable(pd.DataFrame([[1, 1], [2, 3]], columns=["a", "a"], index=ids), modality="area")
    totals = pd.DataFrame([[1, 1, 5], [2, 3, 6]], columns=["eTIV", "eTIV", "a"], index=ids)
    assert list(usable(totals)[0]) == ["a"]


def test_text_among_the_values_is_refused_but_not_among_totals():
    assert list(usable(table_of(a=[1, 2], eTIV=["?", "?"]))[0]) == ["a"]
    with pytest.raises(InputError, match=r"modality 'area', column 'a', row 's1': 'bad'"):
        usable(table_of(a=["1", "bad"]), modality="area")


@pytest.mark.parametrize("table", [table_of(eTIV=[1, 2]), table_of(a=[1, 1]), pd.DataFrame(index=["s0"])])
def test_a_modality_without_a_region_is_refused(table):
    with pytest.raises(InputError, match=r"modality 'area': no usable region among \d columns?"):
        usable(table, modality="area")


@pytest.mark.parametrize(
    ("rule", "message"), [("totals", "totals: 'drop'; expected"), ("zeros", "zeros: 'drop'; expected")]
)
def test_unknown_rules_are_refused(rule, message):
    with pytest.raises(InputError, match=message):
        RegionRules(**{rule: "drop"})


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(order):
    table = table_of(a=[1, 2, 0, 4, 5, 6], b=["1", "", "3", "4", "5", "6"], c=[7.0] * 6, eTIV=range(6))
    frame, aside, notes = usable(table)
    moved, moved_aside, moved_notes = usable(table.iloc[list(order)])
    pd.testing.assert_frame_equal(moved.sort_index(), frame)
    assert (moved_aside, moved_notes) == (aside, notes)
