"""Labels of groups, kinds of deviation, and concatenation of results."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.results.schema import (
    ALL_TARGETS,
    KINDS,
    PREDICTIVE_KINDS,
    REGIONAL,
    TEST_CONTROLS,
    group_of,
    groups_of,
    joined,
    order_of,
)


def people(split, group):
    return pd.DataFrame({"split": split, "group": group}, index=[f"s{i}" for i in range(len(split))])


def test_kinds_that_predict_a_region_without_its_value():
    assert PREDICTIVE_KINDS == ("cross_modal", "normative")
    assert set(PREDICTIVE_KINDS) < set(REGIONAL) < set(KINDS)


def test_the_group_of_test_controls_is_their_own():
    table = people(["test", "target", "target"], ["CN", "CN", 2])
    assert group_of(table).to_dict() == {"s0": TEST_CONTROLS, "s1": "CN", "s2": "2"}


@pytest.mark.parametrize("name", [TEST_CONTROLS, ALL_TARGETS])
def test_reserved_names_of_groups_are_refused(name):
    with pytest.raises(InputError, match=f"group: a group named '{name}'; expected another name"):
        group_of(people(["test", "target"], ["CN", name]))
    assert group_of(people(["test"], [name])).tolist() == [TEST_CONTROLS]  # replaced in any case


def test_groups_are_in_the_given_order_and_unknown_ones_are_refused():
    table = people(["target", "test", "target"], ["AD", "CN", "MCI"])
    table["label"] = group_of(table)
    assert order_of(table, ["CN", "MCI", "SMC", "AD"]) == [TEST_CONTROLS, "MCI", "AD"]
    with pytest.raises(InputError, match="groups: target subjects of group 'AD'; expected one of"):
        order_of(table, ["MCI"])
    assert groups_of(pd.DataFrame({"group": ["b", TEST_CONTROLS, "a", "b", ALL_TARGETS]})) == ["b", "a"]


@pytest.mark.parametrize("dims", [("subject", "region"), ("refit", "subject")])
def test_joined_parts_are_the_concatenation(dims):
    rng = np.random.default_rng(0)

    def part(ids):
        shape = [len(ids) if dim == "subject" else 3 for dim in dims]
        return xr.Dataset({"z": (dims, rng.normal(size=shape))}, {"subject": ids})

    parts = [part(["a", "b"]), part(["c"])]
    xr.testing.assert_identical(joined(parts, people=3), xr.concat(parts, "subject"))


def test_parts_with_different_variables_are_refused():
    one = xr.Dataset({"z": ("subject", [1.0])}, {"subject": ["a"]})
    with pytest.raises(ValueError, match=r"the parts differ in \['p'\]; expected the same variables in all"):
        joined([one, one.assign(p=one["z"])], people=2)
