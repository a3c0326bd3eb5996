"""Hamming distances against scipy, and the standard error against the spread over samples."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.distances import hamming


def rng(seed=0):
    return np.random.default_rng(seed)


def test_hamming_is_scipys_over_all_pairs():
    flags = rng(1).random((30, 12)) < 0.2
    seen = np.ones_like(flags)
    assert hamming(flags, seen).value == pytest.approx(pdist(flags, "hamming").mean())
    between = hamming(flags[:10], seen[:10], (flags[10:], seen[10:]))
    assert between.value == pytest.approx(cdist(flags[:10], flags[10:], "hamming").mean())
    assert between.sizes == (10, 20)


def test_only_regions_observed_in_both_count():
    flags = np.array([[True, True], [False, False], [False, True]])
    seen = np.array([[True, False], [True, True], [True, True]])
    assert hamming(flags, seen).value == pytest.approx(3 / 4)  # 1 of 1, 1 of 1, 1 of 2 common regions


def test_the_interval_of_a_distance_is_as_wide_as_samples_differ():
    """SD over 400 samples against the mean SE; both within 3.5 % (one SD) of the truth: 12 % is 2.4 of them."""
    draws = rng(2)

    def one():
        rate = np.clip(draws.gamma(0.5, 0.2, (40, 1)), 0, 0.9)  # people differ in how much is flagged
        flags = draws.random((40, 30)) < rate
        return hamming(flags, np.ones_like(flags))

    found = [one() for _ in range(400)]
    assert np.std([x.value for x in found]) == pytest.approx(np.mean([x.se for x in found]), rel=0.12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hamming(np.ones((2, 3), bool), np.ones((2, 3), bool)), r"groups of \[2\] people; expected at least 3"),
        (lambda: hamming(np.ones((4, 3), bool), np.ones((4, 3), bool)), "flags that are the same in everybody"),
        (lambda: hamming(np.ones((4, 3), bool), np.zeros((4, 3), bool)), "flags that are the same .* that vary"),
    ],
)
def test_invalid_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_standard_error_by_hand():
    """Three people, flags of one region: pairs differ 2 of 3; distances of a person to the others 2, 1, 1 of 2."""
    one = hamming(np.array([[True], [False], [False]]), np.ones((3, 1), bool))
    assert one.value == pytest.approx(2 / 3)
    parts = (np.array([2.0, 1.0, 1.0]) - 2 / 3 * 2) / 2
    assert one.se == pytest.approx(2 * np.sqrt(parts.var(ddof=1) / 3))
    assert one.high == 1.0  # a share does not exceed 1
    assert one.low == pytest.approx(2 / 3 - stats.norm.ppf(0.975) * one.se)


def test_between_groups_each_group_adds_its_variance_once():
    flags, seen = rng(3).random((9, 4)) < 0.4, np.ones((9, 4), bool)
    a, b = (flags[:5], seen[:5]), (flags[5:], seen[5:])
    distance = (flags[:5, None] != flags[5:]).mean(-1)  # [5, 4]
    variance = distance.mean(1).var(ddof=1) / 5 + distance.mean(0).var(ddof=1) / 4
    one = hamming(*a, b)
    assert one.se == pytest.approx(np.sqrt(variance))
    assert (one.value, one.se) == pytest.approx((hamming(*b, a).value, hamming(*b, a).se))
