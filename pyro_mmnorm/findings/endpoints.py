"""What deviations say about groups, stages and scores, as one mapping for JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.errors import InputError
from pyro_mmnorm.findings.tables import LEVEL, TEST_CONTROLS, labels, order_of
from pyro_mmnorm.statistics import (
    MEAN_ABS_Z,
    Estimate,
    adjusted,
    auc,
    bootstrap_interval,
    cliffs_delta,
    correlation,
    group_contrast,
    holm,
    jonckheere_terpstra,
    mean_interval,
    trend,
)

__all__ = ["MEASURES", "findings"]

type Floats = NDArray[np.float64]

MEASURES = {"mean_abs_z": MEAN_ABS_Z, "mean_sq_z": 1.0, "mean_z": 0.0}
"""Figure of a person -> its mean in calibrated controls."""

PRIMARY = "mean_abs_z"


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

    The intervals hold the chance of who was scored, test controls included, not that of who was calibrated on.

    Args:
        dev: Deviations of one kind, dims (subject, region): z and q.
        subjects: From `subject_table`.
        scores: Clinical or cognitive scores by id, NaN where not measured.
        directions: score -> `higher_is_worse` or `higher_is_better`.
        adjust: Columns by id that figures are also adjusted for; without columns, nothing is adjusted.
        groups: The groups in their order, which the trend takes for stages, test controls first.
        seed: Of the bootstraps.

    Returns:
        For JSON. Records hold value, low, high, n, test, and if there p, se, sizes (people by group) and p_holm (Holm
        over all p-values but that of the primary endpoint); where a figure cannot be had, `absent` says why.

        * primary: the one endpoint named beforehand: the trend of mean |z| over test controls and at least two target
          groups, or the AUC of mean |z| where there is one target group;
        * groups: means of the figures of a person in every group (`null`: their mean in calibrated controls), and
          share_larger: the share of flagged regions (q < 0.05) that are larger than expected; where atrophy is sought,
          a hint of healthy neighbours flagged with the opposite sign;
        * auc: each target group against the test controls, raw and adjusted (by a regression fitted on test controls);
        * trend: slope per stage and Jonckheere-Terpstra, raw and adjusted, from three groups up;
        * pairs: differences of mean |z| (Welch) and Cliff's delta (Mann-Whitney) of every two of these groups;
        * correlations: mean |z| with every score: Pearson and Spearman, raw, adjusted, and within groups;
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
    label = labels(subjects["split"], subjects["group"])
    order = order_of(subjects.assign(label=label), groups)
    notes = _notes(order)
    nuisance = _columns(adjust.reindex(subjects.index))
    versions = {"raw": subjects[list(MEASURES)]}
    if nuisance:
        notes.append(f"Adjusted for {', '.join(nuisance)}.")
        versions |= _adjusted(versions["raw"], nuisance, label == TEST_CONTROLS, notes)
    targets = [name for name in order if name != TEST_CONTROLS]
    compared = TEST_CONTROLS in order and len(targets) > 0
    told: dict[str, Any] = {"groups": {name: _group(subjects[label == name], dev, seed) for name in order}}
    if compared:
        told["auc"] = {name: _aucs(versions, label, name) for name in targets}
    if compared and len(targets) > 1:
        told["trend"] = _trends(versions, label.map(order.index), seed)
        told["pairs"] = _pairs(subjects[PRIMARY], label, order)
    told["correlations"] = {
        name: _correlations(subjects[PRIMARY], scores[name].reindex(subjects.index), direction, nuisance, label)
        for name, direction in directions.items()
    }
    primary = _primary(told, targets)
    _add_holm([record for record in _records(told) if record is not primary.get("record")], notes)
    return {"primary": {"endpoint": primary["endpoint"], **primary.get("record", {})}, **told, "notes": notes}


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


def _adjusted(
    raw: pd.DataFrame, nuisance: Mapping[str, NDArray[Any]], fit_on: pd.Series, notes: list[str]
) -> dict[str, pd.DataFrame]:
    """The measures after regression on the nuisance columns, fitted on test controls; nothing when they are too few."""
    try:
        columns = {name: adjusted(raw[name], nuisance, fit_on) for name in raw}
    except InputError as error:
        notes.append(f"Groups were not compared after adjustment: {error.got}, {error.expected} needed.")
        return {}
    return {"adjusted": pd.DataFrame(columns, raw.index)}


def _group(people: pd.DataFrame, dev: xr.Dataset, seed: int) -> dict[str, Any]:
    """Means of the figures of one group, and the share of flagged regions that are larger than expected."""
    told = {name: {**_record(mean_interval, people[name]), "null": null} for name, null in MEASURES.items()}
    for name in ("n_significant", "dsi"):
        told[name] = _record(bootstrap_interval, np.mean, people[name].dropna(), rng=np.random.default_rng(seed))
    one = dev.sel(subject=people.index.to_numpy())
    flagged = (one["q"] < LEVEL).to_numpy()
    larger = flagged & (one["z"] > 0).to_numpy()
    some = flagged.any(1)
    told["share_larger"] = _record(
        bootstrap_interval,
        lambda up, all_flags: up.sum() / all_flags.sum(),
        larger[some].sum(1),
        flagged[some].sum(1),
        rng=np.random.default_rng(seed),
    )
    return told


def _aucs(versions: Mapping[str, pd.DataFrame], label: pd.Series, group: str) -> dict[str, Any]:
    """AUC of every measure, one group against test controls."""
    return {
        name: {
            how: _record(auc, x.loc[label == TEST_CONTROLS, name], x.loc[label == group, name])
            for how, x in versions.items()
        }
        for name in MEASURES
    }


def _trends(versions: Mapping[str, pd.DataFrame], stage: pd.Series, seed: int) -> dict[str, Any]:
    """Slope and Jonckheere-Terpstra of every measure."""
    return {
        name: {
            how: {
                "slope": _record(trend, x[name], stage, rng=np.random.default_rng(seed)),
                "jonckheere_terpstra": _record(jonckheere_terpstra, x[name], stage),
            }
            for how, x in versions.items()
        }
        for name in MEASURES
    }


def _pairs(x: pd.Series, label: pd.Series, order: Sequence[str]) -> dict[str, Any]:
    """Every two groups, the later one against the earlier."""
    parts = {name: x[label == name].to_numpy() for name in order}
    return {
        f"{later} against {earlier}": {
            "difference": _record(_difference, parts[later], parts[earlier]),
            "cliffs_delta": _record(cliffs_delta, parts[later], parts[earlier]),
        }
        for earlier, later in combinations(order, 2)
    }


def _difference(x: Floats, y: Floats) -> Estimate:
    """Difference of two means with Welch's interval."""
    one = group_contrast(x[:, None], y[:, None])
    value, low, high, p = (
        float(part[0]) for part in (one.difference, one.difference_low, one.difference_high, one.welch_p)
    )
    sizes = (int(one.n[0]), int(one.n_controls[0]))
    if not np.isfinite(value):
        raise InputError("Welch", f"groups of {sizes} people", "at least 3 in each, who vary", "leave this pair out")
    return Estimate(value=value, low=low, high=high, n=sum(sizes), test="Welch", p=p, sizes=sizes)


