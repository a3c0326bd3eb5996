"""The verdict of a calibration report, and the bounds of the verdict and of every warning."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pandas as pd

from pyro_mmnorm.results.formatting import interval, number, plain
from pyro_mmnorm.stats.metrics import COVERAGE_LEVELS

__all__ = ["BANDS", "BOUNDS", "Verdict", "has_interval", "outside", "verdict"]

BOUNDS = {"mean": (-0.05, 0.05), "sd": (0.95, 1.05), "beyond_1.96": (0.04, 0.06)}
"""Tolerance of the overall measures that decide the verdict."""

BANDS = BOUNDS | {
    "beyond_2.58": (0.0, 0.014),  # a small group may have none by chance
    "beyond_3.29": (0.0, 0.002),
    **{f"coverage_{round(100 * level)}": (level - 0.02, level + 0.02) for level in COVERAGE_LEVELS},
    "skew": (-0.5, 0.5),
    "kurtosis": (-1.0, 1.0),
    "rms_mean": (0.0, 0.15),
    "rms_sd": (0.0, 0.06),
    "pit": (0.0, 0.03),
}
"""Tolerance of every measure; there is a warning where a whole interval lies outside, overall or in a subgroup."""

NAMES = {"mean": "mean of z", "sd": "SD of z", "pit": "largest error of a centile"}

type Tone = Literal["good", "unclear", "bad"]


class Verdict(NamedTuple):
    """The answer in one sentence, its tone, and the evidence, a line per measure."""

    tone: Tone
    sentence: str
    evidence: list[str]

    @property
    def text(self) -> str:
        """The answer with its evidence, for one line."""
        return f"{self.sentence} {'; '.join(self.evidence)}." if self.evidence else self.sentence


def verdict(report: Mapping[str, Any]) -> Verdict:
    """Compare the overall measures of the test controls with their bounds.

    The tone is bad when a measure is outside its bounds, good when all intervals are inside, else unclear.

    Args:
        report: With `overall` (n and measures), and optionally `bounds`, which replace those of `BOUNDS`.

    Examples:
        >>> spread = {"value": 1.43, "low": 1.38, "high": 1.48}
        >>> answer = verdict({"overall": {"n": 100, "sd": spread}})
        >>> answer.sentence, answer.evidence
        ('Calibration check in 100 held-out controls: not calibrated.',
         ['SD of z: 1.43 [1.38, 1.48] (tolerance 0.95 to 1.05)'])
    """
    overall = report.get("overall", {})
    bounds = {name: (low, high) for name, (low, high) in (BOUNDS | report.get("bounds", {})).items()}
    judged = {name: overall[name] for name in bounds if has_interval(overall.get(name))}
    if not judged:
        return Verdict("unclear", str(report.get("verdict", "No calibration check: no measures of test controls.")), [])
    evidence = [_with_tolerance(name, x, bounds[name]) for name, x in judged.items()]
    inside = {name: bounds[name][0] <= x["value"] <= bounds[name][1] for name, x in judged.items()}
    sure = {name: x["low"] >= bounds[name][0] and x["high"] <= bounds[name][1] for name, x in judged.items()}
    tone: Tone = "good"
    answer = "well calibrated within tolerance"
    if not all(inside.values()):
        tone, answer = "bad", "not calibrated"
    elif not all(sure.values()):
        tone, answer = "unclear", "within tolerance, but an interval extends beyond it"
    sentence = f"Calibration check in {overall.get('n', 0):,} held-out controls: {answer}."
    return Verdict(tone, sentence, evidence)


def outside(block: Mapping[str, Any]) -> str:
    """A sentence on the measures of a subgroup whose whole interval is outside the tolerance; empty if there are none.

    Args:
        block: by, level, n and measures of one subgroup, or of everybody.

    Examples:
        >>> outside({"by": "site", "level": "X", "n": 60, "sd": {"value": 1.31, "low": 1.2, "high": 1.4}})
        'Site X (n = 60): SD of z: 1.31 [1.20, 1.40] (tolerance 0.95 to 1.05). Do not compare these z with others.'
    """
    faults = [
        _with_tolerance(name, block[name], band)
        for name, band in BANDS.items()
        if has_interval(block.get(name)) and (block[name]["low"] > band[1] or block[name]["high"] < band[0])
    ]
    if not faults:
        return ""
    overall = block["by"] == "overall"
    people = "All held-out controls" if overall else f"{str(block['by']).capitalize()} {block['level']}"
    todo = "Interpret every finding with this in mind." if overall else "Do not compare these z with others."
    return f"{people} (n = {block['n']}): {'; '.join(faults)}. {todo}"


def has_interval(measure: object) -> bool:
    """Whether a measure has a value and an interval."""
    return isinstance(measure, Mapping) and all(pd.notna(measure.get(part)) for part in ("value", "low", "high"))


def _with_tolerance(name: str, measure: Mapping[str, Any], band: tuple[float, float]) -> str:
    """A measure with its interval and, in brackets, the tolerance."""
    low, high = (number(_key(name), end) for end in band)
    return f"{_name(name)}: {interval(_key(name), measure)} (tolerance {low} to {high})"


def _name(name: str) -> str:
    """The measure in words."""
    return f"share of {plain(name)}" if name.startswith("beyond_") else NAMES.get(name, plain(name))


def _key(name: str) -> str:
    """The name by which `number` chooses the format: an error of centiles is a share."""
    return "share_pit" if name == "pit" else name
