"""The cohort like UK Biobank and ADNI agrees with its documented truth.

Statistical tests have fixed seeds. Their bounds lie FIVE standard errors out where nothing else is said, so that with a
fresh seed one comparison fails by chance in 2 of a million cases, and all of them together in fewer than 1 of 1,000.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import pyro_mmnorm as mm
from pyro_mmnorm.app.cli import app
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.simulation.people import GROUPS, SCORES, STAGES, SUBTYPES
from pyro_mmnorm.simulation.simulated import Simulation
from pyro_mmnorm.simulation.spellings import FIRST
from pyro_mmnorm.simulation.ukb_adni import UkbAdni
from pyro_mmnorm.simulation.volumes import ICV, factor_loadings, region_table

FIVE = 5.0
FEW = {"healthy": 60, "controls": 40, "patients": 40}
DOWN = ["left_CA1", "right_subiculum", "lh_entorhinal_volume", "rh_middletemporal_volume", "Left-Amygdala"]
FLUID = ["Left-Lateral-Ventricle", "Right-Inf-Lat-Vent", "3rd-Ventricle"]


def simulate(**options) -> UkbAdni:
    return mm.simulate(kind="ukb_adni", **options)


@pytest.fixture(scope="module")
def full():
    return simulate()


@pytest.fixture(scope="module")
def ill():
    """Many patients, few others."""
    return simulate(healthy=10, controls=2000, patients=4000, seed=3)


def table(cohort):
    """Volumes of all regions, NaN where missing, [n, 115]."""
    volumes = pd.concat(cohort.values.values(), axis=1)
    return volumes.where(volumes > 0)


def residuals(cohort, rows):
    """Log volumes that age, sex and head size leave, in people who lack nothing; and the regression of age and sex.

    Age enters in years from 64, with a square.
    """
    people, logs = cohort.participants[rows], np.log(table(cohort)[rows])
    seen = logs.notna().all(axis=1).to_numpy()
    years = people["age"].to_numpy() - 64
    male, head = (people["sex"] == "M").to_numpy(float), np.log(people["icv"].to_numpy() / ICV)
    design = np.column_stack([np.ones(len(years)), years, years**2, male, head])[seen]
    fitted = np.linalg.lstsq(design, logs.to_numpy()[seen], rcond=None)[0]
    left = logs[seen] - design @ fitted
    error = left.std().to_numpy() * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))[:, None]
    return left, pd.DataFrame(fitted, columns=logs.columns), pd.DataFrame(error, columns=logs.columns)


# Numbers and names


def test_numbers_are_those_of_the_poster(full):
    people = full.participants
    assert isinstance(full, Simulation)
    assert people.groupby(["study", "diagnosis"]).size().to_dict() == {
        ("UKB", "CN"): 9875, ("ADNI", "CN"): 269, ("ADNI", "SMC"): 106, ("ADNI", "EMCI"): 312, ("ADNI", "LMCI"): 263,
        ("ADNI", "AD"): 181,
    }  # fmt: skip
    assert {m: frame.shape for m, frame in full.values.items()} == {
        "cortical": (11006, 64), "subcortical": (11006, 35), "hippocampal": (11006, 16),
    }  # fmt: skip
    assert people.index.is_unique


def test_names_are_real_and_no_measure_is_a_sum_of_others():
    regions = region_table()
    cortical = regions[regions["modality"] == "cortical"]
    assert cortical["region"].str.fullmatch(r"[lr]h_[a-z]+_volume").all()
    assert not cortical["structure"].isin(["frontalpole", "temporalpole"]).any()
    assert (cortical.groupby("structure").size() == 2).all()
    assert "Hippocampus" not in set(regions["structure"])
    assert not regions["structure"].str.contains("Whole|Total|eTIV").any()
    subfields = regions[regions["modality"] == "hippocampal"]
    assert subfields.groupby("side").size().to_dict() == {"left": 8, "right": 8}
    assert regions[["region", "ukb", "adni"]].map(str).nunique().to_list() == [115, 115, 115]
    assert regions["adni"].str.fullmatch(r"ST\d+(CV|SV|HS)").all()
    assert regions["origin"].isin(["aomic", "ours"]).all()


def test_field_names_are_those_of_the_reference_tables(shared):
    """Every row of the reference tables that names one of our columns names the same region."""
    if not (shared / "reference").is_dir():
        pytest.skip("no reference tables here")
    regions = region_table().set_index("region")
    adni = pd.read_csv(shared / "reference" / "adni_st_codes.csv").set_index("code")["region"].str.lower()
    for code, structure, side in regions[["adni", "structure", "side"]].to_numpy(str):
        if code.endswith("CV"):
            assert adni[code] == f"{side}{structure}"
    fields = pd.read_csv(shared / "reference" / "ukb_freesurfer_fields.csv").astype({"field_id": str})
    fields = fields[fields["measure"] == "volume"].set_index("field_id")
    for field, structure, side in regions[["ukb", "structure", "side"]].to_numpy(str):
        if field in fields.index:
            assert fields.loc[field, "hemi"] == {"left": "lh", "right": "rh"}[side]
            assert fields.loc[field, "region"].removesuffix("-Proper") == structure


def test_fewer_people_have_the_same_proportions():
    people = simulate(healthy=100, controls=27, patients=86).participants
    counts = people["diagnosis"].value_counts()
    for stage in STAGES:
        assert abs(counts[stage] - GROUPS[stage].people / 10) < 1
    assert counts["CN"] == 127


def test_ages_are_in_the_ranges_of_the_studies(full):
    age = full.participants.groupby("study")["age"].agg(["min", "max"])
    assert (age.loc["UKB"] == [45, 82]).all()
    assert age.loc["ADNI", "min"] >= 55
    assert age.loc["ADNI", "max"] <= 91
    means = full.participants.groupby(["study", "diagnosis"])["age"].mean()
    assert (means["ADNI"] > means["UKB", "CN"] + 7).all()  # groups of at least 106 people: 5 SE are 4 years


# Volumes


def test_volumes_are_positive_and_of_the_right_size(full):
    volumes = table(full)
    raw = pd.concat(full.values.values(), axis=1)
    assert (volumes.isna() | (volumes > 0)).all(axis=None)
    assert not (raw < 0).any(axis=None)
    regions = region_table().set_index("region")
    expected = regions["young"] * np.exp(regions["to_64"])
    people = full.participants
    usual = (people["study"] == "UKB") & people["age"].between(62, 66)
    # The mean head, the share of men and the shift of a centre move the median by a few percent.
    assert (np.log(volumes[usual].median() / expected).abs() < 0.06).all()


def test_the_truth_has_the_level_and_the_slopes_of_the_table(full):
    """Halfway between the sexes, without the shift of the centre. Centred differences of a parabola are its slope."""
    ages = np.array([64, 59, 61, 74, 76], dtype=float)
    people = [pd.DataFrame({"age": ages, "sex": sex, "site": "ukb-reading", "icv": ICV}) for sex in ("F", "M")]
    truth, regions = full.truth, region_table()
    logs = (
        sum(truth.norm(half)[0] for half in people) / 2 - truth.sd * truth.site_shift[truth.sites.index("ukb-reading")]
    )
    np.testing.assert_allclose(np.exp(logs[0]), regions["young"] * np.exp(regions["to_64"]), rtol=1e-9)
    np.testing.assert_allclose((logs[2] - logs[1]) / 2, regions["slope_60"] / 100, atol=1e-9)
    np.testing.assert_allclose((logs[4] - logs[3]) / 2, regions["slope_75"] / 100, atol=1e-9)


def test_age_has_the_slope_of_the_table(full):
    """Slopes at 60 and 75 years of 9,875 people, given sex and head size; a parabola is what was drawn."""
    left, fitted, error = residuals(full, full.participants["study"] == "UKB")
    assert len(left) > 6000
    regions = region_table().set_index("region")
    for age, column in ((60, "slope_60"), (75, "slope_75")):
        slope = fitted.loc[1] + 2 * (age - 64) * fitted.loc[2]
        spread = error.loc[1] + 2 * abs(age - 64) * error.loc[2]
        assert ((slope - regions[column] / 100).abs() < FIVE * spread).all()
    assert (fitted.loc[1, FLUID] > FIVE * error.loc[1, FLUID]).all()
    assert (fitted.loc[1, DOWN] < -FIVE * error.loc[1, DOWN]).all()
    late = fitted.loc[2, [c for c in fitted if c.endswith(("CA1", "subiculum", "tail"))]]
    assert (late < 0).all()  # the hippocampus shrinks faster late


def test_volumes_increase_with_head_size_by_a_power_below_one(full):
    _, fitted, error = residuals(full, full.participants["study"] == "UKB")
    regions = region_table().set_index("region")
    assert ((fitted.loc[4] - regions["icv"]).abs() < FIVE * error.loc[4]).all()
    assert (fitted.loc[3] - regions["sex"]).abs().lt(FIVE * error.loc[3]).all()


def test_one_common_factor_and_correlated_pairs(full):
    """Bounds: 9,875 people, so that a correlation has a standard error of at most .01."""
    left, _, _ = residuals(full, full.participants["study"] == "UKB")
    r = pd.DataFrame(np.corrcoef(left, rowvar=False), index=left.columns, columns=left.columns)
    size = np.abs(r.to_numpy()[np.triu_indices(115, 1)])
    assert abs(size.mean() - 0.2) < 0.03
    regions = region_table().set_index("region")
    sides = {side: regions[regions["side"] == side].index for side in ("left", "right")}
    twins = np.diag(r.loc[sides["left"], sides["right"]])
    assert (regions.loc[sides["left"], "structure"].to_numpy() == regions.loc[sides["right"], "structure"]).all()
    other = r.loc[regions["system"] == "frontal", regions["system"] == "occipital"].to_numpy()
    assert (twins > np.abs(other).max() - 0.01).all()
    assert np.median(twins) > 0.55
    within = r.loc[regions["system"] == "occipital", regions["system"] == "occipital"].to_numpy()
    assert within[np.triu_indices(8, 1)].mean() > other.mean() + 0.2  # neighbours
    true = factor_loadings(region_table())
    np.testing.assert_allclose(r - np.eye(115), true @ true.T - np.diag((true**2).sum(axis=1)), atol=FIVE * 0.013)
    share = np.linalg.eigvalsh(r)[-1] / 115
    assert 0.2 < share < 0.35


def test_tails_are_heavier_than_normal_by_default(full):
    heavy = residuals(full, full.participants["study"] == "UKB")[0].kurt()
    light = residuals(simulate(healthy=4000, controls=0, patients=0, tails=None), slice(None))[0].kurt()
    assert heavy.mean() > 0.3
    assert abs(light.mean()) < 0.1  # spread grows with age by a quarter: .02; chance is below that


def test_studies_and_sites_differ_in_location_and_scale(full):
    """Residuals of 269 controls of ADNI from the truth of one centre are the shift, with a standard error of .06."""
    truth = full.truth
    ukb = [site.startswith("ukb") for site in truth.sites]
    adni = np.invert(ukb)
    step = np.median(truth.site_shift[adni], axis=0)
    assert 0.2 < step.std() < 0.5
    assert np.abs(truth.site_shift[ukb]).mean() < 0.1
    assert np.median(truth.site_scale[adni]) / np.median(truth.site_scale[ukb]) > 1.05
    people = full.participants.assign(site="ukb-cheadle")
    controls = (people["stage"] == 0) & (people["study"] == "ADNI")
    mean, sd = truth.norm(people[controls])
    z = ((np.log(table(full)[controls]) - mean) / sd).mean()
    assert np.corrcoef(z, step - truth.site_shift[0])[0, 1] > 0.9
    assert not set(people["site"]) - set(truth.sites)
    assert full.participants.groupby("study")["site"].nunique().to_dict() == {"ADNI": 30, "UKB": 3}


def test_failures_and_missing_cells_have_their_rates():
    cohort = simulate(healthy=2000, controls=0, patients=0, failures=0.01, missing=0.02)
    raw = pd.concat(cohort.values.values(), axis=1)
    gaps, zeros = int(raw.isna().sum().sum()), int((raw == 0).sum().sum())
    for count, of, share in ((gaps, raw.size, 0.02), (zeros, raw.size - gaps, 0.01)):
        assert stats.binomtest(count, of, share).pvalue > 1e-6  # by chance once in a million seeds
    clean = pd.concat(simulate(healthy=2000, controls=0, patients=0, failures=0, missing=0).values.values(), axis=1)
    assert (clean > 0).all(axis=None)
    seen = raw > 0
    pd.testing.assert_frame_equal(raw.where(seen), clean.where(seen))  # a failure changes no other cell


# What is wrong with the patients


def test_controls_have_no_effect_and_effects_increase_with_severity(full):
    stage, hidden = full.participants["stage"], full.hidden
    assert (full.effect[stage == 0] == 0).all(axis=None)
    assert (hidden.loc[stage == 0, ["severity"]] == 0).all(axis=None)
    assert set(hidden.loc[stage == 0, "subtype"]) | set(hidden.loc[stage == 0, "effect_class"]) == {""}
    assert set(hidden.loc[stage > 0, "effect_class"]) == {"local"}
    size = full.effect.abs().sum(axis=1)
    assert (size[hidden["severity"] == 0] == 0).all()
    for subtype in SUBTYPES:
        own = hidden["subtype"] == subtype
        assert size[own].corr(hidden.loc[own, "severity"]) > 0.9


def test_volumes_differ_only_by_the_effect():
    """The same people with another size of effect: their log volumes differ by SD times the difference of effects."""
    one, other = (simulate(**FEW, effect=effect, failures=0, missing=0) for effect in ("local", "along"))
    pd.testing.assert_frame_equal(one.participants, other.participants)
    sd = one.truth.norm(one.participants)[1]
    moved = (np.log(table(one)) - np.log(table(other))) / sd
    np.testing.assert_allclose(moved, one.effect.to_numpy() - other.effect.to_numpy(), atol=1e-9)


def test_stages_overlap_in_order(ill):
    """Severity of a stage is above that of the stage before with a probability between .6 and .99."""
    stage, severity = ill.participants["stage"], ill.hidden["severity"]
    for k in (1, 2, 3):
        now, then = severity[stage == k + 1], severity[stage == k]
        chance = stats.mannwhitneyu(now, then).statistic / (len(now) * len(then))
        assert 0.6 < chance < 0.99
    assert abs(severity[stage == 4].mean() - 1) < FIVE * 0.3 / np.sqrt((stage == 4).sum())


def test_with_the_stage_ventricles_grow_and_the_temporal_lobe_shrinks(ill):
    """Effects, and volumes at the head size, age, sex and site of each: 490 patients or more per stage."""
    stage = ill.participants["stage"]
    mean, sd = ill.truth.norm(ill.participants)
    z = ((np.log(table(ill)) - mean) / sd).groupby(stage).mean()
    planted = ill.effect.rename(columns=lambda name: name.partition(".")[2]).groupby(stage).mean()
    for frame, slack in ((planted, 0.0), (z, 0.15)):
        assert (frame[FLUID].diff().iloc[1:] > -slack).all(axis=None)
        assert (frame[DOWN].diff().iloc[1:] < slack).all(axis=None)
        assert (frame.loc[4, FLUID] > 0.5).all()
        assert (frame.loc[4, DOWN] < -0.7).all()
    assert (planted["Brain-Stem"] == 0).all()


def test_subtypes_differ_where_they_should(ill):
    subtype = ill.hidden["subtype"][ill.participants["stage"] > 0]
    shares = np.array(list(SUBTYPES.values())) / sum(SUBTYPES.values())
    counts = subtype.value_counts()[list(SUBTYPES)]
    assert (np.abs(counts / len(subtype) - shares) < FIVE * 0.5 / np.sqrt(len(subtype))).all()
    at_one = ill.effect.loc[subtype.index].div(ill.hidden["severity"].loc[subtype.index], axis=0)
    profile = at_one.rename(columns=lambda name: name.partition(".")[2]).groupby(subtype).mean()
    assert profile.loc["sparing", "left_CA1"] > -0.5
    assert (profile.loc[["typical", "limbic"], "left_CA1"] < -1.5).all()
    assert profile.loc["limbic", "lh_inferiorparietal_volume"] > -0.4
    assert (profile.loc[["sparing"], "lh_inferiorparietal_volume"] < -1.2).all()
    assert profile["lh_entorhinal_volume"].idxmin() == "limbic"
    table_profile = region_table().set_index("region")[list(SUBTYPES)].T
    # a patient's own share has SD .53 of the profile; at least 400 patients of the rarest subtype
    np.testing.assert_allclose(profile.loc[list(SUBTYPES)], table_profile, atol=FIVE * 0.53 * 2.2 / np.sqrt(400))


@pytest.mark.parametrize("effect", ["local", "along"])
def test_the_two_classes_of_effect_are_not_mixed(effect):
    """`along`: every effect is a combination of the loadings, and given all other regions it is almost undetectable.
    `local`: it is not, and it shows. Bounds leave .1 to either side of what 300 patients give (.25 and .03)."""
    cohort = simulate(healthy=20, controls=0, patients=300, effect=effect, tails=None, seed=4)
    sick = cohort.participants["stage"] > 0
    assert set(cohort.hidden.loc[sick, "effect_class"]) == {effect}
    planted, loadings = cohort.effect[sick].to_numpy(), cohort.truth.loadings
    moved = np.linalg.lstsq(loadings, planted.T, rcond=None)[0]
    beside = np.linalg.norm(planted.T - loadings @ moved) / np.linalg.norm(planted)
    z = cohort.reference_z("reconstruction")[sick].to_numpy()
    seen = np.isfinite(z)
    shown = np.corrcoef(planted[seen], z[seen])[0, 1]
    if effect == "along":
        assert beside < 1e-9
        assert abs(shown) < 0.13
    else:
        assert beside > 0.3
        assert shown > 0.15


def test_without_patchiness_all_patients_of_a_subtype_have_the_same_profile():
    cohort = simulate(healthy=10, controls=0, patients=60, patchiness=0)
    hidden = cohort.hidden[cohort.hidden["severity"] > 0]
    unit = cohort.effect.loc[hidden.index].div(hidden["severity"], axis=0)
    profile = region_table()[list(SUBTYPES)].T.loc[hidden["subtype"]]
    np.testing.assert_allclose(unit, profile, atol=1e-9)


def test_reference_z_is_exact_without_heavy_tails():
    """Over 3,000 controls of two studies each region's z is standard normal, also by age; with tails there is none."""
    cohort = simulate(healthy=2000, controls=1000, patients=0, tails=None, seed=5)
    people = cohort.participants
    for kind in ("normative", "reconstruction", "cross_modal"):
        z = cohort.reference_z(kind)
        for part in (slice(None), people["study"] == "ADNI", people["age"] < 60):
            count = z[part].count()
            assert (z[part].mean().abs() < FIVE / np.sqrt(count)).all()
            assert ((z[part].std() - 1).abs() < FIVE / np.sqrt(2 * count)).all()
    with pytest.raises(InputError, match=r"no closed form.*tails=None"):
        simulate(**FEW).reference_z("normative")


