"""Statistics: closed forms, scipy where it has the method, invariances, and rates at a stated chance of failure."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats
from scipy.spatial.distance import cdist, pdist
from statsmodels.api import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.associations import adjusted, correlation, steiger_test, trend
from pyro_mmnorm.stats.bootstrap import bootstrap_interval
from pyro_mmnorm.stats.contrasts import column_moments, group_contrast, share_significant
from pyro_mmnorm.stats.distances import hamming
from pyro_mmnorm.stats.intervals import MEAN_ABS_Z, Estimate, difference, mean_interval, observed
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg, holm
from pyro_mmnorm.stats.ranks import auc, cliffs_delta, delong_test, jonckheere_terpstra
from pyro_mmnorm.stats.rates import likelihood_ratio, share

NAN = np.nan
EXACT = {"rtol": 1e-10, "atol": 1e-12}  # the same formula in another order of operations


def rng(seed=0):
    return np.random.default_rng(seed)


def with_gaps(x, share=0.1, seed=9):
    return np.where(rng(seed).random(x.shape) < share, NAN, x)


# ------------------------------------------------------------------------------------------------ many p-values

p_tables = arrays(
    float, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.one_of(st.floats(0, 1), st.just(NAN))
)


@given(p_tables)
def test_bh_is_scipys_over_the_observed(p):
    q = benjamini_hochberg(p)
    for row, out in zip(p, q, strict=True):
        seen = ~np.isnan(row)
        np.testing.assert_array_equal(np.isnan(out), ~seen)
        if seen.any():
            np.testing.assert_allclose(out[seen], stats.false_discovery_control(row[seen]), **EXACT)


@given(p_tables)
def test_bh_goes_along_the_axis_that_is_asked_for(p):
    np.testing.assert_array_equal(benjamini_hochberg(p, axis=0), benjamini_hochberg(p.T, axis=1).T)


@given(p_tables.map(np.ravel), st.randoms())
def test_adjusted_p_values_do_not_depend_on_the_order(p, random):
    order = random.sample(range(p.size), p.size)
    for rule in (benjamini_hochberg, holm):
        np.testing.assert_allclose(rule(p[order]), rule(p)[order], **EXACT)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.04, NAN, 0.01, 0.03, 0.9]), [0.09, NAN, 0.04, 0.09, 0.9], **EXACT)


def test_holm_keeps_the_family_wise_rate():
    """2,000 families of 10 null p-values; a rate of .05 lies outside .035 to .065 in 1 of 500 runs."""
    found = [(holm(p) < 0.05).any() for p in rng(1).random((2000, 10))]
    assert 0.035 < np.mean(found) < 0.065


@pytest.mark.parametrize("rule", [benjamini_hochberg, holm])
@pytest.mark.parametrize("p", [[0.1, 1.1], [-0.1, NAN], [np.inf]])
def test_what_is_no_p_value_is_refused(rule, p):
    with pytest.raises(InputError, match=r"p-values: values from .*; expected values in \[0, 1\]"):
        rule(p)


# ------------------------------------------------------------------------------------------------ intervals


def test_calibrated_mean_abs_z():
    assert pytest.approx(stats.halfnorm.mean(), rel=1e-12) == MEAN_ABS_Z


def test_an_estimate_tells_only_what_is_there():
    one = Estimate(value=1.0, low=0.5, high=1.5, n=9, test="t", p=0.0, sizes=(4, 5))
    assert one.to_dict() == {"value": 1.0, "low": 0.5, "high": 1.5, "n": 9, "test": "t", "p": 0.0, "sizes": (4, 5)}


def test_mean_interval_is_the_t_interval():
    x = rng().normal(size=12)
    one = mean_interval([*x, NAN])
    expected = stats.t.interval(0.95, 11, loc=x.mean(), scale=stats.sem(x))
    np.testing.assert_allclose([one.low, one.high], expected, **EXACT)
    assert one.n == 12


def test_bootstrap_draws_people_with_all_their_columns():
    x = rng().normal(size=(30, 2))

    def slope(a, b):
        np.testing.assert_array_equal(b, 2 * a)
        return a[:, 0].mean()

    one = bootstrap_interval(slope, x, 2 * x, rng=rng(1), repeats=50)
    assert one.value == x[:, 0].mean()
    assert one.low < one.value < one.high


def test_bootstrap_keeps_the_sizes_of_strata():
    group = np.repeat([0, 1, 2], [3, 10, 20])
    sizes = set()

    def statistic(g, x):
        sizes.add(tuple(np.bincount(g.astype(int))))
        return x.mean()

    bootstrap_interval(statistic, group, rng().normal(size=33), rng=rng(1), repeats=20, strata=group)
    assert sizes == {(3, 10, 20)}


def test_bootstrap_interval_of_a_mean_covers_it():
    """400 samples of 40 people: the percentile interval covers .93; outside .89 to .97 in 1 of 500 runs."""
    samples, draws = rng(2).normal(size=(400, 40)), rng(3)
    ones = [bootstrap_interval(np.mean, x, rng=draws, repeats=200) for x in samples]
    assert 0.89 < np.mean([one.low < 0 < one.high for one in ones]) < 0.97


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0, 2.0, NAN]), "mean: 2 people; expected at least 3"),
        (lambda: mean_interval([[1.0]]), r"mean: an array of shape \(1, 1\); expected one with 1 axes"),
        (lambda: observed([np.inf], "score"), "score: infinite numbers; expected finite ones"),
        (lambda: bootstrap_interval(np.mean, [1.0, 2.0], rng=rng()), r"arrays of \[2\] people; expected at least 3"),
        (lambda: bootstrap_interval(lambda a, b: 0.0, [1, 2, 3], [1, 2], rng=rng()), r"arrays of \[2, 3\] people"),
        (lambda: bootstrap_interval(np.mean, [1, 2, NAN], rng=rng()), "a statistic that is not finite"),
        (lambda: bootstrap_interval(np.mean, [2, 2, 2], rng=rng()), "2 in every draw; expected a figure that varies"),
    ],
)
def test_an_interval_that_cannot_be_had_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# ------------------------------------------------------------------------------------------------ groups by column


def test_moments_are_those_of_the_observed():
    x = with_gaps(rng().normal(3, 2, size=(20, 6)), 0.3)
    n, mean, sd = column_moments(x)
    np.testing.assert_array_equal(n, np.isfinite(x).sum(0))
    np.testing.assert_allclose(mean, np.nanmean(x, 0), **EXACT)
    np.testing.assert_allclose(sd, np.nanstd(x, 0, ddof=1), **EXACT)


def test_group_contrast_is_scipys_in_every_column():
    x, y = with_gaps(rng().normal(0.4, 1.5, size=(25, 7))), with_gaps(rng(1).normal(size=(60, 7)).round(1))
    one = group_contrast(x, y)
    for j in range(7):
        a, b = x[np.isfinite(x[:, j]), j], y[np.isfinite(y[:, j]), j]
        welch = stats.ttest_ind(a, b, equal_var=False)
        interval = welch.confidence_interval(0.95)
        got = [one.welch_t[j], one.welch_p[j], one.difference_low[j], one.difference_high[j], one.mannwhitney_p[j]]
        rank = stats.mannwhitneyu(a, b, method="asymptotic")
        np.testing.assert_allclose(got, [welch.statistic, welch.pvalue, *interval, rank.pvalue], rtol=1e-8)
        assert (one.n[j], one.n_controls[j]) == (len(a), len(b))
    np.testing.assert_array_equal(one.welch_q, benjamini_hochberg(one.welch_p))
    np.testing.assert_array_equal(one.mannwhitney_q, benjamini_hochberg(one.mannwhitney_p))


def test_hedges_g_by_hand():
    """Means 2 and 4, variances 1 and 4: d = -2 / sqrt(2.5), J(4) = Gamma(2) / (sqrt(2) Gamma(1.5)) = sqrt(2 / pi)."""
    one = group_contrast([[1.0], [2.0], [3.0]], [[2.0], [4.0], [6.0]])
    assert one.hedges_g[0] == pytest.approx(-2 / np.sqrt(2.5) * np.sqrt(2 / np.pi), rel=1e-12)


def test_contrasts_know_no_units_and_turn_with_the_groups():
    x, y = rng().normal(1, 2, size=(9, 4)), rng(1).normal(size=(15, 4))
    one, scaled, turned = group_contrast(x, y), group_contrast(5 - 3 * x, 5 - 3 * y), group_contrast(y, x)
    for name in ("hedges_g", "welch_t"):
        np.testing.assert_allclose(getattr(scaled, name), -getattr(one, name), rtol=1e-9)
        np.testing.assert_allclose(getattr(turned, name), -getattr(one, name), rtol=1e-9)
    np.testing.assert_allclose(turned.hedges_g_low, -one.hedges_g_high, rtol=1e-9)
    np.testing.assert_allclose(scaled.mannwhitney_p, one.mannwhitney_p, rtol=1e-9)


@pytest.mark.parametrize(("n", "m", "sd", "shift"), [(10, 50, 2.0, 1.0), (40, 40, 1.0, 3.0)])
def test_the_interval_of_g_covers_it(n, m, sd, shift):
    """1,000 columns: coverage outside .925 to .98 in fewer than 1 of 1,000 runs.

    The noncentral t interval, which takes the variances for equal, covers .80 in the first case; without the variance
    of the SD it covers .83 in the second, with twice that .985.
    """
    x, y = shift + sd * rng(4).normal(size=(n, 1000)), rng(5).normal(size=(m, 1000))
    true = shift / np.sqrt(((n - 1) * sd**2 + m - 1) / (n + m - 2))
    one = group_contrast(x, y)
    assert 0.925 < np.mean((one.hedges_g_low < true) & (true < one.hedges_g_high)) < 0.98


def test_group_tests_keep_their_level():
    """2,000 null columns, 8 against 30 people: a share of .05 lies outside .035 to .065 in 1 of 500 runs."""
    one = group_contrast(rng(6).normal(size=(8, 2000)), rng(7).normal(size=(30, 2000)))
    assert 0.035 < np.mean(one.welch_p < 0.05) < 0.065
    assert 0.035 < np.mean(one.mannwhitney_p < 0.05) < 0.065
    assert np.mean(one.welch_q < 0.05) < 0.005


def test_columns_without_enough_people_or_spread_have_no_number():
    x = np.array([[1.0, 1.0, 0.1], [2.0, 2.0, 0.1], [NAN, 3.0, 0.1]])
    y = np.array([[1.0, NAN, 0.1], [2.0, NAN, 0.1], [4.0, NAN, 0.1]])
    one = group_contrast(x, y)
    for name in ("difference", "difference_low", "hedges_g", "hedges_g_high", "welch_t", "welch_p", "welch_q"):
        assert np.isnan(getattr(one, name)).all(), name
    assert np.isnan(one.mannwhitney_p).all()
    assert one.n.tolist() == [2, 3, 3]
    assert column_moments(np.full((4, 1), 0.1))[2].tolist() == [0.0]  # not 1e-17, the rounding of the mean


def test_groups_of_other_regions_are_refused():
    with pytest.raises(InputError, match="group: 2 columns beside 3 of the controls; expected the same regions"):
        group_contrast(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="controls: infinite numbers"):
        group_contrast(np.zeros((4, 1)), np.full((4, 1), -np.inf))


@pytest.mark.parametrize(("count", "n"), [(0, 7), (1, 1), (3, 20), (20, 20)])
def test_shares_have_the_exact_interval(count, n):
    p = np.array([0.01] * count + [0.05] * (n - count) + [NAN])[:, None]  # p = 0.05 is not below it
    one = share_significant(p)
    expected = stats.binomtest(count, n).proportion_ci(method="exact")
    np.testing.assert_allclose([one.value[0], one.low[0], one.high[0]], [count / n, *expected], **EXACT)
    assert (one.count[0], one.n[0]) == (count, n)


def test_a_share_of_nobody_is_no_number():
    one = share_significant([[NAN], [NAN]])
    assert np.isnan([one.value[0], one.low[0], one.high[0]]).all()
    with pytest.raises(InputError, match="p-values: values from"):
        share_significant([[2.0]])


# ------------------------------------------------------------------------------------------------ ranks


def psi(cases, controls):
    """1, 0.5 or 0 for every pair, [n, m]."""
    return (np.sign(cases[:, None] - controls) + 1) / 2


@given(
    arrays(float, st.integers(3, 12), elements=st.integers(0, 5)),
    arrays(float, st.integers(3, 12), elements=st.integers(0, 5)),
)
def test_auc_and_its_variance_are_those_of_all_pairs(controls, cases):
    table = psi(cases, controls)
    if np.unique([*controls, *cases]).size == 1:
        return
    one = auc([*controls, NAN], [NAN, *cases])
    variance = table.mean(1).var(ddof=1) / len(cases) + table.mean(0).var(ddof=1) / len(controls)
    np.testing.assert_allclose([one.value, one.se], [table.mean(), np.sqrt(variance)], atol=1e-8)
    assert 0 <= one.low <= one.value <= one.high <= 1
    assert one.sizes == (len(controls), len(cases))
    delta = cliffs_delta(cases, controls)
    signs = np.sign(cases[:, None] - controls)
    assert delta.value == pytest.approx(signs.mean(), abs=1e-12)
    assert (delta.low, delta.high, delta.p) == (2 * one.low - 1, 2 * one.high - 1, one.p)


def test_auc_of_a_yes_or_no_score_is_the_mean_of_sensitivity_and_specificity():
    """Its variance is that of two shares: S (1 - S) / (n - 1) each, a quarter of their sum."""
    controls, cases = np.repeat([0, 1], [30, 10]), np.repeat([0, 1], [4, 16])
    one = auc(controls, cases)
    assert one.value == pytest.approx((0.8 + 0.75) / 2)
    assert one.se**2 == pytest.approx((0.8 * 0.2 / 19 + 0.75 * 0.25 / 39) / 4)


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.exp, np.cbrt, lambda x: 3 * x - 7]))
@settings(max_examples=20)
def test_rank_figures_survive_any_stretching(seed, stretch):
    a, b, c = rng(seed).normal(size=(3, 15)) + np.array([[0.0], [0.5], [1.0]])
    score, stage = np.concatenate([a, b, c]), np.repeat([0, 1, 2], 15)
    assert auc(stretch(a), stretch(b)) == auc(a, b)
    assert jonckheere_terpstra(stretch(score), stage) == jonckheere_terpstra(score, stage)
    two, other = np.stack([a, b], 1), np.stack([b, c], 1)
    assert delong_test(stretch(two), stretch(other)) == delong_test(two, other)
    assert correlation(stretch(a), b, method="spearman") == correlation(a, b, method="spearman")


def test_auc_turns_with_the_groups():
    a, b = rng().normal(size=20), rng(1).normal(0.8, 1, size=30)
    one, turned = auc(a, b), auc(b, a)
    np.testing.assert_allclose([turned.value, turned.low, turned.high], [1 - one.value, 1 - one.high, 1 - one.low])
    assert one.p == pytest.approx(stats.mannwhitneyu(a, b, method="asymptotic").pvalue)


def test_groups_that_do_not_overlap_have_an_exact_bound():
    """Five disjoint pairs all agree with chance theta^5, which is .025 at the bound."""
    one = auc([1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11])
    assert (one.value, one.high) == (1.0, 1.0)
    assert one.low**5 == pytest.approx(0.025)
    turned = auc([6, 7, 8, 9, 10, 11], [1, 2, 3, 4, 5])
    assert (turned.low, turned.high) == pytest.approx((0.0, 1 - one.low))


@pytest.mark.parametrize(("m", "n", "shift", "coverage"), [(50, 50, 3.0, 0.935), (30, 10, 1.0, 0.963)])
def test_the_interval_of_auc_covers_it(m, n, shift, coverage):
    """1,000 samples; .025 off its coverage in fewer than 1 of 500 runs. The plain interval covers .85 and .91."""
    draws, true = rng(11), special.ndtr(shift / np.sqrt(2))
    ones = [auc(draws.normal(size=m), draws.normal(size=n) + shift) for _ in range(1000)]
    assert abs(np.mean([one.low < true < one.high for one in ones]) - coverage) < 0.025


def test_delong_test_has_the_variance_of_the_difference():
    controls, cases = rng().normal(size=(25, 2)), rng(1).normal([1.0, 0.4], size=(18, 2))
    one = delong_test(with_rows_of_nan(controls), cases)
    tables = [psi(cases[:, j], controls[:, j]) for j in (0, 1)]
    by_case, by_control = (np.cov([table.mean(axis) for table in tables]) for axis in (1, 0))
    cov = by_case / 18 + by_control / 25
    assert one.value == pytest.approx(tables[0].mean() - tables[1].mean())
    assert one.se**2 == pytest.approx(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    turned = delong_test(controls[:, ::-1], cases[:, ::-1])
    assert (turned.value, turned.low, turned.p) == pytest.approx((-one.value, -one.high, one.p))


def with_rows_of_nan(x):
    """Two more people, each without one of the scores."""
    return np.concatenate([x, [[9.0, NAN], [NAN, -9.0]]])


def test_delong_test_keeps_its_level():
    """1,000 pairs of equally good, correlated scores; a rate of .05 lies outside .03 to .075 in 1 of 500 runs."""
    draws, p = rng(12), []
    for _ in range(1000):
        truth, noise = np.repeat([0.0, 1.0], [40, 30]), draws.normal(size=(70, 1))
        score = truth[:, None] + noise + draws.normal(size=(70, 2))
        p.append(delong_test(score[:40], score[40:]).p)
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.075


def test_two_stages_are_the_mann_whitney_test():
    a, b = rng().integers(0, 9, size=20), rng(1).integers(2, 12, size=14)
    one = jonckheere_terpstra([*a, *b, NAN], [0] * 20 + [5] * 14 + [5])
    expected = stats.mannwhitneyu(a, b, method="asymptotic", use_continuity=False)
    two = auc(a, b)
    assert one.p == pytest.approx(expected.pvalue, rel=1e-9)
    np.testing.assert_allclose([one.value, one.low, one.high, one.se], [two.value, two.low, two.high, two.se])


def test_jonckheere_has_the_exact_mean_and_variance_under_no_trend():
    """Over all 1,680 ways to put nine scores, with ties, into three stages of three people."""
    score, stages = np.array([1, 1, 2, 3, 3, 3, 4, 5, 6.0]), sorted(set(permutations([0, 0, 0, 1, 1, 1, 2, 2, 2])))
    assert len(stages) == 1680
    values = np.array([jonckheere_terpstra(score, stage).value for stage in stages])
    one = jonckheere_terpstra(score, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert values.mean() == pytest.approx(0.5)
    assert -special.ndtri(one.p / 2) == pytest.approx((one.value - 0.5) / values.std())


def test_the_interval_of_the_trend_covers_it():
    """600 samples of four stages of 15; a coverage of .95 lies outside .92 to .975 in 1 of 400 runs."""
    stage, draws = np.repeat(np.arange(4), 15), rng(13)
    true = np.mean([special.ndtr(0.4 * (h - g) / np.sqrt(2)) for g in range(4) for h in range(g + 1, 4)])
    ones = [jonckheere_terpstra(0.4 * stage + draws.normal(size=60), stage) for _ in range(600)]
    assert 0.92 < np.mean([one.low < true < one.high for one in ones]) < 0.975


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([1, 2, NAN], [1, 2, 3]), r"AUC: groups of \[2, 3\] people; expected at least 3 in each"),
        (lambda: auc([1, 1, 1], [1, 1, 1]), "AUC: the same score for everybody"),
        (lambda: jonckheere_terpstra([1, 2, 3], [0, 0]), "stage: 2 stages for 3 scores; expected one a person"),
        (lambda: jonckheere_terpstra([1, 2, 3], [1, 1, 1]), "stage: 1 stages; expected at least two"),
        (lambda: delong_test(np.zeros((4, 3)), np.zeros((4, 2))), r"\[3, 2\] columns; expected two scores"),
        (lambda: delong_test(np.eye(4)[:, [0, 0]], np.eye(4)[:, [1, 1]]), "two scores that rank the people alike"),
    ],
)
def test_rank_figures_that_cannot_be_had_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# ------------------------------------------------------------------------------------------------ rates, distances


def test_a_share_is_scipys_exact_one():
    for count, n in ((0, 9), (4, 9), (9, 9)):
        one, expected = share([*([1.0] * count), *([0.0] * (n - count)), NAN]), stats.binomtest(count, n)
        ends = expected.proportion_ci(0.95, method="exact")
        assert (one.value, one.low, one.high, one.n) == pytest.approx((count / n, *ends, n))


def test_a_likelihood_ratio_by_hand():
    """8 of 20 cases against 2 of 40 controls: .4 / .05; limits of both shares at level sqrt(.95), Fisher's p."""
    controls, cases = np.arange(40) < 2, np.arange(20) < 8
    one = likelihood_ratio(controls, cases)
    (a, b), (c, d) = (stats.binomtest(k, n).proportion_ci(0.95**0.5, method="exact") for k, n in ((2, 40), (8, 20)))
    assert (one.value, one.low, one.high) == pytest.approx((8.0, c / b, d / a))
    assert one.p == pytest.approx(stats.fisher_exact([[8, 12], [2, 38]]).pvalue)
    with pytest.raises(InputError, match=r"none of 40 controls is flagged, so the ratio is .* or more"):
        likelihood_ratio(np.zeros(40), cases)
    with pytest.raises(InputError, match="cases: nobody observed"):
        likelihood_ratio(controls, [NAN])


