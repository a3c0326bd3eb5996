"""Sentences of the calibration report about dependence between modalities and about p-values."""

from collections.abc import Mapping
from typing import Any

__all__ = ["about_p", "dependence"]

SMALL_P, SMALL_SHARE = 0.01, 0.01


def dependence(between: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A warning that residuals of different modalities correlate; empty where it is chance or negligible.

    Args:
        between: Result of `between_modalities`: measures with value and null, and p of the first eigenvalue.

    Returns:
        A sentence when p is at most 0.01 and the share of pairs with |r| above 0.1 exceeds chance by at least 0.01.

    Examples:
        >>> dependence({})
        []
    """
    first, largest, share = (between.get(name) for name in ("first_eigenvalue", "largest_r", "share_above_0.1"))
    if not (first and largest and share) or first["p"] > SMALL_P or share["value"] < share["null"] + SMALL_SHARE:
        return []
    pair = f", {largest['pair']}" if "pair" in largest else ""
    return [
        f"Residuals of different modalities correlate in test controls: |r| up to {largest['value']:.2f} (expected by "
        f"chance {largest['null']:.2f}{pair}), above 0.1 in {100 * share['value']:.1f} % of pairs (expected by chance "
        f"{100 * share['null']:.1f} %). The model assumes that they are independent given the latents, so deviations "
        "of such a pair are not independent findings."
    ]


def about_p(people: int, smallest: float, regions: int) -> str:
    """Sentences on the p-values: how q is computed, and how small the conformal p can be.

    Args:
        people: Number of calibration controls.
        smallest: The smallest possible conformal p.
        regions: Number of regions.

    Examples:
        >>> about_p(106, 1 / 107, 115)[-47:]
        'at least 2,299 calibration controls are needed.'
    """
    return (
        "q is the Benjamini-Hochberg FDR of the two-sided normal p-value of z over the regions of a person; flags and "
        "counts are computed from q. The conformal p of a region or a person (omnibus p) assumes no distribution; it "
        f"is reported in addition and not used for them. With {people:,} calibration controls it is at least "
        f"{smallest:.4f}. For one of {regions:,} regions to pass Benjamini-Hochberg at 0.05 by its conformal p, at "
        f"least {regions * 20 - 1:,} calibration controls are needed."
    )
