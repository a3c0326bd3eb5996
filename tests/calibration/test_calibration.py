"""Calibration: small samples, exchangeable conformal p, tails, round trip."""

import numpy as np
import pytest
from scipy import stats

from pyro_mmnorm.calibration.calibrators import CALIBRATORS, LOADERS, load_calibrator
from pyro_mmnorm.calibration.conformal import Conformal, mean_square
from pyro_mmnorm.calibration.empirical import Shape
from pyro_mmnorm.calibration.gaussian import GaussianCalibrator, variance_prior
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.student_t import LARGE_DF, normal_to_student_t, student_t_to_normal


@pytest.mark.parametrize("df", [5.0, 100.0, 1000.0])
def test_t_values_keep_their_tail_probability(df):
    t = np.array([-12.0, -3.0, -0.2, 0.0, 1.0, 8.0, 25.0])
    z = student_t_to_normal(t, df)
    np.testing.assert_allclose(stats.norm.logsf(np.abs(z)), stats.t.logsf(np.abs(t), df), rtol=1e-9)
    assert np.array_equal(np.sign(z), np.sign(t))


@pytest.mark.parametrize("df", [500.0, 2000.0, 1e5])
def test_the_expansion_is_the_tail_in_the_middle_and_joins_it_without_a_step(df):
    t = np.linspace(-4, 4, 161)
    np.testing.assert_allclose(student_t_to_normal(t, df), -stats.norm.isf(stats.t.cdf(t, df)), atol=2e-6)
    edge = student_t_to_normal([4 - 1e-4, 4 + 1e-4], df)
    assert 1e-4 < edge[1] - edge[0] < 3e-4


@pytest.mark.parametrize("df", [3.0, 106.0, 1e4, np.inf])
def test_far_t_values_stay_finite_and_in_order(df):
    z = student_t_to_normal(np.concatenate([np.linspace(0, 60, 2001), np.geomspace(61, 1e6, 200)]), df)
    assert np.isfinite(z).all()
    assert (np.diff(z) > 0).all()


def test_variance_prior_finds_the_prior_of_many_variances():
    # 4000 regions: standard error of log nu_0 about 0.05, so 15 % is three of them
    rng = np.random.default_rng(0)
    truth = 20 * 2.0 / rng.chisquare(20, 4000)
    found = truth * rng.chisquare(50, 4000) / 50
    df, variance = variance_prior(found, np.full(4000, 50.0))
    assert df == pytest.approx(20, rel=0.15)
    assert variance == pytest.approx(2.0, rel=0.03)


def healthy(rng, n, effects, noise):
    sites = len(effects)
    site = np.eye(sites)[rng.integers(0, sites, n)]
    age = rng.normal(size=(n, 2))
    return site @ effects + noise * rng.normal(size=(n, len(noise))), np.column_stack([age, site])


GROUPS = {"age": slice(0, 2), "site": slice(2, 22)}


def test_a_hundred_people_and_twenty_sites_give_unit_sd():
    # mean of 20 cohorts, each of 3000 x 60 cells: SE of the SD about 0.004; the plug-in form gives 1.05 to 1.3
    sds, plugin = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        effects, noise = rng.normal(size=(20, 60)) * 0.3, np.exp(0.2 * rng.normal(size=60))
        cal, test = healthy(rng, 106, effects, noise), healthy(rng, 3000, effects, noise)
        calibrator = GaussianCalibrator.fit(*cal, GROUPS)
        sds.append(calibrator(*test).std())
        free = np.linalg.lstsq(cal[1], cal[0], rcond=None)[0]
        plugin.append(((test[0] - test[1] @ free) / (cal[0] - cal[1] @ free).std(0)).std())
    assert np.mean(sds) == pytest.approx(1, abs=0.015)
    assert np.mean(plugin) > 1.1


def test_conformal_p_of_healthy_people_are_valid_region_and_omnibus():
    # 200 splits; P(p <= a) <= a + 3 SD / sqrt(200), failure rate about 1e-3 a line if the p were exactly uniform
    rng = np.random.default_rng(7)
    region, omnibus = [], []
    loadings = rng.normal(size=(5, 20)) * 0.5
    for _ in range(200):
        effects, noise = rng.normal(size=(20, 20)) * 0.3, np.ones(20)
        (x, c), (y, e) = healthy(rng, 106, effects, noise), healthy(rng, 300, effects, noise)
        x, y = x + rng.normal(size=(106, 5)) @ loadings, y + rng.normal(size=(300, 5)) @ loadings
        calibrator = GaussianCalibrator.fit(x, c, GROUPS)
        z = calibrator(y, e)
        region.append([(calibrator.conformal(np.abs(z)) <= a).mean() for a in (0.01, 0.05, 0.1)])
        omnibus.append([(calibrator.omnibus(mean_square(z)[:, None]) <= a).mean() for a in (0.01, 0.05, 0.1)])
    for shares in (np.array(region), np.array(omnibus)):
        bound = np.array([0.01, 0.05, 0.1]) + 3 * shares.std(0) / np.sqrt(200)
        assert (shares.mean(0) <= bound).all()


