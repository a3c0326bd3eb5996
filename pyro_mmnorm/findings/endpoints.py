"""What deviations say about groups, stages and scores, as one mapping for JSON."""

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
from pyro_mmnorm.results.schema import TEST_CONTROLS, labels, order_of
from pyro_mmnorm.stats.associations import indicators
from pyro_mmnorm.stats.multiplicity import holm

__all__ = ["findings"]

UNCORRECTED = ("independence",)
"""Checks of the model: no findings about people."""


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
    """What the deviations say about groups, stages and scores; each figure with its 95 % interval, n and test.

    The person is the unit. Where `dev` holds `z_refit` (see `with_refits`), intervals of figures of z also hold the
    chance of who was calibrated on, see `Estimate.widened`; without it, only that of who was scored. Exact intervals
    and those of Hamming distances are given the calibration.

    Args:
        dev: Deviations of one kind, dims (subject, region): z, q, and if there z_refit (refit, subject, region).
        subjects: From `subject_table`.
        scores: Clinical or cognitive scores by id, NaN where not measured.
        directions: score -> `higher_is_worse` or `higher_is_better`.
        adjust: Columns by id that figures are also adjusted for, such as age, sex, site, education and intracranial
            volume; without columns, nothing is adjusted.
        groups: The groups in their order, which the trend takes for stages, test controls first.
        seed: Of the bootstraps.

    Returns:
        For JSON. Records hold value, low, high, n, test, and if there p, se, sizes (people by group) and p_holm (Holm
        over all p-values but those of the primary endpoint and of `independence`); where a figure cannot be had,
        `absent` says why. A measure is a figure of a person: mean_abs_z, mean_sq_z, mean_z, n_outliers, dsi, and mse,
        the poster's reconstruction error.

        * primary: the one endpoint named beforehand: the trend of mean |z| over test controls and at least two target
          groups, or the AUC of mean |z| where there is one target group;
        * groups: group -> means of the figures of a person (`null`: their mean in calibrated controls), and
          share_larger: the share of flagged regions (q < 0.05) that are larger than expected; where atrophy is sought,
          a hint of healthy neighbours flagged with the opposite sign;
        * significance: group -> regions, poster_rule, people, see `significance`;
        * likelihood_ratio: group -> at a matched healthy rate, see `likelihood_ratios`;
        * auc: group -> measure -> raw, adjusted: against the test controls;
        * trend: measure -> raw, adjusted -> slope per stage, jonckheere_terpstra, first_stage (less test controls);
          from three groups up;
        * pairs: "B against A" -> difference of mean |z| (Welch), cliffs_delta (Mann-Whitney), and both `adjusted`;
        * heterogeneity: within, excess (over test controls), between -> mean Hamming distance of flags;
        * correlations: score -> raw, adjusted, within_group -> pearson, spearman of mean |z|;
        * modalities: modality -> auc, gain, scores: what each adds, see `modality_values`;
        * independence: of modalities given the model, see `independence`;
        * notes: sentences on what was left out and why.

    Raises:
        InputError: When the people of dev and subjects differ, or a target group is not in `groups`.
    """
    if set(dev["subject"].to_numpy()) != set(subjects.index):
        raise InputError(
            "findings", "other people in dev than in subjects", "the same", "use subject_table of this dev"
        )
    subjects = subjects.sort_index()
    dev = dev.sel(subject=subjects.index.to_numpy())
    named = labels(subjects["split"], subjects["group"])
    order, label = order_of(subjects.assign(label=named), groups), named.to_numpy(str)
    people, notes, nuisance = Measured.of(dev, subjects), _notes(order), _columns(adjust.reindex(subjects.index))
    measured = {name: scores[name].reindex(subjects.index).to_numpy(float) for name in directions}
    versions = _versions(people, nuisance, label, notes)
    targets = [name for name in order if name != TEST_CONTROLS]
    compared = TEST_CONTROLS in order and len(targets) > 0
    asked: dict[str, Callable[[], Any]] = {
        "groups": lambda: means(people, label, dev, order, seed),
        "significance": lambda: significance(people, dev, label, order),
    }
    if compared:
        asked["likelihood_ratio"] = lambda: likelihood_ratios(people, label, order)
        asked["auc"] = lambda: aucs(versions, label, order)
    if compared and len(targets) > 1:
        asked["trend"] = lambda: trends(versions, label, order, seed)
        asked["pairs"] = lambda: pairs(versions, label, order)
    asked["heterogeneity"] = lambda: heterogeneity(dev, label, order)
    asked["correlations"] = lambda: {
        name: correlations(people, measured[name], direction, nuisance, label) for name, direction in directions.items()
    }
    if people.modalities:
        asked["modalities"] = lambda: modality_values(people, measured, directions, nuisance, label)
        asked["independence"] = lambda: independence(dev, label, seed)
    found: dict[str, Any] = {
        name: ask() for name, ask in bar(asked.items(), "findings", total=len(asked), unit="question")
    }
    primary = _primary(found, targets)
    family = {name: part for name, part in found.items() if name not in UNCORRECTED}
    _add_holm([record for record in _records(family) if record is not primary.get("record")], notes)
    return {"primary": {"endpoint": primary["endpoint"], **primary.get("record", {})}, **found, "notes": notes}


def _versions(
    people: Measured, nuisance: Mapping[str, NDArray[np.float64]], label: NDArray[np.str_], notes: list[str]
) -> dict[str, Measured]:
    """The measures raw, and adjusted where there are enough people for that."""
    if not nuisance:
        return {"raw": people}
    notes.append(f"Adjusted for {', '.join(nuisance)}, with slopes within groups.")
    try:
        return {"raw": people, "adjusted": people.adjusted(nuisance, label)}
    except InputError as error:
        notes.append(f"Groups were not compared after adjustment: {error.got}; {error.expected} needed.")
        return {"raw": people}


def _primary(told: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """The primary endpoint in words, and its record."""
    if "trend" in told:
        endpoint = f"trend of mean |z| over {', '.join([TEST_CONTROLS, *targets])} (Jonckheere-Terpstra)"
        return {"endpoint": endpoint, "record": told["trend"][PRIMARY]["raw"]["jonckheere_terpstra"]}
    if "auc" in told:
        endpoint = f"AUC of mean |z|, {targets[0]} against {TEST_CONTROLS}"
        return {"endpoint": endpoint, "record": told["auc"][targets[0]][PRIMARY]["raw"]}
    return {"endpoint": "none: there are no groups to compare"}


def _notes(order: Sequence[str]) -> list[str]:
    """What the groups at hand do not allow."""
    if TEST_CONTROLS not in order:
        return ["No test controls were scored: no group is compared with anybody."]
    if len(order) == 1:
        return ["Only test controls were scored: there are no groups to compare."]
    if len(order) == 2:
        return ["One target group: a trend needs two, beside the test controls."]
    return [f"Stages of the trend, in this order: {', '.join(order)}."]


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
        rest = f"the {len(records)} p-values here; a primary endpoint's is not among them"
        notes.append(f"p_holm: adjusted by Holm's rule over {rest}.")


def _columns(frame: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Columns as numbers, or as 0/1 indicators of their levels; NaN where empty."""
    return {
        str(name): column.to_numpy(float) if pd.api.types.is_numeric_dtype(column) else indicators(_text(column))
        for name, column in frame.items()
    }


def _text(column: pd.Series) -> NDArray[np.object_]:
    return column.astype(object).where(column.notna(), None).to_numpy(object)