def test_the_exact_interval_of_a_ratio_holds_at_its_level():
    """81 controls at .05 and 106 cases at .1: coverage of at least .95 by construction; less than .93 in 1 of 500."""
    draws = rng(3)
    held = []
    for few, many in zip(draws.binomial(81, 0.05, 300), draws.binomial(106, 0.1, 300), strict=True):
        if few:
            one = likelihood_ratio(np.arange(81) < few, np.arange(106) < many)
            held.append(one.low <= 2.0 <= one.high)
    assert np.mean(held) > 0.93


def test_hamming_is_scipys_over_all_pairs():
    flags = rng(1).random((30, 12)) < 0.2
    seen = np.ones_like(flags)
    assert hamming(flags, seen).value == pytest.approx(pdist(flags, "hamming").mean())
    between = hamming(flags[:10], seen[:10], (flags[10:], seen[10:]))
    assert between.value == pytest.approx(cdist(flags[:10], flags[10:], "hamming").mean())
    assert between.sizes == (10, 20)


def test_cells_that_one_of_a_pair_lacks_do_not_count():
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
        (lambda: hamming(np.ones((4, 3), bool), np.ones((4, 3), bool)), "flags that are alike in everybody"),
        (lambda: hamming(np.ones((4, 3), bool), np.zeros((4, 3), bool)), "flags that are alike .* that vary"),
        (lambda: difference(share([1, 0, 0]), share([1, 1, 0])), "difference: standard errors None, None"),
    ],
)
def test_distances_that_cannot_be_had_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_calibration_adds_its_variance_to_an_interval():
    one = Estimate(value=0.5, low=0.4, high=0.7, n=9, test="t", se=0.06)
    again = rng().normal(0.6, 0.05, 40)
    wide = one.widened([*again, NAN], (0.2, 0.65))
    extra = stats.norm.ppf(0.975) * again.std(ddof=1)
    assert wide.low == pytest.approx(0.5 - np.hypot(0.1, extra))
    assert wide.high == 0.7  # never narrower than it was
    assert wide.se == pytest.approx(np.hypot(0.06, again.std(ddof=1)))
    assert wide.value == one.value
    assert "40 calibrators" in wide.test
    assert one.widened([0.3, 0.3]) is one


