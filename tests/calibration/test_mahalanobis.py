"""The latent distance: p-values that know from how few people the covariance was estimated."""

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
        found = norm(mean, age)
        p = {
            "F": found["latent_p"].to_numpy(),
            "conformal": found["latent_conformal_p"].to_numpy(),
            "chi-square": stats.chi2.sf(found["latent_distance"].to_numpy() ** 2, 10),
        }
        for name, values in p.items():
            shares[name].append([(values <= a).mean() for a in (0.05, 0.1)])
    level, told = np.array([0.05, 0.1]), {name: np.array(x) for name, x in shares.items()}
    error = {name: 3 * x.std(0) / 10 for name, x in told.items()}
    assert (np.abs(told["F"].mean(0) - level) < error["F"] + 0.005).all()
    assert (told["conformal"].mean(0) <= level + error["conformal"]).all()
    assert (told["chi-square"].mean(0) > 2 * level).all()  # what the class is there for


def test_the_distance_does_not_depend_on_the_units_of_the_latents():
    rng = np.random.default_rng(1)
    mean, new = (people(rng, n)[0] for n in (80, 20))
    turned = np.random.default_rng(2).normal(size=(10, 10))
    one = LatentNorm.fit(mean, np.zeros((80, 0)), {})(new, np.zeros((20, 0)))
    other = LatentNorm.fit(mean @ turned, np.zeros((80, 0)), {})(new @ turned, np.zeros((20, 0)))
    np.testing.assert_allclose(one["latent_distance"], other["latent_distance"], rtol=0.02)  # the mean is shrunk


def test_a_member_that_collapsed_says_distance_0_and_keeps_nobody_from_the_others():
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


def test_a_latent_that_carries_nothing_is_left_out_and_few_people_are_refused():
    rng = np.random.default_rng(3)
    mean, age = people(rng, 40)
    mean[:, 3] = 0.0
    found = LatentNorm.fit(mean, age, GROUPS)(mean, age)
    assert np.isnan(found["latent_z"][:, 3]).all()
    assert np.isfinite(found["latent_distance"]).all()
    with pytest.raises(InputError, match=r"14 controls and 10 latents that vary; expected at least 15"):
        LatentNorm.fit(*people(rng, 14), GROUPS)
