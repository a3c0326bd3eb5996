"""Predictive checks: a true model passes, a false one fails, and values that were not observed have no effect."""

import re

import numpy as np
import pytest
import xarray as xr

from pyro_mmnorm import plots
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.plots.ppc import STATISTICS, correlation

N, D, S = 150, 4, 99
DIMS = ("chain", "draw", "subject", "region_t1")


def tree(scale=1.0, seed=0, unobserved=0.1, filler=np.nan):
    """People of N(0, 1) with regions of correlation 0.5; replicates with `scale` times the SD."""
    rng = np.random.default_rng(seed)

    def drawn(*shape):
        return np.sqrt(0.5) * rng.normal(size=(*shape, 1)) + np.sqrt(0.5) * rng.normal(size=(*shape, D))

    y, rep, missing = drawn(N), scale * drawn(1, S, N), rng.random((N, D)) < unobserved
    names = {"region_t1": list("abcd")}
    covariates = {
        "age": ("subject", rng.uniform(40, 80, N)),
        "sex": ("subject", rng.choice(["F", "M"], N)),
        "site": (
            "subject",
            np.array(["A", "B", "C", "D"])[np.minimum(np.arange(N) // 70, 1) + 2 * (np.arange(N) >= 145)],
        ),
    }
    return xr.DataTree.from_dict({
        "posterior_predictive": xr.Dataset({"t1": (DIMS, np.where(missing, filler, 500 + 30 * rep))}),
        "observed_data": xr.Dataset({"t1": (DIMS[2:], np.where(missing, np.nan, 500 + 30 * y))}, names),
        "constant_data": xr.Dataset(covariates),
    })  # fmt: skip


def panels(pc):
    return [ax for ax in pc.viz["figure"].item().axes if ax.get_title()]


def p_of(ax):
    return float(re.search(r"p = ([\d.e-]+)", ax.get_title())[1])


def curve(ax):
    """The line that is not the reference line."""
    return max((line.get_ydata() for line in ax.lines), key=len)


def test_a_true_model_passes_and_narrow_and_wide_ones_do_not():
    models = {"true": tree(), "narrow": tree(0.7), "wide": tree(1.4)}
    for kind in ("pit", "coverage"):
        true, narrow, wide = panels(plots.ppc(models, kind=kind))
        assert p_of(true) > 0.05  # fails for one seed in twenty; this one is fixed
        assert max(p_of(narrow), p_of(wide)) < 0.01
    assert np.median(curve(narrow)) < -0.05  # intervals too narrow
    assert np.median(curve(wide)) > 0.05


@pytest.mark.parametrize("kind", ["pit", "coverage", "t_stat", "dist"])
def test_values_that_were_not_observed_have_no_effect(kind):
    [a], [b] = (panels(plots.ppc(tree(filler=value), kind=kind)) for value in (np.nan, 1e30))
    assert a.get_title() == b.get_title()
    for one, other in zip(a.lines, b.lines, strict=True):
        np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())


def test_levels_of_covariates_are_panels():
    def titles(by):
        return [
            ax.get_title().partition("\np = ")[0].replace("\n", ", ")
            for ax in panels(plots.ppc({"a": tree(), "b": tree()}, by=by, kind="pit"))
        ]

    assert len(titles("sex")) == 4
    thirds = titles("age tertile")
    assert len(thirds) == 6
    assert all(re.fullmatch(r"[ab], age [\d.]+ to [\d.]+ \(n 50\)", title) for title in thirds)
    assert titles("site")[:3] == ["a, site A (n 70)", "a, site B (n 75)", "a, others, under 10 each (n 5)"]


def test_p_of_a_statistic_is_two_sided_and_never_0():
    """99 replicates: the smallest p is 2 / 100."""
    [ax] = panels(plots.ppc(tree(2.0), kind="t_stat", t_stat="sd"))
    assert p_of(ax) == 0.02
    [ax] = panels(plots.ppc(tree(), kind="t_stat", t_stat=lambda x: float(np.nanmedian(x))))
    assert 0.05 < p_of(ax) <= 1


def test_the_correlation_of_regions_is_estimated_with_missing_values():
    """Standard error about 0.04 at 150 people; the truth is 0.5."""
    y = tree()["observed_data"]["t1"].to_numpy()
    assert correlation(y) == pytest.approx(0.5, abs=0.12)
    assert set(STATISTICS) >= {"mean", "sd", "correlation"}


@pytest.mark.parametrize("kind", ["dist", "t_stat", "pit", "coverage"])
def test_models_may_have_different_numbers_of_draws(kind):
    long = tree()
    short = long.map_over_datasets(lambda part: part.isel(draw=slice(40)) if "draw" in part.dims else part)
    assert len(panels(plots.ppc({"long": long, "short": short}, kind=kind))) == 2


def test_one_region_alone():
    [ax] = panels(plots.ppc(tree(unobserved=0), modality="t1", region="b", kind="pit"))
    assert len(curve(ax)) >= N


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "loo"}, "kind.*'loo'.*coverage"),
        ({"group": "prior_predictive"}, "group.*'prior_predictive'"),
        ({"by": "age"}, "by.*'age'.*age tertile"),
        ({"modality": "pet"}, "modality.*'pet'.*t1"),
        ({"region": "a"}, "region.*Pass modality too"),
        ({"modality": "t1", "region": "z"}, "region.*'z'"),
        ({"kind": "t_stat", "t_stat": "mode"}, "t_stat.*'mode'"),
    ],
)
def test_unknown_names_are_rejected(asked, message):
    with pytest.raises(InputError, match=message):
        plots.ppc(tree(), **asked)


def test_nothing_to_draw_is_rejected():
    with pytest.raises(InputError, match="no model"):
        plots.ppc({})
    with pytest.raises(InputError, match="no region observed in two people"):
        plots.ppc(tree(unobserved=1.1))