def test_intervals_that_hold_the_calibration_cover_and_others_do_not():
    """Mean |z| of 300 people in 6 regions, calibrated on 50: of 200 runs .95 with refits; 3 SE is .046."""
    draws, held, narrow = rng(4), 0, 0
    for _ in range(200):
        healthy, people = draws.normal(size=(50, 6)), draws.normal(size=(300, 6))

        def figure(rows, healthy=healthy, people=people):
            z = (people - healthy[rows].mean(0)) / healthy[rows].std(0, ddof=1)
            return mean_interval(np.abs(z).mean(1))

        one = figure(np.arange(50))
        wide = one.widened([figure(draws.integers(0, 50, 50)).value for _ in range(20)])
        held += wide.low <= MEAN_ABS_Z <= wide.high
        narrow += one.low <= MEAN_ABS_Z <= one.high
    assert held / 200 >= 0.9
    assert narrow / 200 < 0.8


# ------------------------------------------------------------------------------------------------ associations


def people(n=60, seed=20):
    draws = rng(seed)
    return {
        "age": draws.uniform(50, 90, n),
        "icv": draws.normal(1.5e6, 1e5, n),
        "site": draws.choice(np.array(["A", "B", "C"], object), n),
    }


def test_adjustment_takes_away_what_the_columns_explain_and_nothing_else():
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


