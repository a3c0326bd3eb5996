"""Formatting of estimates and of their names as text."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

__all__ = ["interval", "number", "plain"]

SHARES = ("beyond_", "coverage_", "share_")


P_VALUES = ("p", "q", "p_value", "p_holm", "omnibus_p")


ESTIMATE = ("value", "low", "high")


LABELS = {
    "rms_mean": "RMS of region means",
    "rms_sd": "RMS of region SD − 1",
    "null": "expected under calibration",
    "reading": "interpretation of z",
    "se": "SE",
    "p_holm": "Holm p",
    "dsi": "DSI",
    "sd": "SD",
    "mace": "MACE",
    "msll": "MSLL",
    "smse": "SMSE",
    "expv": "EXPV",
    "crps": "CRPS",
    "expv_beyond_covariates": "EXPV beyond covariates",
    "pit": "PIT test",
    "shapiro_w": "Shapiro-Wilk W",
    "auc": "AUC",
}


def number(name: str, value: object, *, size: float | None = None) -> str:
    r"""A value as text: percent for shares, p-values down to 0.001, two or three decimals, a dash if missing.

    Args:
        name: Name of the value.
        value: The value.
        size: Largest absolute value in a list of numbers, which sets the decimals of all; that of the value if None.

    Examples:
        >>> number("n", 1234), number("share_significant", 0.0512), number("welch_q", 2e-9), number("mean_z", -1.0421)
        ('1,234', '5.1\xa0%', '<0.001', '−1.04')
    """
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = ", ".join(number(name, item) for item in value) if isinstance(value, list) else str(value)
        return {"True": "yes", "False": "no"}.get(text, text)
    if name.startswith(SHARES):
        text = f"{100 * value:.1f}\u00a0%"
    elif name in P_VALUES or name.endswith(("_p", "_q")):
        text = "<0.001" if value < 0.001 else f"{value:.3f}"
    elif name == "n" or (name.startswith(("n_", "count_")) and float(value).is_integer() and size is None):
        text = f"{value:,.0f}"
    else:
        whole = isinstance(value, int) and size in (None, abs(value))
        size = abs(value) if size is None else size
        text = f"{value:z,.{0 if whole or size >= 1000 else 2 if size >= 0.0995 else 3}f}"
    return text.replace("-", "−")


def interval(name: str, estimate: Mapping[str, Any]) -> str:
    """A value with its interval, if it has one.

    Examples:
        >>> interval("sd", {"value": 1.0, "low": 0.95, "high": 1.05})
        '1.00 [0.95, 1.05]'
    """
    value, low, high = (estimate.get(part) for part in ESTIMATE)
    if low is None or high is None:
        expected = f" (expected {number(name, estimate['null'])})" if "null" in estimate else ""
        return number(name, value) + expected
    size = max((abs(x) for x in (value, low, high) if isinstance(x, (int, float)) and not math.isnan(x)), default=None)
    middle, *ends = (number(name, x, size=size) for x in (value, low, high))
    return f"{middle} [{', '.join(ends)}]".replace("\u00a0%,", ",").replace("\u00a0%]", "]")


def plain(name: str) -> str:
    """A key of the results as words.

    Examples:
        >>> plain("beyond_1.96"), plain("coverage_95"), plain("sd"), plain("mean_abs_z")
        ('|z| > 1.96', 'coverage 95 %', 'SD', 'mean |z|')
    """
    if name.startswith("beyond_"):
        return f"|z| > {name.removeprefix('beyond_')}"
    if name.startswith("coverage_"):
        return f"coverage {name.removeprefix('coverage_')} %"
    return LABELS.get(name, name.replace("abs_z", "|z|").replace("sq_z", "z²").replace("_", " "))
