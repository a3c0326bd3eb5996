"""A new site from a few local controls: correct mean and SD, valid conformal p, and shrinkage of chance differences."""

import numpy as np
import pytest

from pyro_mmnorm.calibration.calibrators import CALIBRATORS, load_calibrator
from pyro_mmnorm.calibration.conformal import mean_square
from pyro_mmnorm.calibration.site import adapt
from pyro_mmnorm.core.errors import InputError

REGIONS = 60


def nothing(n: int) -> np.ndarray:
    """A design without covariates."""
    return np.zeros((n, 0))


class Site:
    """Controls whose regions share factors; another site has a shift of SD `shift` and a scale `stretch`."""

    def __init__(self, seed: int, shift: float = 0.5, stretch: float = 1.25, name: str = "gaussian") -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.loadings = 0.25 * rng.normal(size=(4, REGIONS))
        self.shift, self.stretch = shift * rng.normal(size=REGIONS), stretch
        self.trained = CALIBRATORS[name](self.old(300), nothing(300), {})

    def old(self, n: int) -> np.ndarray:
        return self.rng.normal(size=(n, 4)) @ self.loadings + 0.86 * self.rng.normal(size=(n, REGIONS))

    def new(self, n: int) -> np.ndarray:
        return self.shift + self.stretch * self.old(n)


@pytest.mark.parametrize("name", ["gaussian", "empirical"])
def test_thirty_controls_calibrate_a_site(name):
    # mean: SD about .02 over sites by the factors; SD: .02; RMS of region means: 1 / sqrt(30) by chance alone
    for seed in range(8):
        site = Site(seed, name=name)
        z = adapt(site.trained, site.new(30), nothing(30))(site.new(1000), nothing(1000))
        assert abs(z.mean()) < 0.15
        assert 0.9 < z.std() < 1.1
        assert np.sqrt((z.mean(0) ** 2).mean()) < 1.3 / np.sqrt(30)


def test_ten_controls_are_enough_for_the_right_sd_where_the_plug_in_is_too_wide():
    found, plug_in = [], []
    for seed in range(15):
        site = Site(seed)
        local, others = site.new(10), site.new(1000)
        found.append(adapt(site.trained, local, nothing(10))(others, nothing(1000)).std())
        z, others_z = site.trained(local, nothing(10)), site.trained(others, nothing(1000))
        plug_in.append(((others_z - z.mean(0)) / z.std(0)).std())
    assert np.mean(found) == pytest.approx(1, abs=0.03)  # 15 sites, SD .03 each: standard error .008
    assert np.mean(plug_in) > 1.15


def test_conformal_p_of_a_new_site_are_valid():
    # 100 sites; P(p <= a) <= a + 3 SD / sqrt(100)
    levels = (0.01, 0.05, 0.1)
    region, omnibus = [], []
    for seed in range(100):
        site = Site(seed)
        fitted = adapt(site.trained, site.new(30), nothing(30))
        z = fitted(site.new(300), nothing(300))
        region.append([(fitted.conformal(np.abs(z)) <= a).mean() for a in levels])
        omnibus.append([(fitted.omnibus(mean_square(z)[:, None]) <= a).mean() for a in levels])
    for shares in (np.array(region), np.array(omnibus)):
        assert (shares.mean(0) <= np.array(levels) + 3 * shares.std(0) / 10).all()
    assert fitted.conformal.smallest == 1 / 331


def test_a_site_like_the_others_gets_a_small_shift():
    # the region means of 20 controls differ from 0 by .22 by chance; what is left after shrinkage is far less
    moved = []
    for seed in range(10):
        site = Site(seed, shift=0.0, stretch=1.0)
        fitted = adapt(site.trained, site.new(20), nothing(20))
        moved.append([np.sqrt(np.mean(fitted.shift**2)), abs(np.log(fitted.scale))])
    assert np.mean(moved, axis=0)[0] < 0.11
    assert np.mean(moved, axis=0)[1] < 0.06


def test_a_shift_common_to_all_regions_applies_to_an_unobserved_region():
    site = Site(3, shift=0.0, stretch=1.0)
    local = site.new(30) + 0.8
    local[:, 7] = np.nan
    fitted = adapt(site.trained, local, nothing(30))
    assert fitted.shift[7] == pytest.approx(0.8, abs=0.15)
    z = fitted(site.new(500) + 0.8, nothing(500))
    assert abs(z[:, 7].mean()) < 0.2
    site = Site(3)
    local = site.new(30)
    local[:, 7] = np.nan
    fitted = adapt(site.trained, local, nothing(30))
    assert fitted.uncertainty[7] > 3 * np.delete(fitted.uncertainty, 7).max()


@pytest.mark.parametrize("name", CALIBRATORS)
def test_it_is_a_calibrator_like_any_other(name):
    site = Site(0, name=name)
    local = site.new(30)
    local[site.rng.random(local.shape) < 0.1] = np.nan
    fitted = adapt(site.trained, local, nothing(30))
    again = load_calibrator(fitted.name, fitted.to_arrays(), {})
    others = site.new(50)
    others[3, 2] = np.nan
    z = fitted(others, nothing(50))
    assert np.array_equal(np.isnan(z), np.isnan(others))
    np.testing.assert_array_equal(again(others, nothing(50)), z)
    assert np.array_equal(again.conformal(np.abs(z)), fitted.conformal(np.abs(z)), equal_nan=True)
    for want in (-5.0, 0.0, 2.0):
        np.testing.assert_allclose(fitted(fitted.inverse_transform(want, nothing(2)), nothing(2)), want, atol=1e-8)
    grid = np.repeat(np.linspace(-30, 30, 301)[:, None], REGIONS, 1)
    assert (np.diff(fitted(grid, nothing(301)), axis=0) > 0).all()
    np.testing.assert_allclose(fitted.refit(local, nothing(30))(others, nothing(50)), z)


def test_too_few_controls_are_refused():
    site = Site(0)
    with pytest.raises(InputError, match="adapt: 9 controls; expected at least 10 of the site"):
        adapt(site.trained, site.new(9), nothing(9))
    unseen = site.new(12)
    unseen[:4] = np.nan
    with pytest.raises(InputError, match="adapt: 8 controls"):
        adapt(site.trained, unseen, nothing(12))


def test_people_without_any_region_do_not_matter_also_in_a_refit():
    site = Site(1)
    local = site.new(30)
    with_gaps = np.insert(local, [0, 10], np.nan, axis=0)
    fitted = adapt(site.trained, local, nothing(30))
    for other in (adapt(site.trained, with_gaps, nothing(32)), fitted.refit(with_gaps, nothing(32))):
        np.testing.assert_array_equal(other.shift, fitted.shift)
        assert (other.scale, other.df) == (fitted.scale, fitted.df)


def test_the_t_distribution_of_a_site_has_at_least_three_degrees_of_freedom():
    """One of 30 controls is 50 SD from the others in every region: the mean square of people varies without limit."""
    site = Site(2)
    local = site.new(30)
    local[0] += 50 * site.rng.choice([-1, 1], REGIONS)
    assert adapt(site.trained, local, nothing(30)).df == 3
    assert adapt(site.trained, site.new(30), nothing(30)).df > 3
