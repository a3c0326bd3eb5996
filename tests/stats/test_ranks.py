"""Rank statistics against all pairs and scipy, invariances, levels of tests and coverage of intervals."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.associations import correlation
from pyro_mmnorm.stats.ranks import (
    area_under_curve,
    auc,
    cliffs_delta,
    concordance,
    delong_test,
    jonckheere_terpstra,
    stage_concordance,
)

NAN = np.nan


def rng(seed=0):
    return np.random.default_rng(seed)


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
def test_rank_statistics_do_not_depend_on_monotone_transformations(seed, transform):
    a, b, c = rng(seed).normal(size=(3, 15)) + np.array([[0.0], [0.5], [1.0]])
    score, stage = np.concatenate([a, b, c]), np.repeat([0, 1, 2], 15)
    assert auc(transform(a), transform(b)) == auc(a, b)
    assert jonckheere_terpstra(transform(score), stage) == jonckheere_terpstra(score, stage)
    two, other = np.stack([a, b], 1), np.stack([b, c], 1)
    assert delong_test(transform(two), transform(other)) == delong_test(two, other)
    assert correlation(transform(a), b, method="spearman") == correlation(a, b, method="spearman")


def test_auc_changes_side_with_the_groups():
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
        (
            lambda: delong_test(np.eye(4)[:, [0, 0]], np.eye(4)[:, [1, 1]]),
            "two scores that rank the people in the same",
        ),
    ],
)
def test_invalid_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_statistics_of_many_draws_are_those_of_each():
    score, case = rng(1).normal(size=(3, 30)).round(1), np.arange(30) % 3 == 0
    for i, one in enumerate(area_under_curve(score, case)):
        u = stats.mannwhitneyu(score[i, case], score[i, ~case]).statistic
        assert one == pytest.approx(u / case.sum() / (~case).sum())
        assert concordance([score[i, ~case], score[i, case]]) == one == auc(score[i, ~case], score[i, case]).value
    stage = np.arange(30) % 4
    for i, one in enumerate(stage_concordance(score, np.tile(stage, (3, 1)))):
        pairs = [(a, b) for a in range(30) for b in range(30) if stage[a] < stage[b]]
        expected = np.mean([(np.sign(score[i, b] - score[i, a]) + 1) / 2 for a, b in pairs])
        assert one == pytest.approx(expected, rel=1e-12)
        assert jonckheere_terpstra(score[i], stage).value == one


def test_unobserved_scores_are_left_out_of_an_auc_by_row():
    score = np.array([[1.0, NAN, 3.0, 2.0], [NAN, NAN, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
    case = np.array([[False, False, True, True], [False, False, True, True], [True, True, True, True]])
    np.testing.assert_array_equal(area_under_curve(score, case), [1.0, NAN, NAN])


def test_the_interval_of_auc_by_hand():
    """Components of cases and controls, Satterthwaite's degrees of freedom, logit scale."""
    controls, cases = np.array([1.0, 2, 3, 4, 9]), np.array([3.0, 5, 6, 8])
    table = psi(cases, controls)
    a, b = table.mean(1).var(ddof=1) / 4, table.mean(0).var(ddof=1) / 5
    half = stats.t.ppf(0.975, (a + b) ** 2 / (a**2 / 3 + b**2 / 4)) * np.sqrt(a + b)
    value, one = table.mean(), auc(controls, cases)
    ends = special.expit(special.logit(value) + np.array([-half, half]) / (value * (1 - value)))
    assert (one.low, one.high) == pytest.approx(tuple(ends))


def test_the_interval_of_delongs_difference_is_normal():
    controls, cases = rng().normal(size=(25, 2)), rng(1).normal([1.0, 0.4], size=(18, 2))
    one = delong_test(controls, cases)
    assert (one.low, one.high) == pytest.approx((one.value - 1.96 * one.se, one.value + 1.96 * one.se))
    assert one.p == pytest.approx(2 * stats.norm.sf(abs(one.value) / one.se))
