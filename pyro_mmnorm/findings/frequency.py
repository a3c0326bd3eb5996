"""How often people and regions are significant, and how heterogeneous the people of a group are."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.findings.measures import Measured, estimate_or_reason
from pyro_mmnorm.findings.summaries import poster_rule
from pyro_mmnorm.results.person_measures import LEVEL
from pyro_mmnorm.results.schema import TEST_CONTROLS, Labels
from pyro_mmnorm.stats.associations import Columns
from pyro_mmnorm.stats.distances import hamming
from pyro_mmnorm.stats.intervals import UNIT, Estimate, difference, mean_interval
from pyro_mmnorm.stats.rates import likelihood_ratio, share

__all__ = ["heterogeneity", "likelihood_ratios", "significance"]


def significance(people: Measured, dev: xr.Dataset, label: Labels, order: Sequence[str]) -> dict[str, Any]:
    """group -> shares of significant regions and people, test controls included.

    Returns:
        regions: share of a person's regions with p < 0.05, uncorrected, averaged over people; .05 (`null`) is expected
        under calibration (regions.csv has the exact interval of every region); poster_rule: the same by `poster_rule`,
        given its thresholds; people: share with omnibus p <= 0.05 with its exact interval, where the threshold was set
        on calibration controls.
    """
    z = dev["z"].to_numpy()
    shares = {}
    for name in order:
        rows = label == name
        own = people.part(rows)
        by_rule = ratio(poster_rule(z[rows]).sum(1), np.isfinite(z[rows]).sum(1))
        shares[name] = {
            "regions": {**own.record(_outlying, limits=UNIT), "null": LEVEL},
            "poster_rule": estimate_or_reason(partial(mean_interval, by_rule)),
            "people": estimate_or_reason(partial(share, _flagged(own))),
        }
    return shares


def likelihood_ratios(people: Measured, label: Labels, order: Sequence[str]) -> dict[str, Any]:
    """group -> likelihood ratio of a significant omnibus test, group against test controls, at one threshold.

    The threshold of mean z^2, omnibus p <= 0.05, was set on calibration controls, so .05 of healthy people are expected
    above it; the rate in the test controls verifies that. The record has both rates.
    """
    controls = _flagged(people.part(label == TEST_CONTROLS))
    healthy = estimate_or_reason(partial(share, controls))
    ratios = {}
    for name in order:
        if name != TEST_CONTROLS:
            cases = _flagged(people.part(label == name))
            rates = {"rate": estimate_or_reason(partial(share, cases)), "healthy_rate": healthy}
            ratios[name] = estimate_or_reason(partial(likelihood_ratio, controls, cases)) | _values(rates)
    return ratios


def heterogeneity(dev: xr.Dataset, label: Labels, order: Sequence[str]) -> dict[str, Any]:
    """Mean Hamming distance of flags (q < 0.05) within and between groups, and its excess over test controls."""
    seen = np.isfinite(dev["z"].to_numpy())
    flags = (dev["q"] < LEVEL).to_numpy() & seen
    part: dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {
        name: (flags[rows], seen[rows]) for name in order for rows in [label == name]
    }

    def excess(name: str) -> Estimate:
        return difference(hamming(*part[name]), hamming(*part[TEST_CONTROLS]))

    targets = [name for name in order if name != TEST_CONTROLS and TEST_CONTROLS in order]
    return {
        "within": {name: estimate_or_reason(partial(hamming, *part[name])) for name in order},
        "excess": {name: estimate_or_reason(partial(excess, name)) for name in targets},
        "between": {
            f"{a} and {b}": estimate_or_reason(partial(hamming, *part[a], part[b])) for a, b in combinations(order, 2)
        },
    }


def _outlying(f: Columns) -> Estimate:
    return mean_interval(ratio(f["n_outliers"], f["n_observed"]))


def _flagged(people: Measured) -> Floats:
    """1 for people with a significant omnibus test, NaN where there is no test, [n]."""
    p = people.columns.get("omnibus_p", np.full(len(people.ids), np.nan))
    return np.where(np.isfinite(p), p <= LEVEL, np.nan)


def _values(records: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {name: record["value"] for name, record in records.items() if "value" in record}
