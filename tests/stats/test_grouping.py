"""Subgroups of the calibration report."""

import numpy as np
import pandas as pd

from pyro_mmnorm.stats.grouping import SMALLEST_GROUP, groups, tertiles


def names(found):
    return [(group.by, group.level) for group in found]


def test_subgroups_come_in_the_order_of_the_report():
    n = 90
    covariates = pd.DataFrame({"age": np.arange(n, dtype=float), "sex": ["F", "M"] * 45})
    seen = np.ones((n, 3), bool)
    seen[:30, 2] = False
    found = groups(covariates, {"age": "spline", "sex": "category"}, seen, np.array(["t1", "t1", "pet"]))
    assert names(found) == [
        ("overall", "all"),
        ("age tertile", "below 29.67"),
        ("age tertile", "29.67 to 59.33"),
        ("age tertile", "59.33 and above"),
        ("sex", "F"),
        ("sex", "M"),
        ("modality", "t1"),
        ("modality", "pet"),
        ("modalities present", "t1"),
        ("modalities present", "t1 + pet"),
    ]
    assert [int(group.people.sum()) for group in found] == [90, 30, 30, 30, 45, 45, 90, 90, 30, 60]
    assert found[7].regions.tolist() == [False, False, True]


def test_levels_with_fewer_than_twenty_people_are_pooled_and_a_single_one_keeps_its_name():
    assert SMALLEST_GROUP == 20
    for sizes, expected in (
        ({"a": 20, "b": 19, "c": 5}, ["a", "2 levels under 20 people, pooled"]),
        ({"a": 20, "b": 19}, ["a", "b"]),
        ({"a": 20, "b": 20}, ["a", "b"]),
    ):
        site = np.repeat(list(sizes), list(sizes.values()))
        found = groups(
            pd.DataFrame({"site": site}), {"site": "category"}, np.ones((len(site), 1), bool), np.array(["t1"])
        )
        assert [group.level for group in found if group.by == "site"] == expected


def test_tertiles_of_few_distinct_values_are_fewer():
    assert tertiles(pd.Series([0.0, 1.0, 1.0, 1.0])).tolist() == ["below 1", *["1 and above"] * 3]
    assert tertiles(pd.Series([0.0, 1.0, 2.0, 3.0])).tolist() == ["below 1", "1 to 2", "2 and above", "2 and above"]
