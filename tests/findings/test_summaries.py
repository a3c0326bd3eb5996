"""Tables of people and regions by hand, invariances, and null rates."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.findings.summaries import poster_rule, region_table, subject_table
from pyro_mmnorm.results.schema import ALL_TARGETS, TEST_CONTROLS
from tests.findings.cohorts import NAN, ORDER, deviations, who

GOLDEN = deviations(
    [[4.0, -1.0, 2.0, NAN], [0.0, -5.0, 1.0, 0.0], [1.0, 1.0, NAN, NAN], [NAN, NAN, NAN, NAN]],
    omnibus_p=[0.01, 0.02, 0.5, NAN],
    mse=[2.0, 3.0, 1.0, NAN],
)


def test_people_by_hand():
    """q < .05 for the 4 of s000 (its 2 has q = .068) and the -5 of s001: they differ in 2 of 3 common regions."""
    split, group = who(("target", "AD", 2), ("test", "CN", 2))
    table = subject_table(GOLDEN, split, group)
    expected = pd.DataFrame(
        {
            "split": ["target", "target", "test", "test"],
            "group": ["AD", "AD", "CN", "CN"],
            "n_observed": [3, 4, 2, 0],
            "mean_abs_z": [7 / 3, 6 / 4, 1.0, NAN],
            "mean_sq_z": [21 / 3, 26 / 4, 1.0, NAN],
            "mean_z": [5 / 3, -4 / 4, 1.0, NAN],
            "n_outliers": [2, 1, 0, 0],
            "n_significant": [1, 1, 0, 0],
            "dsi": [4 / 3, 5 / 4, 0.0, NAN],
            "mean_abs_z.t1": [5 / 2, 5 / 2, 1.0, NAN],
            "mean_abs_z.t2": [2.0, 1 / 2, NAN, NAN],
            "hamming": [2 / 3, 2 / 3, NAN, NAN],
            "omnibus_p": [0.01, 0.02, 0.5, NAN],
            "mse": [2.0, 3.0, 1.0, NAN],
            "lowest_region": ["t1.r1", "t1.r1", "t1.r0", NAN],
            "highest_region": ["t1.r0", "t2.r2", "t1.r0", NAN],
            "most_deviant": ["t1.r0", "t1.r1", "t1.r0", NAN],
        },
        index=pd.Index(["s000", "s001", "s002", "s003"], name="id"),
    )
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, check_index_type=False)


def test_hamming_is_the_mean_distance_to_the_others_of_the_group():
    rng = np.random.default_rng(1)
    dev = deviations(rng.normal(size=(20, 9)) * 3)
    split, group = who(("test", "CN", 8), ("target", "AD", 12))
    flags = (dev["q"] < 0.05).to_numpy()[8:]
    distance = (flags[:, None] != flags).mean(-1)
    found = subject_table(dev, split, group)["hamming"].iloc[8:]
    np.testing.assert_allclose(found, distance.sum(1) / 11)


def test_figures_of_a_person_do_not_depend_on_the_order_of_people(staged):
    dev, split, group, *_ = staged
    turned = subject_table(dev.isel(subject=slice(None, None, -1)), split, group.iloc[::-1])
    pd.testing.assert_frame_equal(turned.iloc[::-1], subject_table(dev, split, group))


def test_calibrated_people_have_the_null_values():
    """200 people of 400 independent regions: standard errors .0021, .005 and .0035; 4 of them."""
    split, group = who(("test", "CN", 200))
    table = subject_table(deviations(np.random.default_rng(2).normal(size=(200, 400))), split, group)
    assert table["mean_abs_z"].mean() == pytest.approx(0.798, abs=0.009)
    assert table["mean_sq_z"].mean() == pytest.approx(1, abs=0.02)
    assert table["mean_z"].mean() == pytest.approx(0, abs=0.014)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda split, group: (split.iloc[1:], group), "no split or group for 's000'"),
        (lambda split, group: (split, group.mask(group == "CN")), "no split or group for 's002'"),
        (lambda split, group: (split.replace("test", "train"), group), "split: train; expected test and target"),
        (lambda split, group: (split, group.replace("AD", ALL_TARGETS)), "a group named 'all targets'"),
    ],
)
def test_people_without_split_or_group_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        subject_table(GOLDEN, *change(*who(("target", "AD", 2), ("test", "CN", 2))))


def test_regions_by_hand():
    z = [[1.0, 0.0], [2.0, 0.5], [3.0, NAN], [2.0, 2.5], [4.0, -2.5], [6.0, 0.0]]
    split, group = who(("target", "AD", 3), ("test", "CN", 3))
    table = region_table(deviations(z), split, group, ["CN", "AD"]).set_index(["group", "region"])
    assert table.index.tolist() == [(g, r) for g in (TEST_CONTROLS, "AD") for r in ("r0", "r1")]
    one = table.loc[("AD", "r0")]
    assert (one["modality"], one["n"], one["mean_z"], one["sd_z"]) == ("t1", 3, 2.0, 1.0)
    assert one["hedges_g"] == pytest.approx(-2 / np.sqrt(2.5) * np.sqrt(2 / np.pi))
    welch = stats.ttest_ind([1, 2, 3], [2, 4, 6], equal_var=False)
    assert (one["welch_t"], one["welch_p"]) == pytest.approx((welch.statistic, welch.pvalue))
    assert one["welch_q"] == pytest.approx(one["welch_p"])  # the only region with three people in both groups
    assert (one["count_significant"], one["share_significant"]) == (
        2,
        pytest.approx(2 / 3),
    )  # 2 and 3; 1.96 is the bound
    assert one["share_significant_low"] == pytest.approx(stats.beta.ppf(0.025, 2, 2))
    assert one["share_significant_controls"] == 1.0
    assert one["share_poster_rule"] == pytest.approx(2 / 3)  # one-sided p .159, .023, .001; q .159, .034, .004
    few = table.loc[("AD", "r1")]
    assert few["n"] == 2
    assert few[["mean_z", "sd_z", "hedges_g", "welch_p", "welch_q", "mannwhitney_p"]].isna().all()
    controls = table.loc[TEST_CONTROLS]
    assert controls["mean_z"].tolist() == [4.0, 0.0]
    assert controls[["hedges_g", "hedges_g_low", "welch_q", "mannwhitney_q"]].isna().all(axis=None)
    assert controls["count_significant"].tolist() == [3, 2]


def test_several_groups_have_rows_each_and_together(staged):
    dev, split, group, *_ = staged
    table = region_table(dev, split, group, ORDER)
    assert table["group"].unique().tolist() == [TEST_CONTROLS, "SMC", "MCI", "AD", ALL_TARGETS]
    counts = table.pivot_table(index="group", columns="region", values=["n", "count_significant"], sort=False)
    for name in ("n", "count_significant"):
        rows = counts[name]
        np.testing.assert_array_equal(rows.loc[["SMC", "MCI", "AD"]].sum(), rows.loc[ALL_TARGETS])
    shuffled = np.random.default_rng(0).permutation(160)
    pd.testing.assert_frame_equal(region_table(dev.isel(subject=shuffled), split, group, ORDER), table)


def test_healthy_people_alone_have_regions_without_contrasts():
    split, group = who(("test", "CN", 30))
    table = region_table(deviations(np.random.default_rng(3).normal(size=(30, 4))), split, group, ["CN"])
    assert table["group"].unique().tolist() == [TEST_CONTROLS]
    assert table["welch_p"].isna().all()
    assert table["share_significant_high"].notna().all()


def test_null_regions_are_significant_at_their_level():
    """1,000 null regions, 60 against 60: each share of .05 is off by .02 in about 1 of 300 runs."""
    split, group = who(("test", "CN", 60), ("target", "AD", 60))
    table = region_table(deviations(np.random.default_rng(4).normal(size=(120, 1000))), split, group, ["CN", "AD"])
    rows = table[table["group"] == "AD"]
    for share in ((rows["welch_p"] < 0.05).mean(), (rows["mannwhitney_p"] < 0.05).mean()):
        assert share == pytest.approx(0.05, abs=0.02)
    assert rows["share_significant"].mean() == pytest.approx(0.05, abs=0.004)  # 60,000 cells, standard error .0009
    assert rows["share_poster_rule"].mean() < 0.005


@pytest.mark.parametrize(("sd", "share"), [(1.0, 0.0), (1.43, 0.05), (1.8, 0.19)])
def test_the_posters_rule_flags_wide_z_without_an_effect(sd, share):
    """862 people, 200 regions: z that are too wide are taken for disease; standard error about .001."""
    flagged = poster_rule(sd * np.random.default_rng(6).normal(size=(862, 200)))
    assert flagged.mean() == pytest.approx(share, abs=0.01)


def test_the_posters_rule_corrects_within_a_region():
    z = np.random.default_rng(8).normal(size=(30, 6)) * np.arange(1, 7)
    for j in range(6):
        expected = stats.false_discovery_control(stats.norm.sf(np.abs(z[:, j]))) < 0.05
        np.testing.assert_array_equal(poster_rule(z)[:, j], expected)


def test_a_group_that_is_not_in_the_order_is_refused(staged):
    dev, split, group, *_ = staged
    with pytest.raises(InputError, match="groups: target subjects of group 'AD'; expected one of"):
        region_table(dev, split, group, ["CN", "SMC", "MCI"])


def test_the_spread_of_hamming_distances_over_members_has_n_minus_1():
    split, group = who(("target", "AD", 3))
    dev = deviations(np.zeros((3, 2)))
    flags = np.zeros((2, 3, 2), bool)
    flags[1, 0] = True  # by the second member, s000 differs from both others in both regions
    table = subject_table(dev.assign(flagged_by_member=(("member", "subject", "region"), flags)), split, group)
    np.testing.assert_allclose(table["hamming_member_sd"], np.array([1, 0.5, 0.5]) / np.sqrt(2))