def _correlations(
    x: pd.Series, score: pd.Series, direction: str, nuisance: Mapping[str, NDArray[Any]], label: pd.Series
) -> dict[str, Any]:
    """A measure with one score: Pearson and Spearman, raw, adjusted, and within groups."""
    given: dict[str, Mapping[str, NDArray[Any]] | None] = {"raw": None}
    if nuisance:
        given["adjusted"] = nuisance
    if label.nunique() > 1:
        given["within_group"] = {"group": label.to_numpy(object)}
    return {
        how: {
            method: {**_record(correlation, x, score, method=method, given=columns), "direction": direction}
            for method in ("pearson", "spearman")
        }
        for how, columns in given.items()
    }


def _record(figure: Callable[..., Estimate], *arguments: Any, **options: Any) -> dict[str, Any]:
    """A figure for JSON, or the reason why there is none."""
    try:
        return figure(*arguments, **options).to_dict()
    except InputError as error:
        return {"absent": f"{error.got}; {error.expected} needed"}


def _records(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every record with a p-value."""
    for child in node.values():
        if isinstance(child, dict):
            yield from [child] if "p" in child else _records(child)


def _add_holm(records: Sequence[dict[str, Any]], notes: list[str]) -> None:
    for record, p in zip(records, holm([record["p"] for record in records]), strict=True):
        record["p_holm"] = float(p)
    if records:
        rest = f"the {len(records)} p-values here; a primary endpoint's is not among them"
        notes.append(f"p_holm: adjusted by Holm's rule over {rest}.")


def _columns(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Columns as arrays: numbers, or text with None where empty."""
    return {
        str(name): column.to_numpy(float)
        if pd.api.types.is_numeric_dtype(column)
        else column.astype(object).where(column.notna(), None).to_numpy()
        for name, column in frame.items()
    }