def test_people_whose_columns_are_empty_are_not_adjusted():
    columns, group = people(), np.arange(60) < 40
    columns["age"][3], columns["site"][5] = NAN, None
    rest = adjusted(rng().normal(size=60), columns, group)
    assert np.flatnonzero(np.isnan(rest)).tolist() == [3, 5]


def test_a_column_that_is_constant_takes_nothing_away():
    score, group = rng().normal(size=20), np.arange(20) < 12
    np.testing.assert_allclose(adjusted(score, {"dose": np.full(20, 7)}, group), score, atol=1e-12)


def test_sites_without_people_of_both_groups_are_no_ground_for_a_comparison():
    group = np.arange(20) < 12
    with pytest.raises(InputError, match="columns that tell groups apart by themselves"):
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


def test_given_the_group_only_what_lies_within_groups_counts():
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


def test_a_perfect_correlation_is_told_as_one():
    one = correlation([1, 2, 3, 4, 6], [2, 4, 6, 8, 12])
    assert one.value == pytest.approx(1)
    assert one.p == pytest.approx(0, abs=1e-6)


def test_steiger_turns_with_its_scores():
    shared, a, b = rng().normal(size=(3, 80)) + rng(1).normal(size=80) * np.array([[1.0], [1.0], [0.2]])
    one, turned = steiger_test([*shared, 1], [*a, NAN], [*b, 2]), steiger_test(shared, b, a)
    assert one.value == pytest.approx(np.corrcoef(shared, a)[0, 1] - np.corrcoef(shared, b)[0, 1])
    assert (turned.value, turned.low, turned.high, turned.p) == pytest.approx((-one.value, -one.high, -one.low, one.p))
    assert one.n == 80


