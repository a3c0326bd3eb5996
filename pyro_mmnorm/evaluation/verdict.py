"""Verdict: is the run calibrated, in words; read from calibration.json."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pandas as pd

from pyro_mmnorm.evaluation.sentences import BOUNDS
from pyro_mmnorm.results.formatting import interval, number, plain

__all__ = ["Verdict", "coverage_table", "group_table", "groups_outside", "kind_table", "verdict"]

NAMES = {"mean": "mean of z", "sd": "SD of z", "beyond_1.96": "share beyond |1.96|"}
MOMENTS = ("mean", "sd")

Tone = Literal["good", "unclear", "bad"]


class Verdict(NamedTuple):
    """The answer in one sentence, its colour, and the evidence, a line per figure."""

    tone: Tone
    sentence: str
    evidence: list[str]


def verdict(reliability: Mapping[str, Any]) -> Verdict:
    """Judge the figures of the test controls: bad when one lies outside its bounds, good when all intervals lie inside.

    Examples:
        >>> spread = {"value": 1.43, "low": 1.38, "high": 1.48}
        >>> verdict({"overall": {"n": 100, "sd": spread}}).tone
        'bad'
    """
    overall, bounds = reliability.get("overall", {}), _bounds(reliability)
    judged = {name: overall[name] for name in bounds if _whole(overall.get(name))}
    if not judged:
        return Verdict("unclear", str(reliability.get("verdict", "Not known: no figures of test controls.")), [])
    told = {name: " to ".join(number(name, bound) for bound in bounds[name]) for name in judged}
    evidence = [
        f"{NAMES.get(name, plain(name))}: {interval(name, judged[name])}; bounds {told[name]}" for name in judged
    ]
    n = f"{overall.get('n', 0):,} test controls"
    if any(not bounds[name][0] <= figure["value"] <= bounds[name][1] for name, figure in judged.items()):
        return Verdict("bad", f"No: on {n} z does not follow N(0, 1). Read every finding with that in mind.", evidence)
    if any(figure["low"] < bounds[name][0] or figure["high"] > bounds[name][1] for name, figure in judged.items()):
        answer = f"Yes, as far as {n} can tell: all figures lie within their bounds, but an interval reaches beyond."
        return Verdict("unclear", answer, evidence)
    return Verdict("good", f"Yes: on {n} z follows N(0, 1) within the bounds.", evidence)


def _bounds(reliability: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: (low, high) for name, (low, high) in (BOUNDS | reliability.get("bounds", {})).items()}


def _whole(figure: object) -> bool:
    """Whether a figure has a value and an interval."""
    return isinstance(figure, Mapping) and all(pd.notna(figure.get(part)) for part in ("value", "low", "high"))


def groups_outside(reliability: Mapping[str, Any]) -> list[str]:
    """A sentence per group of test controls whose whole interval of mean or SD lies outside the bounds.

    Examples:
        >>> spread = {"value": 1.31, "low": 1.1, "high": 1.5}
        >>> groups_outside({"groups": [{"by": "site", "level": "NYU", "n": 24, "sd": spread}]})
        ['z of site NYU has SD 1.31 [1.10, 1.50] over n 24.']
    """
    bounds = _bounds(reliability)
    return [
        f"z of {group.get('by', 'group')} {group.get('level', '')} has {plain(name)} "
        f"{interval(name, group[name])} over n {group.get('n', 0):,}."
        for group in reliability.get("groups", [])
        for name in MOMENTS
        if _whole(group.get(name)) and (group[name]["low"] > bounds[name][1] or group[name]["high"] < bounds[name][0])
    ]


def coverage_table(reliability: Mapping[str, Any]) -> pd.DataFrame:
    """Nominal level against reached coverage, for `plots.coverage_curve`."""
    overall = reliability.get("overall", {})
    rows = [{"level": int(name.removeprefix("coverage_")) / 100, **figure}
            for name, figure in overall.items() if name.startswith("coverage_") and _whole(figure)]  # fmt: skip
    return pd.DataFrame(rows, columns=["level", "value", "low", "high"]).sort_values("level")


def group_table(reliability: Mapping[str, Any]) -> pd.DataFrame:
    """Mean and SD of z with intervals, everyone first and a row per group, for `plots.group_forest`."""
    ends = {"": "value", "_low": "low", "_high": "high"}
    everyone = {**reliability.get("overall", {}), "by": "all", "level": "test controls"}
    rows = [
        {"by": group.get("by", "group"), "level": group.get("level", ""), "n": group.get("n", 0)}
        | {name + end: group[name][part] for name in MOMENTS for end, part in ends.items()}
        for group in [everyone, *reliability.get("groups", [])]
        if all(_whole(group.get(name)) for name in MOMENTS)
    ]
    return pd.DataFrame(rows, columns=["by", "level", "n", *(name + end for name in MOMENTS for end in ends)])


def kind_table(calibration: Mapping[str, Any]) -> pd.DataFrame:
    """Mean and SD of z with intervals in all test controls, a row per kind, for `plots.group_forest`."""
    rows = [
        group_table({"overall": report["overall"]}).assign(by="kind", level=kind)
        for kind, report in calibration.items()
        if isinstance(report, Mapping) and "overall" in report
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