# Cognition


def test_scores_are_whole_numbers_within_the_scales(full, ill):
    for cohort in (full, ill):
        scores = cohort.participants[list(SCORES)]
        adni = cohort.participants["study"] == "ADNI"
        assert scores[~adni].isna().all(axis=None)
        assert (scores[adni] == scores[adni].round()).all(axis=None)
        for name, test in SCORES.items():
            assert scores[name].min() >= test.scale[0]
            assert scores[name].max() <= test.scale[1]
    assert full.participants["education"].between(7, 20).all()


@pytest.mark.parametrize(
    ("score", "low", "high"), [("ADAS13", 0.80, 0.92), ("RAVLT", -0.76, -0.60), ("MMSE", -0.92, -0.80)]
)
def test_scores_depend_on_severity_with_the_documented_noise(ill, score, low, high):
    sick = ill.participants["stage"] > 0
    assert low < ill.participants.loc[sick, score].corr(ill.hidden.loc[sick, "severity"]) < high


def test_scores_have_the_documented_reliability(ill):
    adni = ill.participants[ill.participants["study"] == "ADNI"]
    for name, said in {"ADAS13": 0.88, "RAVLT": 0.76, "MMSE": 0.88}.items():
        assert abs(1 - 0.5 * SCORES[name].noise ** 2 / adni[name].var() - said) < 0.02


