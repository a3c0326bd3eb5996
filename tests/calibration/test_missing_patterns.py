"""Width of z by pattern of missing modalities: estimated where it differs, and 1 where it does not."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pyro_mmnorm as mm
from pyro_mmnorm.calibration.missing_patterns import mask_modalities, pattern_widths, widths_of

PATTERN = np.repeat(["all", "few"], [400, 60])


def z_of(seed, width=1.0, cells=15):
    """Standard normal z of 460 people with 30 regions, of which 60 have fewer cells and another width."""
    z = np.random.default_rng(seed).normal(size=(460, 30))
    z[PATTERN == "few", cells:] = np.nan
    return np.where((PATTERN == "few")[:, None], width * z, z)


@pytest.mark.parametrize("width", [0.8, 1.25])
def test_a_width_is_found(width):
    """60 x 15 cells tell an SD to 2.4 %, the mean of 40 to .4 %; shrinkage takes a share (.024 / .22)^2 of the log."""
    found = np.mean([pattern_widths(z_of(seed, width), PATTERN)["few"] for seed in range(40)])
    assert abs(np.log(found / width)) < 0.02
    assert abs(np.log(found)) > 0.9 * abs(np.log(width))


def test_without_a_difference_no_width_is_found():
    """Beyond one standard error by chance in 32 % of 300: within 3 binomial SE; and then it is small."""
    found = [pattern_widths(z_of(seed), PATTERN) for seed in range(300)]
    share = np.mean([bool(x) for x in found])
    assert abs(share - 0.32) < 3 * np.sqrt(0.32 * 0.68 / 300) + 0.03  # the dispersion taken is the larger of two
    assert max(abs(np.log(x.get("few", 1.0))) for x in found) < 0.1


def test_correlated_cells_count_less():
    """One common factor in all cells of a person: 60 people are 60 values, and an SD of them is off by 9 %."""
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        z = (rng.normal(size=(460, 1)) * 0.9 + rng.normal(size=(460, 30)) * 0.19**0.5) * np.ones((1, 30))
        found.append(np.log(pattern_widths(z, PATTERN).get("few", 1.0)))
    assert np.std(found) < 0.07  # as independent cells they would be kept almost whole, with an SD of .09


def test_people_without_any_cell_and_patterns_of_one_person_are_accepted():
    z = z_of(0)
    z[3] = np.nan
    lone = np.array(["all"] * 459 + ["one"])
    assert pattern_widths(z, np.full(460, "all")) == {}
    assert all(np.isfinite(x) for x in pattern_widths(z, lone).values())
    assert widths_of(["all", "few"], {"few": 1.2}).tolist() == [[1.0], [1.2]]


@pytest.fixture(scope="module")
def cohort():
    regions = {"cortical": 12, "subcortical": 8, "hippocampal": 4}
    return mm.simulate(healthy=500, patients=30, regions=regions, latents=4, missing_modalities=0.1, seed=5).to_cohort()


def test_modalities_are_masked_in_turn(cohort):
    less = mask_modalities(cohort, seed=0)
    before = cohort.present.loc[less.ids]
    assert (less.present <= before).all(axis=None)
    assert less.present.any(axis=1).all()
    assert (less.present.sum(axis=1) < before.sum(axis=1)).all()
    assert set(cohort.ids.difference(less.ids)) == set(cohort.ids[cohort.present.sum(axis=1) == 1])
    assert pd.Series(less.modalities_present).value_counts().min() > 50  # six patterns, in equal shares nearly
    turned = mask_modalities(cohort[cohort.ids[::-1]], seed=0)
    pd.testing.assert_frame_equal(turned.present.loc[less.ids], less.present)


def test_widths_of_a_norm_are_kept_on_disk_and_used(cohort, tmp_path):
    norm = mm.NormativeModel(mm.LinearGaussian.for_cohort(cohort, "factor_analysis"))
    norm.calibrate(cohort.calibrate, mm.KINDS)
    norm.widths["reconstruction"] = {"hippocampal": 2.0}
    norm.save(tmp_path / "model")
    again, few = mm.load(tmp_path / "model"), cohort.test[cohort.test.present["hippocampal"]]
    only = few.hiding(pd.DataFrame({"cortical": True, "subcortical": True, "hippocampal": False}, few.ids))
    assert again.widths == norm.widths
    xr.testing.assert_identical(again.raw(only), norm.raw(only))
    wide = norm.raw(only)
    norm.widths["reconstruction"] = {}
    plain = norm.raw(only)
    np.testing.assert_allclose(2 * wide["z_raw"], plain["z_raw"])
    np.testing.assert_allclose(wide["sd"], 2 * plain["sd"])


def test_complete_people_need_no_width():
    whole = mm.simulate(healthy=300, patients=5, regions={"a": 6, "b": 5}, latents=2, seed=2).to_cohort()
    norm = mm.NormativeModel(mm.LinearGaussian.for_cohort(whole, "factor_analysis"))
    norm.calibrate(whole.calibrate, mm.KINDS)
    assert "normative" not in norm.widths
    assert all("a + b" not in widths for widths in norm.widths.values())


def test_no_calibrator_means_raw_z(cohort):
    model = mm.LinearGaussian.for_cohort(cohort, "factor_analysis")
    assert mm.NormativeModel(model, calibrator="none").calibrate(cohort.calibrate).widths == {}


def test_patients_with_fewer_modalities_than_all_controls_get_their_own_width():
    """Complete controls only, and loadings of half their size: z of sixteen regions alone would be .09 too wide.

    480 test controls x 16 cells tell an SD to .8 %, and 240 calibration people to 1.1 %: 3 SE are .04.
    """
    whole = mm.simulate(healthy=2400, patients=1, latents=6, regions={"a": 40, "b": 16}, seed=3).to_cohort()
    model = mm.LinearGaussian.for_cohort(whole, "factor_analysis")
    model.loadings.mul_(0.5)
    norm = mm.NormativeModel(model).calibrate(whole.calibrate, ("reconstruction",))
    only = whole.test.hiding(pd.DataFrame({"a": True, "b": False}, whole.test.ids))
    sd = norm.deviations(only)["z"].std().item()
    norm.widths["reconstruction"] = {}
    assert abs(sd - 1) < 0.04
    assert norm.deviations(only)["z"].std().item() > 1.07