def test_conformal_p_counts_scores_at_least_as_large():
    p = Conformal.fit(np.array([[1.0], [2.0], [3.0], [np.nan]]))(np.array([[2.0], [0.5], [9.0], [np.nan]]))
    np.testing.assert_allclose(p[:, 0], [3 / 4, 1, 1 / 4, np.nan])


def fitted(name: str, df: float = 4.0):
    """A calibrator of 106 people with holes in their tables, t residuals, and the design of five more."""
    rng = np.random.default_rng(0)
    x, c = healthy(rng, 106, rng.normal(size=(20, 4)), np.ones(4))
    x += rng.standard_t(df, size=x.shape)
    x[rng.random(x.shape) < 0.1] = np.nan
    return CALIBRATORS[name](x, c, GROUPS), healthy(rng, 5, np.zeros((20, 4)), np.ones(4))[1], (x, c)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_z_increases_with_raw_z_and_missing_cells_stay_missing(name):
    calibrator, design, _ = fitted(name)
    grid = np.repeat(np.linspace(-30, 30, 601)[:, None], 4, 1)
    people = np.repeat(design[:1], len(grid), 0)
    z = calibrator(grid, people)
    assert np.isfinite(z).all()
    assert (np.diff(z, axis=0) > 0).all()
    grid[5, 1] = np.nan
    assert np.array_equal(np.isnan(calibrator(grid, people)), np.isnan(grid))


@pytest.mark.parametrize("name", CALIBRATORS)
def test_inverse_transform_is_the_inverse(name):
    calibrator, design, _ = fitted(name)
    for want in (-6.0, -2.0, 0.0, 1.5, 8.0):
        raw = calibrator.inverse_transform(want, design)
        assert raw.shape == (5, 4)
        np.testing.assert_allclose(calibrator(raw, design), want, atol=1e-8)
    by_cell = np.linspace(-4, 4, 20).reshape(5, 4)
    np.testing.assert_allclose(calibrator(calibrator.inverse_transform(by_cell, design), design), by_cell, atol=1e-8)
    many = calibrator.inverse_transform(np.array([-1.0, 1.0])[:, None, None], design)
    np.testing.assert_array_equal(many[1], calibrator.inverse_transform(1.0, design))


@pytest.mark.parametrize("name", CALIBRATORS)
def test_kept_arrays_give_the_same_calibrator(name):
    calibrator, design, (x, c) = fitted(name)
    again = load_calibrator(calibrator.name, calibrator.to_arrays(), GROUPS)
    z = calibrator(x, c)
    assert np.array_equal(z, again(x, c), equal_nan=True)
    assert np.array_equal(calibrator.inverse_transform(1.0, design), again.inverse_transform(1.0, design))
    assert np.array_equal(calibrator.conformal(np.abs(z)), again.conformal(np.abs(z)), equal_nan=True)
    omnibus = mean_square(z)[:, None]
    assert np.array_equal(calibrator.omnibus(omnibus), again.omnibus(omnibus), equal_nan=True)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_the_same_people_again_give_the_same_calibrator(name):
    calibrator, _, (x, c) = fitted(name)
    np.testing.assert_allclose(calibrator.refit(x, c)(x, c), calibrator(x, c), rtol=1e-8)


def test_a_name_without_a_loader_is_refused_and_one_can_be_added(monkeypatch):
    with pytest.raises(InputError, match="'mine'; expected one of"):
        load_calibrator("mine", {}, {})
    monkeypatch.setitem(LOADERS, "mine", LOADERS["none"])
    assert load_calibrator("mine", fitted("none")[0].to_arrays(), {}).name == "none"


def test_t_values_go_back_and_forth():
    z = np.array([-20.0, -8.0, -0.5, 0.0, 3.0, 15.0])
    for df in (3.0, 40.0, np.inf):
        np.testing.assert_allclose(student_t_to_normal(normal_to_student_t(z, df), df), z, atol=1e-10)