def test_hippocampus_and_cognition_correlate_as_published(ill):
    """Over patients r about -.4 to -.5; the poster's deviations reach .54 with ADAS13."""
    sick = ill.participants["stage"] > 0
    subfields = table(ill).filter(regex="^(left|right)_(?!hippocampal-fissure)")[sick]
    r = subfields.sum(axis=1, min_count=14).corr(ill.participants.loc[sick, "ADAS13"])
    assert -0.55 < r < -0.3


# The record


def same(one, other):
    for left, right in zip(
        [one.participants, one.hidden, one.effect, *one.values.values()],
        [other.participants, other.hidden, other.effect, *other.values.values()],
        strict=True,
    ):
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_the_same_seed_gives_the_same_tables():
    same(simulate(**FEW, seed=3), simulate(**FEW, seed=3))
    one, other = (simulate(**FEW, seed=seed) for seed in (3, 4))
    assert not one.values["cortical"].equals(other.values["cortical"])
    assert not np.array_equal(one.truth.site_shift, other.truth.site_shift)


def test_fewer_people_give_the_same_truth():
    few, many = (simulate(**{**FEW, "healthy": n}).truth.arrays() for n in (10, 300))
    assert list(few) == list(many)
    assert all(np.array_equal(few[name], many[name]) for name in few)


