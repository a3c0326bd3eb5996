"""What the figures of the calibration report say, in words."""

from collections.abc import Mapping
from typing import Any

from pyro_mmnorm.stats.metrics import COVERAGE_LEVELS

__all__ = ["BANDS", "BOUNDS", "about_p", "dependence", "outside", "verdict"]

BOUNDS = {"mean": (-0.05, 0.05), "sd": (0.95, 1.05), "beyond_1.96": (0.04, 0.06)}
"""What the overall figures should lie in: the verdict rests on these."""

BANDS = BOUNDS | {
    "beyond_2.58": (0.0, 0.014),  # a small group may well have none
    "beyond_3.29": (0.0, 0.002),
    **{f"coverage_{round(100 * level)}": (level - 0.02, level + 0.02) for level in COVERAGE_LEVELS},
    "skew": (-0.5, 0.5),
    "kurtosis": (-1.0, 1.0),
    "rms_mean": (0.0, 0.15),
    "rms_sd": (0.0, 0.06),
    "pit": (0.0, 0.03),
}
"""A warning is given when the whole interval of a figure lies outside its band, overall or in a group."""

WORDS = {
    "mean": "mean",
    "sd": "SD",
    "rms_mean": "region means of RMS",
    "rms_sd": "region SDs that differ from 1 by RMS",
}
WORDS |= {"pit": "centiles that are off by up to"}
SHARES = ("beyond_", "coverage_", "pit")
SMALL_P = 0.01


def outside(block: Mapping[str, Any]) -> str:
    """A sentence on those figures of a group whose whole interval lies outside their band; empty where none does.

    Examples:
        >>> outside({"by": "site", "level": "X", "n": 60, "sd": {"value": 1.31, "low": 1.2, "high": 1.4}})
        'z of site X (n = 60) has SD 1.31 [1.20, 1.40] (0.95 to 1.05 is right): do not compare it with others as it is.'
    """
    faults = [
        f"{_name(name)} {_number(name, block[name]['value'])} [{_number(name, block[name]['low'])}, "
        f"{_number(name, block[name]['high'])}] ({_number(name, low)} to {_number(name, high)} is right)"
        for name, (low, high) in BANDS.items()
        if name in block and (block[name]["low"] > high or block[name]["high"] < low)
    ]
    if not faults:
        return ""
    who = "test controls" if block["by"] == "overall" else f"{block['by']} {block['level']}"
    todo = (
        "read every finding with that in mind" if block["by"] == "overall" else "do not compare it with others as it is"
    )
    return f"z of {who} (n = {block['n']}) has {', '.join(faults)}: {todo}."


def dependence(between: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence when residuals of different modalities correlate by more than chance and by more than a little."""
    first, largest, share = (between.get(name) for name in ("first_eigenvalue", "largest_r", "share_above_0.1"))
    if not (first and largest and share) or first["p"] > SMALL_P or share["value"] < share["null"] + 0.01:
        return []
    pair = f", {largest['pair']}" if "pair" in largest else ""
    return [
        f"Residuals of different modalities correlate in test controls: |r| up to {largest['value']:.2f} (by chance "
        f"{largest['null']:.2f}{pair}), above 0.1 in {100 * share['value']:.1f} % of pairs (by chance "
        f"{100 * share['null']:.1f} %): the model takes them for independent given the latents. "
        "Deviations of such a pair are no two findings."
    ]


def about_p(people: int, smallest: float, regions: int) -> str:
    """Which p-value feeds what, and how small the conformal one can be.

    Examples:
        >>> about_p(106, 1 / 107, 115)[-74:]
        'of 115 regions could pass Benjamini-Hochberg at 0.05 from 2,299 people on.'
    """
    return (
        "q, flags and everything counted from them rest on the calibrated z: its two-sided normal p, by "
        "Benjamini-Hochberg over the regions of a person. The conformal p of a region or a person (omnibus p) asks for "
        f"no distribution, stands beside them and feeds nothing: with {people:,} calibration controls it is at least "
        f"{smallest:.4f}, and one of {regions:,} regions could pass Benjamini-Hochberg at 0.05 from "
        f"{regions * 20 - 1:,} people on."
    )


def verdict(overall: Mapping[str, Any]) -> str:
    """The answer in one sentence."""
    good = all(low <= overall[name]["value"] <= high for name, (low, high) in BOUNDS.items())
    told = ", ".join(
        f"{WORDS[name]} {overall[name]['value']:.3f} [{overall[name]['low']:.3f}, {overall[name]['high']:.3f}]"
        for name in ("mean", "sd")
    )
    beyond = f"beyond 1.96: {100 * overall['beyond_1.96']['value']:.1f} % (nominal 5 %)"
    return f"{'Calibrated' if good else 'Not calibrated'} on {overall['n']} test controls: {told}, {beyond}."


def _name(name: str) -> str:
    if name.startswith("beyond_"):
        return f"a share of |z| > {name.removeprefix('beyond_')} of"
    if name.startswith("coverage_"):
        return f"a {name.removeprefix('coverage_')} % interval that holds"
    return WORDS.get(name, name)


def _number(name: str, value: float) -> str:
    if name.startswith(SHARES):
        return f"{100 * value:.2f} %" if name == "beyond_3.29" else f"{100 * value:.1f} %"
    return f"{value:.2f}"
