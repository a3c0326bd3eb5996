"""The bootstrap: people are drawn with all their columns and within strata, and the interval covers the mean."""

import numpy as np
import pytest

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.bootstrap import (
    bootstrap_interval,
    percentile_interval,
    resampled_people,
    resampled_statistic,
    resampled_weights,
)
from pyro_mmnorm.stats.intervals import mean


def rng(seed=0):
    return np.random.default_rng(seed)


def test_people_are_drawn_with_all_their_columns():
    x = rng().normal(size=30)

    def statistic(a, b):
        np.testing.assert_array_equal(b, 2 * a)
        return a.mean(-1)

    one = bootstrap_interval(statistic, x, 2 * x, rng=rng(1), repeats=50)
    assert one.value == x.mean()
    assert one.low < one.value < one.high


def test_strata_keep_their_number_of_people():
    group = np.array([2, 0, 1, 2, 0, 1, 2, 0, 2, 2])
    drawn = group[resampled_people(group, 20, rng(1))]
    np.testing.assert_array_equal(drawn, np.tile(np.sort(group), (20, 1)))


def test_every_person_is_drawn_equally_often():
    """10,000 draws of 5 people: each 50,000 x 1/5, SD 89; a deviation of 400 has a probability of 1 in 1e5."""
    for counts in (
        np.bincount(resampled_people(np.zeros(5), 10_000, rng(2)).ravel()),
        resampled_weights(5, 10_000, rng(3)).sum(0),
    ):
        assert counts.sum() == 50_000
        assert abs(counts - 10_000).max() < 400


def test_draws_are_those_of_the_seed():
    """Results of an earlier version are reproduced: the draws of a seed are part of the results."""
    expected = rng(4).integers(0, 6, (3, 6))
    np.testing.assert_array_equal(resampled_people(np.zeros(6), 3, rng(4)), expected)
    np.testing.assert_array_equal(resampled_weights(4, 2, rng(5)), rng(5).multinomial(4, np.full(4, 0.25), size=2))


@pytest.mark.parametrize("repeats", [1, 49, 50, 101])
def test_blocks_do_not_change_the_statistic(repeats):
    x, rows = rng().normal(size=7), rng(1).integers(0, 7, (repeats, 7))
    np.testing.assert_array_equal(resampled_statistic(mean, [x], rows), [x[row].mean() for row in rows])


def test_the_percentile_interval_holds_95_percent_of_the_draws():
    drawn = rng().normal(3, 1, size=(1000, 2))
    low, high = percentile_interval(drawn)
    np.testing.assert_allclose(((low <= drawn) & (drawn <= high)).mean(0), 0.95)
    np.testing.assert_allclose((drawn < low).mean(0), 0.025)
    around = percentile_interval(drawn, centre=[0.0, 5.0])
    np.testing.assert_allclose(around - [[0.0, 5.0]] * 2, [low, high] - drawn.mean(0), atol=1e-12)


def test_bootstrap_interval_of_a_mean_covers_it():
    """400 samples of 40 people: the percentile interval covers .93; outside .89 to .97 in 1 of 500 runs."""
    samples, draws = rng(2).normal(size=(400, 40)), rng(3)
    ones = [bootstrap_interval(mean, x, rng=draws, repeats=200) for x in samples]
    assert 0.89 < np.mean([one.low < 0 < one.high for one in ones]) < 0.97


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval(mean, [1.0, 2.0], rng=rng()), r"columns of \[2\] people; expected at least 3"),
        (lambda: bootstrap_interval(lambda a, b: 0.0, [1, 2, 3], [1, 2], rng=rng()), r"columns of \[2, 3\] people"),
        (lambda: bootstrap_interval(mean, [1, 2, np.nan], rng=rng()), "a statistic that is not finite"),
        (lambda: bootstrap_interval(mean, [1, 2, 3, 9], rng=rng(), strata=["a"] * 3), r"columns of \[3, 4\] people"),
        (
            lambda: bootstrap_interval(mean, [2, 2, 2], rng=rng()),
            "an interval of width 0 at 2; expected a statistic that varies",
        ),
    ],
)
def test_invalid_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