def test_splits_train_on_one_study_and_calibrate_on_the_other(full):
    people = full.participants
    assert people.groupby(["study", "split"]).size().to_dict() == {
        ("UKB", "train"): 9875, ("ADNI", "calibrate"): 188, ("ADNI", "test"): 81, ("ADNI", "target"): 862,
    }  # fmt: skip
    assert people["step"].value_counts().to_dict() == {
        "train": 9875, "target": 862, "adapt": 107, "calibrate": 81, "test": 81,
    }  # fmt: skip
    assert (people.loc[people["step"] == "adapt", "split"] == "calibrate").all()


def test_to_cohort_keeps_all_people_and_regions():
    cohort = simulate(healthy=80, controls=60, patients=40, failures=0.01)
    door = cohort.to_cohort()
    assert door.regions == list(cohort.effect.columns)
    assert len(door) == 180
    assert dict(door.kinds) == {"age": "spline", "sex": "category", "icv": "linear"}
    assert door.groups == ("CN", *STAGES)
    assert dict(door.directions) == {
        "ADAS13": "higher_is_worse", "RAVLT": "higher_is_better", "MMSE": "higher_is_better",
    }  # fmt: skip
    zeros = sum(int((frame == 0).sum().sum()) for frame in cohort.values.values())
    assert zeros > 100
    assert sum(int((frame == 0).sum().sum()) for frame in door.values.values()) == 0  # failures are not observed


