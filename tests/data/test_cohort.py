"""Cohort: validation of tables, the record, and batches from it."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.cohort import Cohort

N, PATIENTS = 70, 12
IDS = [f"sub-{i:03d}" for i in range(N)]


def tables():
    draw = np.random.default_rng(0)
    thickness = pd.DataFrame(draw.normal(2.5, 0.2, (N, 3)), columns=["insula", "cuneus", "eTIV"])
    volume = pd.DataFrame(draw.normal(4000, 300, (N, 2)), columns=["Left-Hippocampus", "Right-Hippocampus"])
    return {m: frame.assign(participant_id=IDS) for m, frame in (("thickness", thickness), ("volume", volume))}


def people():
    draw = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "participant_id": IDS,
            "age": draw.uniform(55, 90, N),
            "sex": draw.permutation(["F", "M"] * (N // 2)),
            "site": draw.permutation(["A"] * 30 + ["B"] * 20 + ["C"] * 20),
            "dx": ["CN"] * (N - PATIENTS) + ["MCI"] * 8 + ["AD"] * 4,
            "MMSE": draw.integers(20, 30, N),
            "flag": [True] + [False] * (N - 2) + [True],
        }
    )


KNOWN = {
    "id": "participant_id",
    "covariates": {"age": "spline", "sex": "category", "site": "category"},
    "reference": ("dx", ["CN"]),
    "groups": ("dx", ["CN", "MCI", "AD"]),
    "scores": {"MMSE": "higher_is_better"},
    "adjust": ["flag"],
    "seed": 3,
}


def admit(values=None, participants=None, **changes):
    return Cohort.from_frames(values or tables(), people() if participants is None else participants, **KNOWN | changes)


@functools.cache
def sorted_cohort():
    return admit()


def assert_same(one, other):
    for m in one.values:
        pd.testing.assert_frame_equal(one.values[m], other.values[m])
    for name in ("covariates", "scores", "adjust"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    for name in ("split", "group"):
        pd.testing.assert_series_equal(getattr(one, name), getattr(other, name))
    for name in ("kinds", "groups", "directions", "set_aside", "notes"):
        assert getattr(one, name) == getattr(other, name)


def test_a_cohort_contains_the_tables():
    cohort = admit()
    assert cohort.ids.tolist() == IDS
    assert cohort.regions == [
        "thickness.insula",
        "thickness.cuneus",
        "volume.Left-Hippocampus",
        "volume.Right-Hippocampus",
    ]
    np.testing.assert_array_equal(cohort.values["volume"], tables()["volume"].drop(columns="participant_id"))
    assert {frame.dtypes.unique().item() for frame in cohort.values.values()} == {np.dtype("float64")}
    assert cohort.groups == ("CN", "MCI", "AD")
    assert cohort.group.tolist() == people()["dx"].tolist()
    assert cohort.set_aside == {"thickness": {"eTIV": "total"}, "volume": {}}
    assert cohort.directions == {"MMSE": "higher_is_better"}
    assert cohort.adjust["flag"].iloc[:2].tolist() == ["true", "false"]


def test_parts_are_disjoint_and_only_controls_train():
    cohort = admit()
    parts = (cohort.train, cohort.calibrate, cohort.test, cohort.target)
    assert sorted(i for part in parts for i in part.ids) == IDS
    assert [len(part) for part in parts] == [34, 12, 12, 12]
    assert set(cohort.target.group) == {"MCI", "AD"}
    assert all(set(part.group) == {"CN"} for part in parts[:3])


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(N)), st.permutations(range(N)))
def test_the_order_of_rows_has_no_effect(first, second):
    """Neither the cohort nor the split may depend on how a table was sorted."""
    moved = {m: frame.iloc[list(first)] for m, frame in tables().items()}
    assert_same(admit(moved, people().iloc[list(second)]), sorted_cohort())


def test_the_order_of_columns_changes_no_value():
    moved = {m: frame.iloc[:, ::-1] for m, frame in tables().items()}
    other = admit(moved, people().iloc[:, ::-1])
    for m, frame in admit().values.items():
        pd.testing.assert_frame_equal(other.values[m][frame.columns], frame)


def test_text_tables_give_the_same_cohort_as_numbers():
    values = {m: frame.astype(str) for m, frame in tables().items()}
    assert_same(admit(values, people().astype(str)), admit())


def test_ids_in_the_index_give_the_same_cohort():
    values = {m: frame.set_index("participant_id") for m, frame in tables().items()}
    assert_same(admit(values, people().set_index("participant_id")), admit())
    bare = {m: frame.rename_axis(index=None) for m, frame in values.items()}
    assert admit(bare, people().set_index("participant_id").rename_axis(index=None), id=None).ids.tolist() == IDS


def test_a_person_absent_from_one_table_lacks_that_modality_only():
    values = tables()
    values["volume"] = values["volume"].iloc[5:]
    cohort = admit(values)
    assert cohort.values["volume"].iloc[:5].isna().all(axis=None)
    assert cohort.values["thickness"].notna().all(axis=None)
    assert len(cohort) == N


def test_a_person_without_any_observed_region_is_excluded():
    values = tables()
    for frame in values.values():
        frame.iloc[4, :-1] = np.nan
    cohort = admit(values)
    assert "sub-004" not in cohort.ids
    assert cohort.notes[-1] == "1 subject without any observed region excluded: 'sub-004'"


def test_flags_and_missing_covariates_exclude():
    participants = people()
    participants.loc[3, "age"] = np.nan
    cohort = admit(participants=participants, exclude_subjects={"flag": ["true"]}, missing_covariates="set_aside")
    assert len(cohort) == N - 3
    assert cohort.notes[:2] == (
        "1 reference and 1 other subjects excluded by flag",
        "1 subject without age excluded: 'sub-003'",
    )


def test_a_split_column_is_used():
    participants = people().assign(part=["train"] * 40 + ["calibrate"] * 10 + ["test"] * 8 + ["target"] * PATIENTS)
    assert admit(participants=participants, split="part").split.tolist() == participants["part"].tolist()


def test_strata_are_the_site_or_a_column():
    by_site = admit()
    share = (
        by_site.split[by_site.group == "CN"].eq("calibrate").groupby(by_site.covariates["site"]).agg(["sum", "size"])
    )
    assert (share["sum"] - 0.2 * share["size"]).abs().max() <= 1
    by_sex = admit(stratify="sex")
    share = by_sex.split[by_sex.group == "CN"].eq("test").groupby(by_sex.covariates["sex"]).agg(["sum", "size"])
    assert (share["sum"] - 0.2 * share["size"]).abs().max() <= 1
    with pytest.raises(InputError, match=r"participants: column 'sexx' is absent"):
        admit(stratify="sexx")


def test_new_people_are_all_target_however_few():
    few = {m: frame.iloc[:2].assign(**{frame.columns[0]: [2.0, 0.0]}) for m, frame in tables().items()}
    cohort = admit(few, people().iloc[:2], everyone="target", split="nobody has this column")
    assert cohort.split.tolist() == ["target", "target"]
    assert cohort.regions == admit().regions
    assert cohort.values["thickness"]["insula"].isna().tolist() == [False, True]
    assert len(admit(everyone="target", reference=("dx", ["none of them"]))) == N
    alone = admit(few, people().iloc[:2], everyone="target", reference=None, groups=None)
    assert alone.groups == ("reference",)


def test_all_people_can_be_healthy():
    cohort = admit(reference=None, groups=None)
    assert len(cohort.target) == 0
    assert cohort.groups == ("reference",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "participant"}, r"participants: id column 'participant' is absent; .*Did you mean 'participant_id'"),
        ({"covariates": {"age": "cubic"}}, r"covariate 'age': 'cubic'"),
        ({"covariates": {"diagnosis": ("dx", "category")}}, r"covariate 'diagnosis': column 'dx', which defines"),
        ({"reference": ("dx", ["HC"])}, r"reference column 'dx': no subject with 'HC'; .*'AD', 'CN', 'MCI'"),
        ({"groups": ("dx", ["CN", "AD"])}, r"groups column 'dx': group 'MCI', such as for 'sub-058'"),
        ({"scores": {"MMSE": "better"}}, r"score 'MMSE': 'better'"),
        ({"adjust": ["snr"]}, r"participants: column 'snr' is absent"),
        ({"split": (0.5, 0.4)}, r"split: 6 train, 29 calibrate, 23 test, 12 target"),
        ({"split": "sex"}, r"split column 'sex': values 'F', 'M'|split column 'sex': values 'M', 'F'"),
        ({"exclude_subjects": {"flags": [True]}}, r"column 'flags' is absent; .*Did you mean 'flag'"),
        ({"exclude_subjects": {"sex": ["F", "M"]}}, r"participants: no subject left"),
        ({"missing_covariates": "drop"}, r"missing_covariates: 'drop'"),
        ({"everyone": "train"}, r"everyone: 'train'; expected one of None, target"),
        ({"include": {"thicknes": ["*"]}}, r"include: 'thicknes'; .*Did you mean 'thickness'"),
        ({"totals": {"thickness": "drop"}}, r"totals: 'drop'"),
        ({"exclude": {"volume": ["*"]}}, r"modality 'volume': no usable region"),
    ],
)
def test_invalid_input_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        admit(**changes)


def test_a_coded_diagnosis_is_refused_as_a_covariate():
    participants = people().assign(code=lambda p: (p["dx"] != "CN").astype(int), stage=lambda p: p["dx"].str.lower())
    for column, kind in (("code", "linear"), ("code", "category"), ("stage", "category")):
        with pytest.raises(InputError, match=f"covariate '{column}': values that are one to one with the reference"):
            admit(participants=participants, covariates={column: kind})


def test_an_empty_diagnosis_is_refused_in_training_but_not_in_new_people():
    participants = people()
    participants.loc[0, "dx"] = None
    with pytest.raises(InputError, match=r"column 'dx': no value for 1 subject: 'sub-000'"):
        admit(participants=participants, groups=None)
    assert len(admit(participants=participants, groups=None, everyone="target")) == N


@pytest.mark.parametrize("name", ["", "a.b", "1st", "left hippocampus"])
def test_modalities_need_a_valid_name(name):
    with pytest.raises(InputError, match=r"an invalid name; expected a letter, then letters, digits, _ and -"):
        admit({name: tables()["volume"]})


def test_a_cohort_needs_a_modality_and_observed_regions():
    with pytest.raises(InputError, match=r"values: no modality"):
        Cohort.from_frames({}, people(), id="participant_id")
    empty = {"volume": tables()["volume"].assign(**{"Left-Hippocampus": np.nan, "Right-Hippocampus": ""})}
    with pytest.raises(InputError, match=r"participants: no subject with an observed region"):
        admit(empty, everyone="target")


def test_a_cohort_is_indexed_by_mask_or_by_ids():
    cohort = admit()
    women = cohort[cohort.covariates["sex"] == "F"]
    assert len(women) == N // 2
    assert_same(women, cohort[(cohort.covariates["sex"] == "F").to_numpy()])
    assert_same(women, cohort[women.ids])
    assert cohort[["sub-009", "sub-001"]].ids.tolist() == ["sub-009", "sub-001"]


def test_a_cohort_is_frozen_and_of_one_set_of_people():
    cohort = admit()
    with pytest.raises(dataclasses.FrozenInstanceError):
        cohort.split = cohort.group
    with pytest.raises(InputError, match=r"cohort: group: rows that differ from the covariates"):
        dataclasses.replace(cohort, group=cohort.group.iloc[::-1])
    assert dataclasses.replace(cohort, adjust=pd.DataFrame()).train.adjust.shape == (34, 0)


def batch(**changes):
    parts = {
        "values": {"t": torch.tensor([[1.0, 0.0], [2.0, 3.0]])},
        "observed": {"t": torch.tensor([[True, False], [True, True]])},
        "covariates": torch.zeros(2, 1),
        "index": torch.arange(2),
    }
    return Batch(**parts | changes)


def test_a_batch_is_indexed_by_rows():
    second = batch()[torch.tensor([1])]
    assert len(second) == 1
    assert second.values["t"].tolist() == [[2.0, 3.0]]
    assert second.index.tolist() == [1]
    members = batch()[torch.tensor([[0, 1], [1, 1], [0, 0]])]
    assert len(members) == 2
    assert members.values["t"].shape == (3, 2, 2)
    assert torch.equal(batch().to("cpu").covariates, torch.zeros(2, 1))


def test_a_batch_refuses_cells_that_are_not_finite():
    with pytest.raises(InputError, match=r"modality 't': 1 non-finite cells; expected finite values"):
        batch(values={"t": torch.tensor([[1.0, torch.nan], [2.0, 3.0]])})
