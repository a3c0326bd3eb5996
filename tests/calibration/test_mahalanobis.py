"""The latent distance: p-values are valid with a covariance that was estimated from few people."""

import numpy as np
import pytest
from scipy import stats

from pyro_mmnorm.calibration.mahalanobis import LatentNorm
from pyro_mmnorm.core.errors import InputError

GROUPS = {"age": slice(0, 1)}


def people(rng, n, k=10):
    """Correlated latents that depend on age."""
    age = rng.normal(size=(n, 1))
    mix = np.random.default_rng(0).normal(size=(k, k))
    return 0.4 * age + rng.normal(size=(n, k)) @ mix, age


def test_p_of_healthy_people_are_valid_where_chi_square_is_not():
    """60 controls, 10 latents, 100 fits, 200 new people each: P(p <= a) within 3 SE of a by F, at most it by rank."""
    shares = {"F": [], "conformal": [], "chi-square": []}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        norm, (mean, age) = LatentNorm.fit(*people(rng, 60), GROUPS), people(rng, 200)
        dev = norm(mean, age)
        p = {
            "F": dev["latent_p"].to_numpy(),
            "conformal": dev["latent_conformal_p"].to_numpy(),
            "chi-square": stats.chi2.sf(dev["latent_distance"].to_numpy() ** 2, 10),
        }
        for name, values in p.items():
            shares[name].append([(values <= a).mean() for a in (0.05, 0.1)])
    level, found = np.array([0.05, 0.1]), {name: np.array(x) for name, x in shares.items()}
    error = {name: 3 * x.std(0) / 10 for name, x in found.items()}
    assert (np.abs(found["F"].mean(0) - level) < error["F"] + 0.005).all()
    assert (found["conformal"].mean(0) <= level + error["conformal"]).all()
    assert (found["chi-square"].mean(0) > 2 * level).all()  # the reason for the F distribution


def test_the_distance_does_not_depend_on_the_units_of_the_latents():
    rng = np.random.default_rng(1)
    mean, new = (people(rng, n)[0] for n in (80, 20))
    turned = np.random.default_rng(2).normal(size=(10, 10))
    one = LatentNorm.fit(mean, np.zeros((80, 0)), {})(new, np.zeros((20, 0)))
    other = LatentNorm.fit(mean @ turned, np.zeros((80, 0)), {})(new @ turned, np.zeros((20, 0)))
    np.testing.assert_allclose(one["latent_distance"], other["latent_distance"], rtol=0.02)  # the mean is shrunk


def test_a_collapsed_member_has_distance_0_and_leaves_the_others_unchanged():
    rng = np.random.default_rng(4)
    mean, age = people(rng, 60, k=4)
    both = np.column_stack([mean, np.zeros_like(mean)])
    norm = LatentNorm.fit(both, age, GROUPS, members=2)
    again = LatentNorm.from_arrays(norm.to_arrays(), GROUPS)
    for found in (norm(both, age), again(both, age)):
        alone = LatentNorm.fit(mean, age, GROUPS)(mean, age)
        np.testing.assert_allclose(found["latent_distance"], alone["latent_distance"])
        np.testing.assert_allclose(found["latent_distance_member_sd"], alone["latent_distance"] / 2**0.5)
        np.testing.assert_allclose(found["latent_p_member_sd"], (1 - alone["latent_p"]) / 2**0.5)


def test_an_inactive_latent_is_excluded_and_few_people_are_refused():
    rng = np.random.default_rng(3)
    mean, age = people(rng, 40)
    mean[:, 3] = 0.0
    found = LatentNorm.fit(mean, age, GROUPS)(mean, age)
    assert np.isnan(found["latent_z"][:, 3]).all()
    assert np.isfinite(found["latent_distance"]).all()
    with pytest.raises(InputError, match=r"14 controls and 10 latents that vary; expected at least 15"):
        LatentNorm.fit(*people(rng, 14), GROUPS)
    assert LatentNorm.fit(*people(rng, 15), GROUPS).kept.sum() == 10


@pytest.mark.parametrize(("noise", "kept"), [(3e-4, 3), (3e-3, 4)])
def test_a_latent_with_less_than_a_thousandth_of_its_own_variation_is_excluded(noise, kept):
    """The fourth latent is the sum of two others plus `noise` SDs of its own."""
    rng = np.random.default_rng(5)
    mean = rng.normal(size=(200, 4))
    mean[:, 3] = (mean[:, 0] + mean[:, 1]) / 2**0.5 + noise * mean[:, 3]
    assert LatentNorm.fit(mean, np.zeros((200, 0)), {}).kept.sum() == kept


def test_conformal_scores_are_distances_from_the_norm_of_all_others():
    """Five of 40 people, compared with a fit without each of them; the fits differ in their penalty by 0.2 %."""
    mean = 5 + np.random.default_rng(6).normal(size=(40, 3))
    nothing = np.zeros((40, 0))
    whole = LatentNorm.fit(mean, nothing, {})
    for i in range(5):
        others = np.arange(40) != i
        alone = LatentNorm.fit(mean[others], nothing[others], {})
        distance = alone(mean[[i]], nothing[[i]])["latent_distance"].item()
        assert whole.distances[i] == pytest.approx(distance, rel=4e-3)