def test_configuration_reads_the_written_tables(tmp_path, monkeypatch):
    cohort = simulate(**FEW, seed=2)
    folder = cohort.write(tmp_path / "tables", spelling="adni")
    assert sorted(path.name for path in folder.iterdir()) == [
        "ADNIMERGE.csv", "UCSFFSX.csv", "cortical.csv", "effect.csv", "hidden.csv", "hippocampal.csv",
        "participants.csv", "subcortical.csv", "truth.npz",
    ]  # fmt: skip
    monkeypatch.setenv("MMNORM_UKB_ADNI", str(folder))
    read = mm.read_cohort(Path(__file__).parents[2] / "configs" / "ukb_adni.yaml")
    direct = cohort.to_cohort()
    assert read.regions == direct.regions
    assert (read.groups, dict(read.kinds), dict(read.directions)) == (
        direct.groups, dict(direct.kinds), dict(direct.directions),
    )  # fmt: skip
    assert read.split.to_dict() == direct.split.to_dict()
    for m in direct.values:
        np.testing.assert_allclose(read.values[m], direct.values[m], rtol=0, atol=0.6e-4)
    hidden = pd.read_csv(folder / "hidden.csv", index_col=0, keep_default_na=False)
    np.testing.assert_allclose(hidden["severity"], cohort.hidden["severity"], atol=0.6e-4)
    assert hidden["subtype"].tolist() == cohort.hidden["subtype"].tolist()
    with np.load(folder / "truth.npz") as archive:
        np.testing.assert_array_equal(archive["icv"], cohort.truth.icv)


