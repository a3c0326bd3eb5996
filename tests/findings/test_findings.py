"""Findings: tables by hand, invariances, null rates, and cohorts with few or missing groups."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import ndtr

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.findings.endpoints import findings
from pyro_mmnorm.findings.summaries import poster_rule, region_table, subject_table
from pyro_mmnorm.results.schema import ALL_TARGETS, TEST_CONTROLS
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg

NAN = np.nan


def deviations(z, ids=None, **extra):
    """A dataset of one kind with regions of two modalities."""
    z = np.asarray(z, float)
    n, d = z.shape
    ids = [f"s{i:03d}" for i in range(n)] if ids is None else ids
    modality = ["t1" if j < (d + 1) // 2 else "t2" for j in range(d)]
    dims = ("subject", "region")
    q = benjamini_hochberg(2 * ndtr(-np.abs(z)), axis=1)
    return xr.Dataset(
        {"z": (dims, z), "q": (dims, q), **{name: ("subject", np.asarray(x)) for name, x in extra.items()}},
        {
            "subject": list(ids),
            "region": [f"{m}.r{j}" for j, m in enumerate(modality)],
            "modality": ("region", modality),
            "region_name": ("region", [f"r{j}" for j in range(d)]),
        },
    )


def who(*parts):
    """Split and group by id of (split, group, n)."""
    rows = [(split, group) for split, group, n in parts for _ in range(n)]
    frame = pd.DataFrame(rows, columns=["split", "group"], index=[f"s{i:03d}" for i in range(len(rows))])
    return frame["split"], frame["group"]


@pytest.fixture(scope="module")
def staged():
    """Test controls and three stages of 40, ever smaller in 4 of 12 regions and larger in one; a score that follows."""
    rng = np.random.default_rng(5)
    split, group = who(("test", "CN", 40), ("target", "SMC", 40), ("target", "MCI", 40), ("target", "AD", 40))
    severity = np.repeat([0.0, 0.2, 0.8, 1.6], 40)
    z = rng.normal(size=(160, 12)) - severity[:, None] * (np.arange(12) % 3 == 0)
    z[:, 1] += 1.5 * severity
    z[rng.random(z.shape) < 0.05] = NAN
    square = np.nanmean(z**2, 1)
    extra = {"omnibus_p": (1 + (square[:40, None] >= square).sum(0)) / 41, "mse": square + rng.random(160)}
    ids = split.index
    scores = pd.DataFrame({"ADAS13": 10 + 6 * severity + rng.normal(size=160) * 3, "MMSE": 30 - severity}, index=ids)
    scores.iloc[:10, 0] = NAN
    adjust = pd.DataFrame({"age": rng.uniform(50, 90, 160), "rating": rng.choice(["good", "fair"], 160)}, index=ids)
    adjust.iloc[5] = None
    return deviations(z, **extra), split, group, scores, adjust


ORDER = ["CN", "SMC", "MCI", "AD"]
DIRECTIONS = {"ADAS13": "higher_is_worse", "MMSE": "higher_is_better"}


def findings_of(staged, *, adjust=True, scores=True):
    dev, split, group, measured, columns = staged
    subjects = subject_table(dev, split, group)
    columns = columns if adjust else columns[[]]
    return findings(dev, subjects, measured, DIRECTIONS if scores else {}, columns, ORDER, seed=1)


# ------------------------------------------------------------------------------------------------ people

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


# ------------------------------------------------------------------------------------------------ regions


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


# ------------------------------------------------------------------------------------------------ findings


def records(node):
    """Every record of a mapping with a value."""
    for child in node.values():
        if isinstance(child, dict):
            yield from [child] if "value" in child else []
            yield from records(child)


def test_every_estimate_has_its_interval_n_and_test(staged):
    results = findings_of(staged)
    found = list(records(results))
    assert len(found) > 70
    for one in found:
        assert one["low"] <= one["value"] <= one["high"]
        assert one["n"] >= 3
        assert one["test"]
    text = json.dumps(results, allow_nan=False)
    assert json.loads(text)["primary"]["endpoint"].startswith("trend of mean |z| over test controls, SMC, MCI, AD")
    assert "absent" not in json.dumps([results[name] for name in ("primary", "auc", "trend", "pairs")])


def test_findings_are_those_of_the_methods(staged):
    dev, split, group, scores, _ = staged
    subjects, results = subject_table(dev, split, group), findings_of(staged)
    x = {name: subjects.loc[group == name, "mean_sq_z"] for name in ORDER}
    area = stats.mannwhitneyu(x["AD"], x["CN"], method="asymptotic")
    one = results["auc"]["AD"]["mean_sq_z"]["raw"]
    assert (one["value"], one["p"], one["n"]) == pytest.approx((area.statistic / 1600, area.pvalue, 80))
    assert results["auc"]["AD"]["mean_z"]["raw"]["value"] < 0.5  # smaller than expected: cases score lower
    line = stats.linregress(np.repeat(range(4), 40), subjects["mean_abs_z"])
    assert results["trend"]["mean_abs_z"]["raw"]["slope"]["value"] == pytest.approx(line.slope)
    pair = results["pairs"]["AD against SMC"]
    welch = stats.ttest_ind(*(subjects.loc[group == name, "mean_abs_z"] for name in ("AD", "SMC")), equal_var=False)
    assert pair["difference"]["p"] == pytest.approx(welch.pvalue)
    assert len(results["pairs"]) == 6
    rank = results["correlations"]["ADAS13"]["raw"]["spearman"]
    expected = stats.spearmanr(subjects["mean_abs_z"].iloc[10:], scores["ADAS13"].iloc[10:])
    assert (rank["value"], rank["n"], rank["direction"]) == (pytest.approx(expected.statistic), 150, "higher_is_worse")
    assert results["correlations"]["MMSE"]["raw"]["pearson"]["value"] < 0
    assert results["groups"][TEST_CONTROLS]["mean_abs_z"]["null"] == pytest.approx(0.798, abs=1e-3)
    flagged = (dev["q"] < 0.05) & (subjects["group"].to_numpy() == "AD")[:, None]
    larger = float((flagged & (dev["z"] > 0)).sum() / flagged.sum())
    assert results["groups"]["AD"]["share_larger"]["value"] == pytest.approx(larger)


def test_rates_are_those_of_the_tables(staged):
    dev, split, group, *_ = staged
    subjects, results = subject_table(dev, split, group), findings_of(staged)
    people, controls = subjects[group == "AD"], subjects[split == "test"]
    regions = results["significance"]["AD"]["regions"]
    assert regions["value"] == pytest.approx((people["n_outliers"] / people["n_observed"]).mean())
    z = dev["z"].to_numpy()[(group == "AD").to_numpy()]
    rule = (poster_rule(z).sum(1) / np.isfinite(z).sum(1)).mean()
    assert results["significance"]["AD"]["poster_rule"]["value"] == pytest.approx(rule)
    out, healthy = ((x["omnibus_p"] <= 0.05).mean() for x in (people, controls))
    one = results["likelihood_ratio"]["AD"]
    assert (one["value"], one["rate"], one["healthy_rate"]) == pytest.approx((out / healthy, out, healthy))
    assert one["low"] < out / healthy < one["high"]
    within = results["heterogeneity"]["within"]
    assert within["AD"]["value"] == pytest.approx(people["hamming"].mean(), rel=0.01)  # of pairs, and of people
    assert within[TEST_CONTROLS] == {"absent": "flags that are the same in everybody; flags that vary needed"}
    assert set(results["heterogeneity"]["between"]) >= {"test controls and AD", "MCI and AD"}


def test_reconstruction_error_is_compared_as_on_the_poster(staged):
    dev, _, group, *_ = staged
    x = {name: dev["mse"].to_numpy()[(group == name).to_numpy()] for name in ("CN", "AD")}
    expected = stats.mannwhitneyu(x["AD"], x["CN"]).statistic / 1600
    assert findings_of(staged)["auc"]["AD"]["mse"]["raw"]["value"] == pytest.approx(expected)


def test_the_first_stage_is_compared_with_the_test_controls(staged):
    dev, split, group, *_ = staged
    x = subject_table(dev, split, group)["mean_abs_z"]
    one = findings_of(staged)["trend"]["mean_abs_z"]["raw"]["first_stage"]
    welch = stats.ttest_ind(x[group == "SMC"], x[split == "test"], equal_var=False)
    ends = welch.confidence_interval(0.95)
    assert (one["low"], one["high"], one["p"]) == pytest.approx((*ends, welch.pvalue))


def test_what_a_modality_adds_to_a_score_is_the_f_test_of_nested_regressions(staged):
    dev, split, group, scores, _ = staged
    x, y = subject_table(dev, split, group).iloc[10:], scores["ADAS13"].iloc[10:].to_numpy()
    small = np.stack([np.ones(150), x["mean_abs_z.t2"]], 1)
    full = np.column_stack([small, x["mean_abs_z.t1"]])
    less, more = (((y - d @ np.linalg.lstsq(d, y)[0]) ** 2).sum() for d in (small, full))
    one = findings_of(staged)["modalities"]["t1"]["scores"]["ADAS13"]["raw"]
    assert one["p"] == pytest.approx(stats.f.sf((less - more) / (more / 147), 1, 147))
    assert one["value"] ** 2 == pytest.approx((less - more) / less)


def test_what_a_modality_adds_to_an_auc_is_delongs_difference(staged):
    dev, _, group, *_ = staged
    z, results = np.abs(dev["z"].to_numpy()), findings_of(staged)["modalities"]
    every, rest = np.nanmean(z, 1), np.nanmean(z[:, 6:], 1)  # t1 is the first half
    rows = {name: (group == name).to_numpy() for name in ("CN", "AD")}
    area = [stats.mannwhitneyu(x[rows["AD"]], x[rows["CN"]]).statistic / 1600 for x in (every, rest)]
    assert results["t1"]["gain"]["AD"]["value"] == pytest.approx(area[0] - area[1])
    assert results["t1"]["auc"]["AD"]["value"] > results["t2"]["auc"]["AD"]["value"] - 0.5  # both are there


def test_modalities_with_a_common_residual_are_dependent(staged):
    dev, split, group, scores, adjust = staged
    common = np.random.default_rng(3).normal(size=(160, 1))
    tied = dev.assign(z=dev["z"] + 2 * common)
    apart, together = (
        findings_of((d, split, group, scores, adjust))["independence"]["first_eigenvalue"] for d in (dev, tied)
    )
    assert apart["p"] > 0.05
    assert together["p"] == pytest.approx(0.01)
    assert together["low"] > together["null"]
    assert together["n"] == 40


def test_the_expected_sign_of_a_correlation_is_reported(staged):
    results = findings_of(staged)["correlations"]
    for name, sign in (("ADAS13", 1), ("MMSE", -1)):
        one = results[name]["raw"]["spearman"]
        assert np.sign(one["value"]) == sign
        assert one["as_expected"] is True


def test_intervals_cover_the_sampling_error_of_the_calibration(staged):
    """Scale and location of every region off by chance: intervals grow, values and p-values stay."""
    dev = staged[0]
    rng, z = np.random.default_rng(7), dev["z"].to_numpy()
    other = np.stack([z * rng.normal(1, 0.1, 12) + rng.normal(0, 0.2, 12) for _ in range(4)])
    plain = findings_of(staged)
    same = findings_of((dev.assign(z_refit=(("refit", *dev["z"].dims), np.stack([z, z]))), *staged[1:]))
    assert json.dumps(same) == json.dumps(plain)
    results = findings_of((dev.assign(z_refit=(("refit", *dev["z"].dims), other)), *staged[1:]))
    pairs = [(one, two) for one, two in zip(records(results), records(plain), strict=True) if "low" in one]
    assert all(one["value"] == two["value"] and one.get("p") == two.get("p") for one, two in pairs)
    sizes = [part[name] for part in results["groups"].values() for name in ("n_significant", "dsi", "hamming", "mse")]
    assert all(one["low"] >= 0 for one in sizes if "low" in one)  # few are flagged: twice the SE would be below 0
    wider = [one["high"] - one["low"] > two["high"] - two["low"] for one, two in pairs]
    assert sum(wider) > len(pairs) / 2
    assert results["trend"]["mean_sq_z"]["raw"]["slope"]["low"] < plain["trend"]["mean_sq_z"]["raw"]["slope"]["low"]
    reconstruction = results["auc"]["AD"]["mse"]["raw"]
    assert reconstruction == plain["auc"]["AD"]["mse"]["raw"]  # does not depend on the calibrator
    shuffled = np.random.default_rng(0).permutation(160)
    again = dev.assign(z_refit=(("refit", *dev["z"].dims), other)).isel(subject=shuffled)
    assert json.dumps(findings_of((again, *staged[1:]))) == json.dumps(results)


def test_adjusted_estimates_leave_out_people_without_columns(staged):
    results = findings_of(staged)
    auc, correlation = results["auc"]["SMC"]["mean_abs_z"], results["correlations"]["ADAS13"]
    assert (auc["raw"]["n"], auc["adjusted"]["n"]) == (80, 79)  # s005 is a test control
    assert (correlation["raw"]["pearson"]["n"], correlation["adjusted"]["pearson"]["n"]) == (150, 150)
    assert "Adjusted for age, rating, with slopes within groups." in results["notes"]
    plain = findings_of(staged, adjust=False)
    assert "adjusted" not in json.dumps(plain["auc"])
    assert plain["auc"]["SMC"]["mean_abs_z"]["raw"]["value"] == auc["raw"]["value"]


def test_a_correlation_between_stages_disappears_within_them(staged):
    """MMSE is a function of the stage: it does not vary within stages, so there is no estimate."""
    one = findings_of(staged)["correlations"]["MMSE"]["within_group"]["pearson"]
    assert one == {
        "absent": "a column without variation; columns that vary needed",
        "direction": "higher_is_better",
    }


def test_findings_do_not_depend_on_the_order_of_people(staged):
    dev, split, group, scores, adjust = staged
    order = np.random.default_rng(0).permutation(160)
    shuffled = dev.isel(subject=order), split, group, scores.iloc[order], adjust.iloc[::-1]
    assert json.dumps(findings_of(shuffled)) == json.dumps(findings_of(staged))


def test_one_endpoint_is_primary_and_the_others_are_corrected(staged):
    results = findings_of(staged)
    everything = [one for one in records({**results, "primary": {}, "independence": {}}) if "p" in one]
    [primary] = [one for one in everything if "p_holm" not in one]
    assert {"endpoint": results["primary"]["endpoint"], **primary} == results["primary"]
    assert primary == results["trend"]["mean_abs_z"]["raw"]["jonckheere_terpstra"]
    rest = [one for one in everything if "p_holm" in one]
    smallest = min(rest, key=lambda one: one["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, len(rest) * smallest["p"]))


def test_the_primary_endpoint_of_one_group_is_its_auc(staged):
    dev, split, group, scores, adjust = staged
    kept = group.isin(["CN", "AD"])
    part = dev.isel(subject=kept.to_numpy()), split[kept], group[kept], scores, adjust
    results = findings_of(part)
    assert results["primary"]["endpoint"] == "AUC of mean |z|, AD against test controls"
    assert results["primary"]["value"] == results["auc"]["AD"]["mean_abs_z"]["raw"]["value"]
    assert not results.keys() & {"trend", "pairs"}
    assert "One target group: a trend needs at least two, in addition to the test controls." in results["notes"]


def test_healthy_people_alone_have_findings_without_contrasts(staged):
    dev, split, group, scores, adjust = staged
    kept = (split == "test").to_numpy()
    results = findings_of((dev.isel(subject=kept), split[kept], group[kept], scores, adjust))
    parts = ["groups", "significance", "heterogeneity", "correlations", "modalities", "independence"]
    assert list(results) == ["primary", *parts, "notes"]
    assert results["primary"] == {"endpoint": "none: there are no groups to compare"}
    assert results["notes"][0] == "Only test controls were scored: there are no groups to compare."
    assert set(results["correlations"]["ADAS13"]) == {"raw", "adjusted"}


def test_targets_alone_are_not_compared(staged):
    dev, split, group, scores, adjust = staged
    kept = (split == "target").to_numpy()
    results = findings_of((dev.isel(subject=kept), split[kept], group[kept], scores, adjust), scores=False)
    assert results["notes"][:2] == [
        "No test controls were scored: groups are not compared.",
        "Adjusted for age, rating, with slopes within groups.",
    ]
    assert results["correlations"] == {}
    assert not results.keys() & {"auc", "trend", "pairs", "likelihood_ratio"}
    assert set(results["groups"]) == {"SMC", "MCI", "AD"}


def test_a_group_of_two_is_reported_as_too_small(staged):
    dev, split, group, scores, adjust = staged
    kept = group.isin(["CN", "MCI"]) | group.index.isin(["s120", "s121"])
    results = findings_of((dev.isel(subject=kept.to_numpy()), split[kept], group[kept], scores, adjust))
    reason = {"absent": "groups of [40, 2] people; at least 3 in each needed"}
    assert results["auc"]["AD"]["mean_abs_z"]["raw"] == reason
    assert results["trend"]["mean_abs_z"]["raw"]["slope"]["n"] == 82
    assert results["pairs"]["AD against MCI"]["difference"]["absent"].startswith("groups of (2, 40) people")
    assert results["primary"]["absent"] == "groups of [40, 40, 2] people; at least 3 in each needed"


def test_other_people_are_refused(staged):
    dev, split, group, scores, adjust = staged
    subjects = subject_table(dev, split, group).iloc[1:]
    with pytest.raises(InputError, match="findings: different people in dev and subjects; expected the same people"):
        findings(dev, subjects, scores, DIRECTIONS, adjust, ORDER)
