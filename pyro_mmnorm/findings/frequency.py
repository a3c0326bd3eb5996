"""Rates: how often people and regions are significant, and how unlike the people of a group are."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.findings.measures import UNIT, Columns, Measured, told
from pyro_mmnorm.findings.summaries import poster_rule
from pyro_mmnorm.results.person_figures import LEVEL
from pyro_mmnorm.results.schema import TEST_CONTROLS
from pyro_mmnorm.stats.distances import hamming
from pyro_mmnorm.stats.intervals import Estimate, difference, mean_interval
from pyro_mmnorm.stats.rates import likelihood_ratio, share

__all__ = ["heterogeneity", "likelihood_ratios", "significance"]

type Labels = NDArray[np.str_]


def significance(people: Measured, dev: xr.Dataset, label: Labels, order: Sequence[str]) -> dict[str, Any]:
    """group -> how much of it is significant, test controls beside it.

    Returns:
        regions: share of a person's regions with p < 0.05, uncorrected, averaged over people, .05 (`null`) in
        calibrated controls (regions.csv has the exact interval of every region); poster_rule: the same by
        `poster_rule`, given its thresholds; people: share with omnibus p <= 0.05, exact, whose threshold was set on
        calibration controls.
    """
    z = dev["z"].to_numpy()
    found = {}
    for name in order:
        rows = label == name
        own = people.part(rows)
        flags, seen = poster_rule(z[rows]), np.isfinite(z[rows])
        by_rule = np.divide(flags.sum(1), seen.sum(1), out=np.full(len(seen), np.nan), where=seen.any(1))
        found[name] = {
            "regions": {**own.record(_outlying, limits=UNIT), "null": LEVEL},
            "poster_rule": told(partial(mean_interval, by_rule)),
            "people": told(partial(share, _flagged(own))),
        }
    return found


def likelihood_ratios(people: Measured, label: Labels, order: Sequence[str]) -> dict[str, Any]:
    """group -> how many times as often its people stand out as test controls do, at one threshold.

    A person stands out where omnibus p <= 0.05: that threshold of mean z^2 was set on calibration controls, so that .05
    of healthy people should pass it, and the rate of the test controls verifies that. Both rates are told.
    """
    controls = _flagged(people.part(label == TEST_CONTROLS))
    healthy = told(partial(share, controls))
    found = {}
    for name in order:
        if name != TEST_CONTROLS:
            cases = _flagged(people.part(label == name))
            rates = {"rate": told(partial(share, cases)), "healthy_rate": healthy}
            found[name] = told(partial(likelihood_ratio, controls, cases)) | _values(rates)
    return found


def heterogeneity(dev: xr.Dataset, label: Labels, order: Sequence[str]) -> dict[str, Any]:
    """Mean Hamming distance of flags (q < 0.05), within and between groups, and the excess over test controls."""
    seen = np.isfinite(dev["z"].to_numpy())
    flags = (dev["q"] < LEVEL).to_numpy() & seen
    part: dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {
        name: (flags[rows], seen[rows]) for name in order for rows in [label == name]
    }

    def excess(name: str) -> Estimate:
        return difference(hamming(*part[name]), hamming(*part[TEST_CONTROLS]))

    targets = [name for name in order if name != TEST_CONTROLS and TEST_CONTROLS in order]
    return {
        "within": {name: told(partial(hamming, *part[name])) for name in order},
        "excess": {name: told(partial(excess, name)) for name in targets},
        "between": {f"{a} and {b}": told(partial(hamming, *part[a], part[b])) for a, b in combinations(order, 2)},
    }


def _outlying(f: Columns) -> Estimate:
    return mean_interval(np.where(f["n_observed"] > 0, f["n_outliers"] / np.maximum(f["n_observed"], 1), np.nan))


def _flagged(people: Measured) -> NDArray[np.float64]:
    """1 where a person stands out, NaN where that is not known."""
    p = people.columns.get("omnibus_p", np.full(len(people.ids), np.nan))
    return np.where(np.isfinite(p), p <= LEVEL, np.nan)


def _values(records: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {name: record["value"] for name, record in records.items() if "value" in record}
