"""Findings about groups, stages and scores, as one mapping for JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.findings.clinical_scores import correlations, independence, modality_values
from pyro_mmnorm.findings.frequency import heterogeneity, likelihood_ratios, significance
from pyro_mmnorm.findings.group_contrasts import PRIMARY, aucs, means, pairs, trends
from pyro_mmnorm.findings.measures import Measured
from pyro_mmnorm.results.schema import TEST_CONTROLS, Labels, group_of, order_of
from pyro_mmnorm.stats.associations import Columns, indicators
from pyro_mmnorm.stats.multiplicity import holm

__all__ = ["findings"]

UNCORRECTED = ("independence",)
"""Checks of the model, which are not findings about people and not in the family of Holm's correction."""


def findings(
    dev: xr.Dataset,
    subjects: pd.DataFrame,
    scores: pd.DataFrame,
    directions: Mapping[str, str],
    adjust: pd.DataFrame,
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Findings about groups, stages and scores; each estimate with its 95 % interval, n and test.

    The person is the unit. If `dev` has `z_refit` (see `with_refits`), intervals of measures of z also cover the
    sampling error of the calibration, see `Estimate.widened`; without it, they cover that of the scored people only.
    Exact intervals and those of Hamming distances are given the calibration.

    Args:
        dev: Deviations of one kind, dims (subject, region): z, q, and optionally z_refit (refit, subject, region).
        subjects: From `subject_table`.
        scores: Clinical or cognitive scores by id, NaN where not measured.
        directions: score -> `higher_is_worse` or `higher_is_better`.
        adjust: Columns by id to adjust for, such as age, sex, site, education and intracranial volume; without columns,
            nothing is adjusted.
        groups: The groups in their order, test controls first; the trend uses this order as stages.
        seed: Seed of the bootstraps.

    Returns:
        A mapping for JSON. Records have value, low, high, n, test, and optionally p, se, sizes (n per group) and p_holm
        (Holm over all p-values except those of the primary endpoint and of `independence`); where an estimate cannot be
        computed, `absent` gives the reason. The measures of a person are mean_abs_z, mean_sq_z, mean_z, n_outliers,
        dsi, and mse, the reconstruction error of the poster.

        * primary: the prespecified endpoint: the trend of mean |z| over test controls and at least two target groups,
          or the AUC of mean |z| for one target group;
        * groups: group -> means of the measures (`null`: expected under calibration), and share_larger: the share of
          flagged regions (q < 0.05) that are larger than expected; in a study of atrophy, a sign that healthy regions
          were flagged with the opposite sign;
        * significance: group -> regions, poster_rule, people, see `significance`;
        * likelihood_ratio: group -> at a matched healthy rate, see `likelihood_ratios`;
        * auc: group -> measure -> raw, adjusted: against the test controls;
        * trend: measure -> raw, adjusted -> slope per stage, jonckheere_terpstra, first_stage (minus test controls);
          for at least three groups;
        * pairs: "B against A" -> difference of mean |z| (Welch), cliffs_delta (Mann-Whitney), and both `adjusted`;
        * heterogeneity: within, excess (over test controls), between -> mean Hamming distance of flags;
        * correlations: score -> raw, adjusted, within_group -> pearson, spearman of mean |z|;
        * modalities: modality -> auc, gain, scores: contribution of each, see `modality_values`;
        * independence: of modalities given the model, see `independence`;
        * notes: sentences on what was left out and why.

    Raises:
        InputError: When dev and subjects have different people, or a target group is not in `groups`.
    """
    if set(dev["subject"].to_numpy()) != set(subjects.index):
        todo = "use subject_table of this dev"
        raise InputError("findings", "different people in dev and subjects", "the same people", todo)
    subjects = subjects.sort_index()
    dev = dev.sel(subject=subjects.index.to_numpy())
    label = group_of(subjects).to_numpy(str)
    order = order_of(subjects.assign(label=label), groups)
    people, notes, nuisance = Measured.of(dev, subjects), _notes(order), _columns(adjust.reindex(subjects.index))
    measured = {name: scores[name].reindex(subjects.index).to_numpy(float) for name in directions}
    versions = _versions(people, nuisance, label, notes)
    targets = [name for name in order if name != TEST_CONTROLS]
    compared = TEST_CONTROLS in order and len(targets) > 0
    parts: dict[str, Callable[[], Any]] = {
        "groups": lambda: means(people, label, dev, order, seed),
        "significance": lambda: significance(people, dev, label, order),
    }
    if compared:
        parts["likelihood_ratio"] = lambda: likelihood_ratios(people, label, order)
        parts["auc"] = lambda: aucs(versions, label, order)
    if compared and len(targets) > 1:
        parts["trend"] = lambda: trends(versions, label, order, seed)
        parts["pairs"] = lambda: pairs(versions, label, order)
    parts["heterogeneity"] = lambda: heterogeneity(dev, label, order)
    parts["correlations"] = lambda: {
        name: correlations(people, measured[name], direction, nuisance, label) for name, direction in directions.items()
    }
    if people.modalities:
        parts["modalities"] = lambda: modality_values(people, measured, directions, nuisance, label)
        parts["independence"] = lambda: independence(dev, label, seed)
    results: dict[str, Any] = {
        name: compute() for name, compute in bar(parts.items(), "findings", total=len(parts), unit="part")
    }
    primary = _primary(results, targets)
    family = {name: part for name, part in results.items() if name not in UNCORRECTED}
    _add_holm([record for record in _records(family) if record is not primary.get("record")], notes)
    return {"primary": {"endpoint": primary["endpoint"], **primary.get("record", {})}, **results, "notes": notes}


def _versions(people: Measured, nuisance: Columns, label: Labels, notes: list[str]) -> dict[str, Measured]:
    """The measures raw, and adjusted if there are enough people."""
    if not nuisance:
        return {"raw": people}
    notes.append(f"Adjusted for {', '.join(nuisance)}, with slopes within groups.")
    try:
        return {"raw": people, "adjusted": people.adjusted(nuisance, label)}
    except InputError as error:
        notes.append(f"Groups were not compared after adjustment: {error.got}; {error.expected} needed.")
        return {"raw": people}


def _primary(results: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """Description and record of the primary endpoint."""
    if "trend" in results:
        endpoint = f"trend of mean |z| over {', '.join([TEST_CONTROLS, *targets])} (Jonckheere-Terpstra)"
        return {"endpoint": endpoint, "record": results["trend"][PRIMARY]["raw"]["jonckheere_terpstra"]}
    if "auc" in results:
        endpoint = f"AUC of mean |z|, {targets[0]} against {TEST_CONTROLS}"
        return {"endpoint": endpoint, "record": results["auc"][targets[0]][PRIMARY]["raw"]}
    return {"endpoint": "none: there are no groups to compare"}


def _notes(order: Sequence[str]) -> list[str]:
    """Comparisons that are not possible with the present groups."""
    if TEST_CONTROLS not in order:
        return ["No test controls were scored: groups are not compared."]
    if len(order) == 1:
        return ["Only test controls were scored: there are no groups to compare."]
    if len(order) == 2:
        return ["One target group: a trend needs at least two, in addition to the test controls."]
    return [f"Stages of the trend in order: {', '.join(order)}."]


def _records(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every record with a p-value."""
    for child in node.values():
        if isinstance(child, dict):
            if "p" in child:
                yield child
            yield from _records(child)


def _add_holm(records: Sequence[dict[str, Any]], notes: list[str]) -> None:
    for record, p in zip(records, holm([record["p"] for record in records]), strict=True):
        record["p_holm"] = float(p)
    if records:
        notes.append(f"p_holm: Holm-adjusted over these {len(records)} p-values, without that of the primary endpoint.")


def _columns(frame: pd.DataFrame) -> Columns:
    """Columns as numbers, or as 0/1 indicators of their levels; NaN where empty."""
    return {
        str(name): column.to_numpy(float) if pd.api.types.is_numeric_dtype(column) else indicators(_text(column))
        for name, column in frame.items()
    }


def _text(column: pd.Series) -> NDArray[np.object_]:
    return column.astype(object).where(column.notna(), None).to_numpy(object)