@pytest.mark.parametrize("n", [106, 1000])
def test_tails_of_t4_residuals_are_right_though_each_region_has_few_people(n):
    # 100,000 new people a region: the sampling error is that of the calibrator. Nominal shares 1 %, 0.1 % and 5e-5;
    # Gaussian tails on the same people give 2.2 %, 0.97 % and 46e-4, so the bounds are far from what they exclude.
    rng = np.random.default_rng(3)
    nothing = np.zeros((n, 0))
    raw, new = rng.standard_t(4, size=(n, 60)), rng.standard_t(4, size=(20_000, 60))
    z, plain = (CALIBRATORS[name](raw, nothing, {})(new, np.zeros((20_000, 0))) for name in ("empirical", "gaussian"))
    assert (np.abs(z) > 2.58).mean() == pytest.approx(0.01, abs=0.002)
    assert 0.0004 < (np.abs(z) > 3.29).mean() < 0.002
    assert (np.abs(z) > 4.06).mean() < 0.0003
    assert (np.abs(plain) > 4.06).mean() > 0.003


def test_gaussian_residuals_lose_nothing_by_the_empirical_shape():
    # mean square difference between z and the truth (SD 1), 20 cohorts of 106 whose regions share a factor: of the
    # gaussian calibrator about 12e-4; the pooled shape adds 2e-4, which is 0.02 % of the variance of z
    errors = {"gaussian": [], "empirical": []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        raw, new = (0.84 * rng.normal(size=(n, 60)) + 0.54 * rng.normal(size=(n, 1)) for n in (106, 2000))
        for name, found in errors.items():
            z = CALIBRATORS[name](raw, np.zeros((106, 0)), {})(new, np.zeros((2000, 0)))
            found.append(np.mean((z - new) ** 2))
    assert np.mean(errors["empirical"]) < np.mean(errors["gaussian"]) + 5e-4


def test_a_gaussian_tail_stays_gaussian_and_a_heavy_one_does_not():
    """Beyond two standard errors by chance in 2.3 % of tails: of 300 at most 7 + 3 SD; nu of t4 to a tenth."""
    rng = np.random.default_rng(7)
    gaussian = [Shape.fit(rng.normal(size=(300, 40))).df for _ in range(150)]
    assert (np.array(gaussian) < LARGE_DF).sum() <= 15
    heavy = [Shape.fit(rng.standard_t(4, size=(300, 40)) / 2**0.5).df for _ in range(20)]
    assert np.median(heavy) == pytest.approx(4, rel=0.1)


def test_a_tail_that_people_share_needs_more_people():
    """One t variable a person in all 40 regions: 300 people are no 12,000, and most tails pass as Gaussian."""
    rng = np.random.default_rng(8)
    shared = [
        Shape.fit(rng.standard_t(12, size=(300, 1)) * 0.91 + 0.01 * rng.normal(size=(300, 40))).df for _ in range(30)
    ]
    apart = [Shape.fit(rng.standard_t(12, size=(300, 40)) * 0.91).df for _ in range(30)]
    assert (np.array(shared) == LARGE_DF).mean() > 0.5 > 0.1 > (np.array(apart) == LARGE_DF).mean()


def test_skewed_residuals_become_nearly_symmetric():
    # a t tail cannot be lighter than normal, so some skew is left; of 1.14 less than a quarter
    rng = np.random.default_rng(1)
    raw, new = ((rng.gumbel(size=(500, 40)) - 0.577) * np.sqrt(6) / np.pi for _ in range(2))
    z = Shape.fit(raw)(new)
    assert abs(stats.skew(z.ravel())) < 0.28
    assert z.std() == pytest.approx(1, abs=0.03)


def test_a_shape_from_very_few_people_is_nearly_normal():
    shape = Shape.fit(np.array([[-1.0, 0.2], [0.1, 0.9], [1.0, np.nan]]))
    np.testing.assert_allclose(shape(np.array([-9.0, -1.0, 0.0, 0.5, 9.0])), [-9, -1, 0, 0.5, 9], rtol=0.6, atol=0.4)
    assert (np.diff(shape(np.linspace(-30, 30, 999))) > 0).all()


def test_a_scale_that_depends_on_site_and_age_is_found():
    # site scales 0.8 to 1.25 and a factor 1.6 over age, 1000 calibration people; each group SD within 0.05 (SE 0.01)
    rng = np.random.default_rng(5)

    def people(n: int):
        site, age = rng.integers(0, 4, n), rng.uniform(-1, 1, n)
        g = np.array([0.8, 0.95, 1.1, 1.25])[site] * 1.6 ** (age / 2)
        raw = g[:, None] * (rng.normal(size=(n, 40)) + 0.5 * rng.normal(size=(n, 1)))
        return raw, np.column_stack([age, np.eye(4)[site]]), site, age

    (x, c, _, _), (y, e, site, age) = people(1000), people(4000)
    z = GaussianCalibrator.fit(x, c, {"age": slice(0, 1), "site": slice(1, 5)})(y, e)
    sds = [z[site == s].std() for s in range(4)] + [
        z[(age > a) & (age <= a + 2 / 3)].std() for a in (-1, -1 / 3, 1 / 3)
    ]
    np.testing.assert_allclose(sds, 1, atol=0.05)