def test_ukb_spelling_contains_every_volume_of_its_people():
    """A field, or the sum of the fields of a region; without people of ADNI."""
    cohort = simulate(**FEW, failures=0.01, missing=0.01)
    [(name, frame)] = cohort.spelled("ukb").items()
    assert (name, frame.index.name, frame.index[0], len(frame)) == ("ukb.csv", "eid", FIRST, 60)
    assert all(re.fullmatch(r"\d+-[02]\.0", column) for column in frame)
    assert frame["54-2.0"].isin([11025, 11026, 11027]).all()
    assert frame["31-0.0"].isin([0, 1]).all()
    volumes = pd.concat(cohort.values.values(), axis=1).iloc[:60]
    for region, fields in region_table()[["region", "ukb"]].to_numpy(str):
        parts = frame[[f"{field}-2.0" for field in fields.split("+")]]
        np.testing.assert_allclose(parts.sum(axis=1, skipna=False), volumes[region], rtol=1e-12)
    assert frame.shape[1] == 4 + sum(fields.count("+") + 1 for fields in region_table()["ukb"])
    body = frame["26622-2.0"] / frame["26626-2.0"]  # body and head of the left CA1 are no multiples of one another
    assert body.std() > 0.05


def test_adni_spelling_contains_every_volume_of_its_people():
    cohort = simulate(**FEW)
    measured, people = cohort.spelled("adni").values()
    assert list(measured.index) == list(people.index) == list(range(FIRST + 60, FIRST + 140))
    np.testing.assert_array_equal(
        measured[region_table()["adni"].to_list()], pd.concat(cohort.values.values(), axis=1).iloc[60:]
    )
    np.testing.assert_array_equal(people["ICV"], measured["ST10CV"])
    assert people["DX_bl"].tolist() == cohort.participants["diagnosis"].tolist()[60:]
    assert people["RAVLT_immediate"].tolist() == cohort.participants["RAVLT"].tolist()[60:]
    assert set(people["DX"]) == {"CN", "MCI", "Dementia"}
    with pytest.raises(InputError, match="Did you mean 'adni'"):
        cohort.spelled("adnii")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ukb_adn"}, "kind: 'ukb_adn'; expected one of .*Did you mean 'ukb_adni'"),
        ({"patient": 3}, "ukb_adni: patient: .*Did you mean 'patients'"),
        ({"effect": "both"}, "effect: 'both'; expected one of local, along"),
        ({"healthy": -1}, "ukb_adni: healthy: -1; expected a whole number"),
        ({"controls": -1}, "ukb_adni: controls: -1"),
        ({"failures": 1.0}, "ukb_adni: failures: 1.0; expected a share"),
        ({"missing": -0.1}, "ukb_adni: missing: -0.1"),
        ({"patchiness": float("nan")}, "ukb_adni: patchiness: nan"),
        ({"tails": 2}, "tails: 2"),
        ({"patients": 2.5}, "patients: 2.5"),
    ],
)
def test_out_of_range_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        mm.simulate(**{"kind": "ukb_adni", **FEW, **change})


