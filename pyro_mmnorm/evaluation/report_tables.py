"""Tables of the measures of a calibration report, for `plots` and the page."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pyro_mmnorm.evaluation.verdict import has_interval

__all__ = ["coverage_table", "group_table", "kind_table"]

MOMENTS = ("mean", "sd")


def coverage_table(reliability: Mapping[str, Any]) -> pd.DataFrame:
    """Nominal and observed coverage with its interval, a row per level, for `plots.coverage_curve`.

    Args:
        reliability: Report of `assess`.

    Returns:
        Columns level, value, low and high.
    """
    overall = reliability.get("overall", {})
    rows = [
        {"level": int(name.removeprefix("coverage_")) / 100, **measure}
        for name, measure in overall.items()
        if name.startswith("coverage_") and has_interval(measure)
    ]
    return pd.DataFrame(rows, columns=["level", "value", "low", "high"]).sort_values("level")


def group_table(reliability: Mapping[str, Any]) -> pd.DataFrame:
    """Mean and SD of z with intervals, a row for everybody and one per subgroup, for `plots.group_forest`.

    Args:
        reliability: Report of `assess`.

    Returns:
        Columns by, level, n, mean, mean_low, mean_high, sd, sd_low and sd_high.
    """
    ends = {"": "value", "_low": "low", "_high": "high"}
    everybody = {**reliability.get("overall", {}), "by": "all", "level": "test controls"}
    rows = [
        {"by": group.get("by", "group"), "level": group.get("level", ""), "n": group.get("n", 0)}
        | {name + end: group[name][part] for name in MOMENTS for end, part in ends.items()}
        for group in [everybody, *reliability.get("groups", [])]
        if all(has_interval(group.get(name)) for name in MOMENTS)
    ]
    return pd.DataFrame(rows, columns=["by", "level", "n", *(name + end for name in MOMENTS for end in ends)])


def kind_table(calibration: Mapping[str, Any]) -> pd.DataFrame:
    """Mean and SD of z with intervals in all test controls, a row per kind, for `plots.group_forest`.

    Args:
        calibration: Kind -> report of `assess`, as in calibration.json.

    Returns:
        Columns as of `group_table`; empty without any report.
    """
    rows = [
        group_table({"overall": report["overall"]}).assign(by="kind", level=kind)
        for kind, report in calibration.items()
        if isinstance(report, Mapping) and "overall" in report
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
