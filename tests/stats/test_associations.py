"""Adjustment, correlations and trends against scipy and statsmodels; levels of tests and coverage of intervals."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.associations import (
    adjusted,
    correlation,
    first_stage,
    pearson,
    residuals,
    slope,
    spearman,
    stage_slope,
    steiger_test,
    trend,
)

NAN = np.nan


def rng(seed=0):
    return np.random.default_rng(seed)


def people(n=60, seed=20):
    draws = rng(seed)
    return {
        "age": draws.uniform(50, 90, n),
        "icv": draws.normal(1.5e6, 1e5, n),
        "site": draws.choice(np.array(["A", "B", "C"], object), n),
    }


def test_adjustment_removes_what_the_columns_explain_and_nothing_else():
    columns, group = people(), np.repeat(["CN", "AD"], [40, 20])
    effect = 3 + 0.2 * columns["age"] - 1e-6 * columns["icv"] + 2.0 * (columns["site"] == "B")
    rest = adjusted(effect + 5.0 * (group == "AD"), columns, group)
    np.testing.assert_allclose(rest - rest[0], 5.0 * (group == "AD"), atol=1e-9)  # lstsq on columns of unit SD
    assert rest.mean() == pytest.approx((effect + 5.0 * (group == "AD")).mean())


def test_adjustment_is_analysis_of_covariance():
    """The difference of adjusted means is the coefficient of the group beside the columns, by least squares."""
    columns, group, y = people(), np.arange(60) % 3 == 0, rng().normal(size=60)
    x = [np.ones(60), group, columns["age"] / 70, columns["icv"] / 1e6, columns["site"] == "A", columns["site"] == "B"]
    coefficient = np.linalg.lstsq(np.stack(x, 1).astype(float), y)[0][1]
    rest = adjusted(np.stack([y, 2 * y], 1), columns, group)
    np.testing.assert_allclose(rest[group].mean(0) - rest[~group].mean(0), [coefficient, 2 * coefficient])


def test_adjustment_does_not_depend_on_units_or_on_a_column_given_twice():
    columns, group, score = people(), np.arange(60) < 40, rng().normal(size=60)
    plain = adjusted(score, columns, group)
    again = adjusted(score, {**columns, "icv": columns["icv"] / 1e6, "months": 12 * columns["age"]}, group)
    np.testing.assert_allclose(plain, again, atol=1e-9)


def test_people_with_empty_cells_are_not_adjusted():
    columns, group = people(), np.arange(60) < 40
    columns["age"][3], columns["site"][5] = NAN, None
    rest = adjusted(rng().normal(size=60), columns, group)
    assert np.flatnonzero(np.isnan(rest)).tolist() == [3, 5]


def test_a_constant_column_changes_nothing():
    score, group = rng().normal(size=20), np.arange(20) < 12
    np.testing.assert_allclose(adjusted(score, {"dose": np.full(20, 7)}, group), score, atol=1e-12)


def test_adjustment_for_sites_without_people_of_both_groups_is_refused():
    group = np.arange(20) < 12
    with pytest.raises(InputError, match="columns that separate the groups completely"):
        adjusted(rng().normal(size=20), {"site": np.where(group, "A", "B").astype(object)}, group)


def test_pearson_is_scipys():
    x, y = rng().normal(size=(2, 30))
    one, expected = correlation([*x, 1.0], [*y, NAN]), stats.pearsonr(x, y)
    interval = expected.confidence_interval(0.95)
    got = [one.value, one.p, one.low, one.high]
    np.testing.assert_allclose(got, [expected.statistic, expected.pvalue, *interval], rtol=1e-9)
    assert one.n == 30


def test_spearman_is_scipys_with_the_interval_of_bonett_and_wright():
    x = rng().normal(size=40).round(1)
    y = x + rng(1).normal(size=40)
    one, expected = correlation(x, y, method="spearman"), stats.spearmanr(x, y)
    np.testing.assert_allclose([one.value, one.p], [expected.statistic, expected.pvalue], rtol=1e-9)
    half = stats.norm.ppf(0.975) * np.sqrt((1 + one.value**2 / 2) / 37)
    np.testing.assert_allclose(np.arctanh([one.low, one.high]) - np.arctanh(one.value), [-half, half])


def test_a_partial_correlation_has_its_closed_form():
    x, y, z = rng().normal(size=(3, 50)) + rng(1).normal(size=50)
    r = np.corrcoef([x, y, z])
    expected = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    one = correlation(x, y, given={"z": z})
    assert one.value == pytest.approx(expected)
    assert one.p == pytest.approx(2 * stats.t.sf(abs(expected * np.sqrt(47 / (1 - expected**2))), 47))
    assert np.arctanh(one.high) - np.arctanh(one.low) == pytest.approx(2 * stats.norm.ppf(0.975) / np.sqrt(50 - 1 - 3))
    assert correlation(x, y, given={"z": z, "again": 2 * z}).value == pytest.approx(expected)


def test_given_the_group_the_correlation_is_within_groups():
    """Two groups far apart, unrelated within: the raw r is near 1, the partial one that of centred groups."""
    group = np.repeat(np.array(["CN", "AD"], object), 30)
    x, y = rng().normal(size=(2, 60)) + 20 * (group == "AD")
    centred = [np.concatenate([part[:30] - part[:30].mean(), part[30:] - part[30:].mean()]) for part in (x, y)]
    assert correlation(x, y).value > 0.95
    assert correlation(x, y, given={"group": group}).value == pytest.approx(np.corrcoef(centred)[0, 1])


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_partial_correlations_keep_their_level_and_coverage(method):
    """1,000 samples of 25 people, x and y driven by z alone; .05 lies outside .03 to .075 in 1 of 500 runs."""
    draws, ones = rng(21), []
    for _ in range(1000):
        z = draws.normal(size=25)
        x, y = z + draws.normal(size=(2, 25))
        ones.append(correlation(x, y, method=method, given={"z": z}))
    # the partial Spearman correlation of this model is .012, not 0 (6 / pi asin(r / 2) for each pair); no matter at 25
    assert 0.03 < np.mean([one.p < 0.05 for one in ones]) < 0.075
    assert 0.925 < np.mean([one.low < 0 < one.high for one in ones]) < 0.97


def test_a_perfect_correlation_is_one():
    one = correlation([1, 2, 3, 4, 6], [2, 4, 6, 8, 12])
    assert one.value == pytest.approx(1)
    assert one.p == pytest.approx(0, abs=1e-6)


def test_steiger_changes_sign_with_the_order_of_scores():
    shared, a, b = rng().normal(size=(3, 80)) + rng(1).normal(size=80) * np.array([[1.0], [1.0], [0.2]])
    one, turned = steiger_test([*shared, 1], [*a, NAN], [*b, 2]), steiger_test(shared, b, a)
    assert one.value == pytest.approx(np.corrcoef(shared, a)[0, 1] - np.corrcoef(shared, b)[0, 1])
    assert (turned.value, turned.low, turned.high, turned.p) == pytest.approx((-one.value, -one.high, -one.low, one.p))
    assert one.n == 80


def test_steigers_test_keeps_its_level_and_zous_interval_its_coverage():
    """1,000 samples of 40, two correlated scores alike in r: outside these bounds in 1 of 500 runs each."""
    draws, ones = rng(22), []
    for _ in range(1000):
        common = draws.normal(size=(3, 40))
        ones.append(steiger_test(common[0], *(common[0] + common[1] + draws.normal(size=(2, 40)))))
    assert 0.03 < np.mean([one.p < 0.05 for one in ones]) < 0.075
    assert 0.925 < np.mean([one.low < 0 < one.high for one in ones]) < 0.975


def test_the_slope_is_that_of_least_squares():
    stage = np.repeat([0, 1, 2, 3], [12, 9, 20, 6])
    score = 0.8 + 0.1 * stage + 0.2 * rng().normal(size=47)
    one = trend([*score, NAN], [*stage, 3], rng=rng(1))
    fit = stats.linregress(stage, score)
    assert one.value == pytest.approx(fit.slope)
    assert one.sizes == (12, 9, 20, 6)
    width = 2 * stats.norm.ppf(0.975) * fit.stderr
    assert one.high - one.low == pytest.approx(width, rel=0.2)  # equal variances: both intervals agree but for chance
    assert one == trend(score, stage, rng=rng(1))


def test_the_trend_of_two_tiny_stages_keeps_both_in_every_draw():
    one = trend([1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1], rng=rng())
    assert 1 <= one.low < one.value == 3 < one.high <= 5  # means of 1 to 3 against means of 4 to 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adjusted([1, 2, 3], {}, [True, False]), "group: 2 groups for 3 people"),
        (lambda: adjusted([1, 2, 3], {"age": [1, 2]}, [True] * 3), r"column 'age': shape \(2,\) for 3 people"),
        (
            lambda: adjusted([1, 2, 3], {"age": [1, 2, 4]}, [True] * 3),
            "3 complete people to fit 1 columns; .* least 4",
        ),
        (lambda: adjusted([1, 2, NAN], {}, [True] * 3), "2 complete people to fit 0 columns; expected at least 3"),
        (lambda: adjusted([1, 2, 3], {"s": ["", None, NAN]}, [True] * 3), "0 complete people"),
        (lambda: correlation([1, 2, 3], [1, 2, 3], method="kendall"), "method 'kendall'; expected pearson or spearman"),
        (
            lambda: correlation([1, 2, 3], [1, 2, 4]),
            "3 complete people and 0 columns .*; expected at least 4",
        ),
        (lambda: correlation([1, 2, 3, 4], [7, 7, 7, 7]), "a column without variation"),
        (
            lambda: correlation([1, 2, 3, 5, 4, 6], [1, 3, 2, 4, 6, 5], given={"x": [1, 2, 3, 5, 4, 6]}),
            "without variation",
        ),
        (lambda: correlation([1, 2], [1, 2, 3]), r"columns of \[2, 3\] people; expected the same people"),
        (lambda: steiger_test([1, 2, 4, 3], [1, 3, 2, 4], [2, 6, 4, 8]), "two columns that correlate perfectly"),
        (lambda: trend([1, 2, 3], [1, 1, 1], rng=rng()), "trend: 1 stages; expected at least two"),
    ],
)
def test_invalid_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_adjusted_contrasts_and_partial_correlations_are_those_of_least_squares_in_statsmodels():
    columns, group, y = people(), np.arange(60) % 3 == 0, rng(6).normal(size=60)
    sites = [columns["site"] == name for name in ("A", "B")]
    x = np.stack([np.ones(60), group, columns["age"] / 70, columns["icv"] / 1e6, *sites], 1).astype(float)
    rest = adjusted(y, columns, group)
    assert rest[group].mean() - rest[~group].mean() == pytest.approx(OLS(y, x).fit().params[1])
    score = rng(7).normal(size=60) + y
    fit = OLS(y, np.column_stack([score, x[:, [0, 2, 3, 4, 5]]])).fit()
    one = correlation(score, y, given=columns)
    assert one.p == pytest.approx(fit.pvalues[0])
    small = OLS(y, x[:, [0, 2, 3, 4, 5]]).fit()
    assert one.value**2 == pytest.approx(1 - fit.ssr / small.ssr)
    assert one.p == pytest.approx(fit.compare_f_test(small)[1])  # nested regressions


def test_the_statistics_of_many_draws_are_those_of_each():
    x, y = rng(1).normal(size=(2, 3, 30)).round(1)
    stage = np.arange(30) % 4
    for i in range(3):
        assert pearson(x, y)[i] == pytest.approx(stats.pearsonr(x[i], y[i]).statistic, rel=1e-12)
        assert spearman(x, y)[i] == pytest.approx(stats.spearmanr(x[i], y[i]).statistic, rel=1e-12)
        assert correlation(x[i], y[i]).value == pytest.approx(pearson(x, y)[i], rel=1e-12)
        assert slope(y, x)[i] == pytest.approx(stats.linregress(x[i], y[i]).slope, rel=1e-12)
        standard = (x[i] - x[i, stage == 0].mean()) / x[i, stage == 0].std(ddof=1)
        per_stage = stats.linregress(stage, standard).slope
        assert stage_slope(x, np.tile(stage, (3, 1)))[i] == pytest.approx(per_stage, rel=1e-12)
        assert first_stage(x, np.tile(stage, (3, 1)))[i] == pytest.approx(standard[stage == 1].mean(), rel=1e-12)


def test_a_constant_column_has_no_correlation_and_no_units():
    constant, y = np.ones(5), np.arange(5.0)
    assert np.isnan(pearson(constant, y))
    assert np.isnan(stage_slope(constant, np.array([0.0, 0, 0, 1, 1])))


def test_residuals_are_those_of_least_squares_in_complete_people():
    columns, table = people(), rng(3).normal(size=(60, 2))
    table[4, 1] = NAN
    complete = np.arange(60) != 4
    x = np.stack([np.ones(60), columns["age"] / 70], 1)[complete]
    expected = table[complete] - x @ np.linalg.lstsq(x, table[complete])[0]
    rest = residuals(table, {"age": columns["age"]})
    np.testing.assert_allclose(rest[complete], expected, atol=1e-12)
    assert np.isnan(rest[4]).all()


def test_steigers_z_and_zous_interval_by_hand():
    shared, a, b = rng().normal(size=(3, 50)) + rng(1).normal(size=50)
    one, (first, second) = steiger_test(shared, a, b), (correlation(shared, x) for x in (a, b))
    r1, r2, r = first.value, second.value, np.corrcoef(a, b)[0, 1]
    m = ((r1 + r2) / 2) ** 2
    s = (r * (1 - 2 * m) - m / 2 * (1 - 2 * m - r**2)) / (1 - m) ** 2
    z = (np.arctanh(r1) - np.arctanh(r2)) * np.sqrt(47 / (2 - 2 * s))
    assert one.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    c = ((r - r1 * r2 / 2) * (1 - r1**2 - r2**2 - r**2) + r**3) / ((1 - r1**2) * (1 - r2**2))
    l1, u1, l2, u2 = r1 - first.low, first.high - r1, r2 - second.low, second.high - r2
    low, high = np.sqrt(l1**2 + u2**2 - 2 * c * l1 * u2), np.sqrt(u1**2 + l2**2 - 2 * c * u1 * l2)
    assert (one.low, one.high) == pytest.approx((r1 - r2 - low, r1 - r2 + high))


def test_four_people_are_enough_for_a_correlation():
    assert correlation([1, 2, 3, 4], [1, 3, 2, 4]).n == 4
