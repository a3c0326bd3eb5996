"""Splits: quotas, independence of row order, and valid split columns."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.splits import SMALL_STRATUM, split_by_column, split_by_fraction, split_subjects


def strata_of(sizes: list[int]) -> pd.Series:
    labels = np.repeat([f"site{k}" for k in range(len(sizes))], sizes)
    return pd.Series(labels, index=[f"s{i:04d}" for i in range(len(labels))], dtype=str)


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)
thirds = st.floats(0.05, 1 / 3)


@settings(max_examples=50, deadline=None)
@given(sizes, thirds, thirds, st.integers(0, 9))
def test_quotas_hold_in_total_and_in_every_stratum(sizes, calibrate, test, seed):
    strata = strata_of(sizes)
    split = split_by_fraction(strata, (calibrate, test), seed)
    eligible = sum(size for size in sizes if size >= SMALL_STRATUM)
    for part, fraction in (("calibrate", calibrate), ("test", test)):
        drawn = split == part
        assert drawn.sum() == math.floor(fraction * eligible + 0.5)
        for site, size in strata.value_counts().items():
            share = fraction * size if size >= SMALL_STRATUM else 0.0
            assert abs((drawn & (strata == site)).sum() - share) <= 1.0 + 1e-9  # rounding of the quota itself


@settings(max_examples=50, deadline=None)
@given(sizes, st.floats(0.05, 0.9), st.floats(0.0, 0.9))
def test_any_fractions_give_one_label_each(sizes, calibrate, test):
    strata = strata_of(sizes)
    if calibrate + test < 1:
        split = split_by_fraction(strata, (calibrate, test), 0)
        assert split.index.equals(strata.index)
        assert set(split) <= {"train", "calibrate", "test"}


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(30)), st.integers(0, 3))
def test_the_draw_does_not_depend_on_the_order_of_rows(order, seed):
    strata = strata_of([9, 2, 19])
    moved = split_by_fraction(strata.iloc[list(order)], (0.2, 0.2), seed)
    pd.testing.assert_series_equal(moved.sort_index(), split_by_fraction(strata, (0.2, 0.2), seed))


def test_the_seed_changes_the_draw():
    strata = strata_of([60])
    assert not split_by_fraction(strata, (0.2, 0.2), 0).equals(split_by_fraction(strata, (0.2, 0.2), 1))


def test_every_person_has_the_same_probability():
    """150 draws of 4 out of 20: counts are binomial(150, 0.2), SD 4.9; 5 SD fail once in 90,000 runs (20 people)."""
    strata = strata_of([12, 8])
    hits = sum(split_by_fraction(strata, (0.2, 0.2), seed) == "calibrate" for seed in range(150))
    assert (hits - 30).abs().max() < 5 * 4.9


@pytest.mark.parametrize("fractions", [(0.0, 0.2), (0.6, 0.4), (0.2, -0.1), (1.2, 0.0), (float("nan"), 0.2)])
def test_fractions_that_leave_no_subjects_are_refused(fractions):
    with pytest.raises(InputError, match=r"split: .* expected shares \(calibrate, test\)"):
        split_by_fraction(strata_of([50]), fractions, 0)


def test_a_column_defines_the_split():
    column = pd.Series([" train", "target", "test"], index=list("abc"), name="part")
    healthy = pd.Series([True, False, True], index=list("abc"))
    assert split_by_column(column, healthy).tolist() == ["train", "target", "test"]


def test_other_values_in_a_split_column_are_refused():
    column = pd.Series(["train", "validation", None], index=list("abc"), name="part")
    with pytest.raises(
        InputError, match=r"split column 'part': values 'validation', '', such as for 'b'; expected one of train"
    ):
        split_by_column(column, pd.Series(True, index=list("abc")))


def test_patients_must_not_train_calibrate_or_test():
    column = pd.Series(["train", "test", "target"], index=list("abc"), name="part")
    with pytest.raises(InputError, match=r"1 subject outside the reference in train, calibrate or test: 'b'"):
        split_by_column(column, pd.Series([True, False, False], index=list("abc")))


@pytest.mark.parametrize(("n", "counts"), [(48, "28 train, 10 calibrate, 10 test"), (45, "27 train, 9 calibrate")])
def test_too_few_controls_are_refused(n, counts):
    people = pd.DataFrame(index=[f"s{i:02d}" for i in range(60)])
    healthy = pd.Series(np.arange(60) < n, index=people.index)
    with pytest.raises(
        InputError, match=f"split: {counts}.* expected at least 30 training and 10 calibration controls"
    ):
        split_subjects(people, healthy, pd.Series("", index=people.index), (0.2, 0.2), 0)


def test_patients_do_not_change_the_split_of_controls():
    people = pd.DataFrame(index=[f"s{i:02d}" for i in range(80)])
    healthy = pd.Series(np.arange(80) % 4 > 0, index=people.index)
    strata = pd.Series("", index=people.index)
    both = split_subjects(people, healthy, strata, (0.2, 0.2), 3)
    alone = split_subjects(people[healthy], healthy[healthy], strata[healthy], (0.2, 0.2), 3)
    pd.testing.assert_series_equal(both[healthy], alone)
    assert (both[~healthy] == "target").all()