def test_steiger_keeps_its_level_and_zou_his_coverage():
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
            "3 complete people to fit 1 columns on; .* least 4",
        ),
        (lambda: adjusted([1, 2, NAN], {}, [True] * 3), "2 complete people to fit 0 columns on; expected at least 3"),
        (lambda: adjusted([1, 2, 3], {"s": ["", None, NAN]}, [True] * 3), "0 complete people"),
        (lambda: correlation([1, 2, 3], [1, 2, 3], method="kendall"), "method 'kendall'; expected pearson or spearman"),
        (lambda: correlation([1, 2, 3], [1, 2, 4]), "3 people with everything and 0 columns .*; expected at least 4"),
        (lambda: correlation([1, 2, 3, 4], [7, 7, 7, 7]), "a column in which nothing varies"),
        (
            lambda: correlation([1, 2, 3, 5, 4, 6], [1, 3, 2, 4, 6, 5], given={"x": [1, 2, 3, 5, 4, 6]}),
            "nothing varies",
        ),
        (lambda: correlation([1, 2], [1, 2, 3]), r"columns of \[2, 3\] people; expected the same people"),
        (lambda: steiger_test([1, 2, 4, 3], [1, 3, 2, 4], [2, 6, 4, 8]), "the same but for scale"),
        (lambda: trend([1, 2, 3], [1, 1, 1], rng=rng()), "trend: 1 stages; expected at least two"),
    ],
)
def test_associations_that_cannot_be_had_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# ------------------------------------------------------------------------------------------------ statsmodels


def test_p_values_are_corrected_as_in_statsmodels():
    p = rng(5).random(40) ** 3
    for ours, name in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        np.testing.assert_allclose(ours(p), multipletests(p, method=name)[1])


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


def test_exact_shares_are_those_of_statsmodels():
    flags = np.arange(50) < 7
    one = share(flags)
    assert (one.low, one.high) == pytest.approx(proportion_confint(7, 50, method="beta"))
