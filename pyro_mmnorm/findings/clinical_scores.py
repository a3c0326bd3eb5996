"""Correlations of deviations with clinical scores, and the contribution of each modality."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.findings.group_contrasts import PRIMARY
from pyro_mmnorm.findings.measures import Measured
from pyro_mmnorm.results.schema import TEST_CONTROLS, Labels
from pyro_mmnorm.stats.associations import Columns, correlation, indicators
from pyro_mmnorm.stats.dependence import between_modalities
from pyro_mmnorm.stats.intervals import CORRELATION, UNIT, Estimate
from pyro_mmnorm.stats.ranks import auc, concordance, delong_test

__all__ = ["correlations", "independence", "modality_values"]


def correlations(people: Measured, score: Floats, direction: str, nuisance: Columns, label: Labels) -> dict[str, Any]:
    """Correlations of mean |z| with one score: Pearson and Spearman, raw, adjusted, and within groups.

    Every record has `direction`, and `as_expected`: whether people with worse scores deviate more.
    """
    return {
        how: {
            method: _correlation(people, PRIMARY, score, direction, columns, method=method)
            for method in ("pearson", "spearman")
        }
        for how, columns in _versions(nuisance, label).items()
    }


def modality_values(
    people: Measured, scores: Mapping[str, Floats], directions: Mapping[str, str], nuisance: Columns, label: Labels
) -> dict[str, Any]:
    """The contribution of each modality, alone and given the others; empty for one modality.

    Returns:
        modality -> auc: of its mean |z|, each group against test controls; gain: the AUC of mean |z| of all regions
        minus that of all other modalities (DeLong, valid since nothing is fitted: both are plain means); scores: the
        correlation of its mean |z| with a score given the mean |z| of every other modality, raw, adjusted and within
        groups. Its p is that of the F test of nested linear regressions of the score, with and without this modality.
    """
    controls = label == TEST_CONTROLS
    groups = [name for name in dict.fromkeys(label) if name != TEST_CONTROLS] if controls.any() else []

    def alone(m: str, group: str) -> dict[str, Any]:
        own = f"mean_abs_z.{m}"
        return people.record(
            lambda f: auc(f[own][controls], f[own][label == group]),
            lambda f: concordance([f[own][controls], f[own][label == group]]),
            limits=UNIT,
        )

    def gain(m: str, group: str) -> dict[str, Any]:
        def statistic(f: Columns) -> Estimate:
            both = np.stack([f[PRIMARY], f[f"without.{m}"]], 1)
            return delong_test(both[controls], both[label == group])

        return people.record(statistic, limits=CORRELATION)

    def with_score(m: str, name: str) -> dict[str, Any]:
        rest = [f"mean_abs_z.{other}" for other in people.modalities if other != m]
        return {
            how: _correlation(people, f"mean_abs_z.{m}", scores[name], directions[name], columns, rest=rest)
            for how, columns in _versions(nuisance, label).items()
        }

    return {
        m: {
            "auc": {group: alone(m, group) for group in groups},
            "gain": {group: gain(m, group) for group in groups},
            "scores": {name: with_score(m, name) for name in directions},
        }
        for m in people.modalities
    }


def independence(dev: xr.Dataset, label: Labels, seed: int) -> dict[str, Any]:
    """Conditional independence of modalities, which the model assumes: `between_modalities` of the test controls.

    Correlations do not depend on location and scale, and so not on the calibration controls.
    """
    z = dev["z"].to_numpy()[label == TEST_CONTROLS]
    checks = between_modalities(z, dev["modality"].to_numpy().astype(str), rng=np.random.default_rng(seed))
    test = "permutation of people within each modality, bootstrap over people centred on the estimate"
    return {name: {**record, "test": test} for name, record in checks.items()}


def _versions(nuisance: Columns, label: Labels) -> dict[str, Columns]:
    """raw, adjusted, within_group -> columns to control for."""
    versions: dict[str, Columns] = {"raw": {}}
    if nuisance:
        versions["adjusted"] = nuisance
    if len(np.unique(label)) > 1:
        versions["within_group"] = {"group": indicators(label)}
    return versions


def _correlation(
    people: Measured,
    name: str,
    score: Floats,
    direction: str,
    columns: Columns,
    *,
    method: Literal["pearson", "spearman"] = "pearson",
    rest: Sequence[str] = (),
) -> dict[str, Any]:
    """Correlation of a measure with a score, given columns and the measures in `rest`."""

    def statistic(f: Columns) -> Estimate:
        given = {**columns, **{other: f[other] for other in rest}}
        return correlation(f[name], score, method=method, given=given)

    record = people.record(statistic, limits=CORRELATION)
    expected = 1 if direction == "higher_is_worse" else -1
    sign = {"as_expected": bool(record["value"] * expected > 0)} if "value" in record else {}
    return {**record, "direction": direction, **sign}
