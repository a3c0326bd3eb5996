"""Adjusted p-values against scipy and statsmodels, invariances, and the family-wise error rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg, holm

NAN = np.nan
EXACT = {"rtol": 1e-10, "atol": 1e-12}  # the same formula in another order of operations


def rng(seed=0):
    return np.random.default_rng(seed)


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
def test_bh_works_along_the_given_axis(p):
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
def test_numbers_outside_0_to_1_are_refused(rule, p):
    with pytest.raises(InputError, match=r"p-values: values from .*; expected values in \[0, 1\]"):
        rule(p)


def test_p_values_are_corrected_as_in_statsmodels():
    p = rng(5).random(40) ** 3
    for ours, name in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        np.testing.assert_allclose(ours(p), multipletests(p, method=name)[1])


def test_bh_by_hand():
    """m p / k of .01, .02, .03, .5 with m = 4: .04, .04, .04, .5; the smallest from k upwards."""
    np.testing.assert_allclose(benjamini_hochberg([0.5, 0.01, 0.02, 0.03]), [0.5, 0.04, 0.04, 0.04])
    np.testing.assert_allclose(benjamini_hochberg([0.01, NAN]), [0.01, NAN])