def test_other_kinds_refuse_a_scenario():
    with pytest.raises(InputError, match="ukb_adni: scenario"):
        mm.simulate(mm.simulate(healthy=20, patients=0).scenario, kind="ukb_adni")


def test_command_line_writes_the_kind(tmp_path):
    asked = ["simulate", "--kind", "ukb_adni", "--out", str(tmp_path), "--healthy", "100", "--patients", "20"]
    assert CliRunner().invoke(app, [*asked, "--effect", "along", "--spelling", "adni"]).exit_code == 0
    assert set(pd.read_csv(tmp_path / "hidden.csv", keep_default_na=False)["effect_class"]) == {"", "along"}
    assert (tmp_path / "UCSFFSX.csv").is_file()
    people = pd.read_csv(tmp_path / "participants.csv", index_col=0)
    assert people["study"].value_counts().to_dict() == {"ADNI": 289, "UKB": 100}
    wrong = CliRunner().invoke(app, ["simulate", "--kind", "adni", "--out", str(tmp_path / "x")])
    assert wrong.exit_code == 2
    assert "kind: 'adni'" in wrong.output
    other = CliRunner().invoke(app, ["simulate", "--spelling", "adni", "--out", str(tmp_path / "x")])
    assert "--spelling: kind poster; expected kind ukb_adni" in other.output
