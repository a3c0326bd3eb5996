"""Deviations of groups, and contrasts between groups."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.findings.measures import Measured, estimate_or_reason
from pyro_mmnorm.results.person_measures import LEVEL
from pyro_mmnorm.results.schema import TEST_CONTROLS, Labels
from pyro_mmnorm.stats.associations import slope, trend
from pyro_mmnorm.stats.bootstrap import bootstrap_interval
from pyro_mmnorm.stats.contrasts import group_contrast
from pyro_mmnorm.stats.intervals import (
    CORRELATION,
    MEAN_ABS_Z,
    NONNEGATIVE,
    UNBOUNDED,
    UNIT,
    Estimate,
    mean,
    mean_interval,
)
from pyro_mmnorm.stats.ranks import auc, cliffs_delta, concordance, jonckheere_terpstra
from pyro_mmnorm.stats.rates import pooled_share

__all__ = ["NULLS", "PRIMARY", "aucs", "means", "pairs", "trends"]

NULLS = {"mean_abs_z": MEAN_ABS_Z, "mean_sq_z": 1.0, "mean_z": 0.0}
"""Measure of a person -> its mean expected under calibration."""

PRIMARY = "mean_abs_z"
"""The measure of a person in the primary endpoint."""

COUNTS = ("n_outliers", "n_significant", "dsi", "hamming", "mse")


def means(people: Measured, label: Labels, dev: xr.Dataset, order: Sequence[str], seed: int) -> dict[str, Any]:
    """group -> measure of a person -> its mean, and the share of flagged regions that are larger than expected."""
    return {name: _mean(people.part(label == name), dev, seed) for name in order}


def _mean(people: Measured, dev: xr.Dataset, seed: int) -> dict[str, Any]:
    def record(name: str) -> dict[str, Any]:
        interval = mean_interval if name in NULLS else partial(_bootstrap_mean, seed=seed)
        limits = UNBOUNDED if name == "mean_z" else NONNEGATIVE
        one = people.record(lambda f: interval(f[name]), lambda f: np.nanmean(f[name]), limits=limits)
        return {**one, "null": NULLS[name]} if name in NULLS else one

    records = {name: record(name) for name in (*NULLS, *COUNTS) if name in people.columns}
    own = dev.sel(subject=people.ids)
    flagged = (own["q"] < LEVEL).to_numpy()
    larger = flagged & (own["z"] > 0).to_numpy()
    some = flagged.any(1)
    counts = larger[some].sum(1), flagged[some].sum(1)
    share = partial(bootstrap_interval, pooled_share, *counts, rng=np.random.default_rng(seed))
    return {**records, "share_larger": estimate_or_reason(share)}


def _bootstrap_mean(x: Floats, seed: int) -> Estimate:
    return bootstrap_interval(mean, x[np.isfinite(x)], rng=np.random.default_rng(seed))


def aucs(versions: Mapping[str, Measured], label: Labels, order: Sequence[str]) -> dict[str, Any]:
    """group -> measure -> raw and adjusted -> AUC against test controls."""

    def one(people: Measured, name: str, group: str) -> dict[str, Any]:
        controls, cases = label == TEST_CONTROLS, label == group
        return people.record(
            lambda f: auc(f[name][controls], f[name][cases]),
            lambda f: concordance([f[name][controls], f[name][cases]]),
            limits=UNIT,
        )

    return {
        group: {
            name: {how: one(people, name, group) for how, people in versions.items()}
            for name in versions["raw"].measures
        }
        for group in order
        if group != TEST_CONTROLS
    }


def trends(versions: Mapping[str, Measured], label: Labels, order: Sequence[str], seed: int) -> dict[str, Any]:
    """measure -> raw and adjusted -> slope per stage, Jonckheere-Terpstra, and the first stage against controls."""
    stage = np.array([order.index(name) for name in label], float)

    def line(x: Floats) -> Floats:
        known = np.isfinite(x)
        return slope(x[known], stage[known])

    def one(people: Measured, name: str) -> dict[str, Any]:
        return {
            "slope": people.record(
                lambda f: trend(f[name], stage, rng=np.random.default_rng(seed)), lambda f: line(f[name])
            ),
            "jonckheere_terpstra": people.record(
                lambda f: jonckheere_terpstra(f[name], stage),
                lambda f: concordance([f[name][stage == k] for k in range(len(order))]),
                limits=UNIT,
            ),
            "first_stage": _welch(people, name, label == order[1], label == order[0]),
        }

    return {name: {how: one(people, name) for how, people in versions.items()} for name in versions["raw"].measures}


def pairs(versions: Mapping[str, Measured], label: Labels, order: Sequence[str]) -> dict[str, Any]:
    """Mean |z| of every pair of groups, the later against the earlier: raw, and under `adjusted` with adjustment."""

    def one(people: Measured, earlier: str, later: str) -> dict[str, Any]:
        x, y = label == later, label == earlier
        return {
            "difference": _welch(people, PRIMARY, x, y),
            "cliffs_delta": people.record(
                lambda f: cliffs_delta(f[PRIMARY][x], f[PRIMARY][y]),
                lambda f: 2 * concordance([f[PRIMARY][y], f[PRIMARY][x]]) - 1,
                limits=CORRELATION,
            ),
        }

    return {
        f"{later} against {earlier}": one(versions["raw"], earlier, later)
        | {how: one(people, earlier, later) for how, people in versions.items() if how != "raw"}
        for earlier, later in combinations(order, 2)
    }


def _welch(people: Measured, name: str, x: NDArray[np.bool_], y: NDArray[np.bool_]) -> dict[str, Any]:
    return people.record(
        lambda f: _difference(f[name][x], f[name][y]), lambda f: np.nanmean(f[name][x]) - np.nanmean(f[name][y])
    )


def _difference(x: Floats, y: Floats) -> Estimate:
    """Difference of two means with Welch's interval."""
    one = group_contrast(x[:, None], y[:, None])
    columns = (one.difference, one.difference_low, one.difference_high, one.welch_p)
    value, low, high, p = (float(column[0]) for column in columns)
    sizes = (int(one.n[0]), int(one.n_controls[0]))
    if not np.isfinite(value):
        raise InputError("Welch", f"groups of {sizes} people", "at least 3 in each, who vary", "leave this pair out")
    return Estimate(value=value, low=low, high=high, n=sum(sizes), test="Welch", p=p, sizes=sizes)
