"""The calibration report: are the z-scores of test controls standard normal, overall and in every group."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from pyro_mmnorm.calibration import GaussianCalibrator
from pyro_mmnorm.metrics import COVERAGE_LEVELS, TAILS, mace, mace_null, moments, region_spread

__all__ = ["BOUNDS", "assess"]

type Floats = NDArray[np.float64]

SMALLEST_GROUP = 20
BOUNDS = {"mean": (-0.05, 0.05), "sd": (0.95, 1.05), "beyond_1.96": (0.04, 0.06)}
"""What the overall figures should lie in; a group is flagged when its whole interval lies outside."""


def assess(
    calibrator: GaussianCalibrator,
    calibrate: tuple[Floats, Floats],
    test: tuple[Floats, Floats],
    covariates: pd.DataFrame,
    kinds: Mapping[str, str],
    modality: Floats,
    *,
    repeats: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of calibrated z on test controls, each with a 95 % bootstrap interval.

    The bootstrap resamples test people, and calibration people too (the calibrator is refitted on each sample, its
    strengths of shrinkage kept), so the intervals hold the error of both. Its draws are centred on the figure: a
    resample holds 63 % of the people, and a calibrator fitted on so few is worse than ours.

    Args:
        calibrator: Fitted on `calibrate`.
        calibrate: Raw z [n_cal, d] and design [n_cal, c] of the calibration controls.
        test: The same of the test controls, n people.
        covariates: Of the test controls, [n, ...], by name.
        kinds: covariate -> spline, linear or category.
        modality: Name of the modality of each region, [d].
        repeats: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        JSON-able: verdict, warnings, overall, groups, bounds.
    """
    masks = _groups(covariates, kinds, np.isfinite(test[0]), modality)
    z = calibrator(*test)
    weights = np.ones(len(z))
    point = _figures(_sums(z, modality), masks, weights)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(repeats):
        people, rows = rng.integers(0, len(calibrate[0]), len(calibrate[0])), rng.integers(0, len(z), len(z))
        again = calibrator.refit(calibrate[0][people], calibrate[1][people])(*test)
        drawn.append(_figures(_sums(again, modality), masks, np.bincount(rows, minlength=len(z)).astype(float)))
    blocks = [_block(point, drawn, i, mask) for i, mask in enumerate(masks)]
    overall, groups = blocks[0], blocks[1:]
    overall |= {"mace": {"value": float(np.nanmean(mace(z))), "null": mace_null(len(z))}, **region_spread(z)}
    warnings = [_sentence(block) for block in groups if _outside(block)]
    return {"verdict": _verdict(overall), "warnings": warnings, "bounds": BOUNDS, "overall": overall, "groups": groups}


def _groups(
    covariates: pd.DataFrame, kinds: Mapping[str, str], seen: NDArray[np.bool_], modality: Floats
) -> list[dict[str, Any]]:
    """Who (people, [n]) and what (modalities, [M]) belongs to each group; the first is everything."""
    names = list(dict.fromkeys(modality.tolist()))
    everyone, everything = np.ones(len(covariates), bool), np.ones(len(names), bool)
    masks = [{"by": "overall", "level": "all", "people": everyone, "modalities": everything}]
    for name, kind in kinds.items():
        labels = covariates[name].astype(str) if kind == "category" else _tertiles(covariates[name])
        masks += _levels(name if kind == "category" else f"{name} tertile", labels, everything)
    for i, m in enumerate(names):
        masks.append({"by": "modality", "level": m, "people": everyone, "modalities": np.arange(len(names)) == i})
    present = np.stack([seen[:, modality == m].any(1) for m in names], 1)
    if not present.all():
        patterns = pd.Series([" + ".join(np.array(names)[row]) or "nothing" for row in present], index=covariates.index)
        masks += _levels("modalities present", patterns, everything)
    return masks


def _tertiles(x: pd.Series) -> pd.Series:
    cuts = np.unique(np.quantile(x, [1 / 3, 2 / 3]))
    labels = [
        f"below {cuts[0]:.4g}",
        *(f"{a:.4g} to {b:.4g}" for a, b in pairwise(cuts)),
        f"{cuts[-1]:.4g} and above",
    ]
    return pd.Series(np.array(labels)[np.searchsorted(cuts, x, side="right")], index=x.index)


def _levels(by: str, labels: pd.Series, everything: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """One group a level; levels with too few people are pooled."""
    count = labels.value_counts()
    small = count.index[count < SMALLEST_GROUP]
    small = small if len(small) > 1 else small[:0]  # a single small level would only lose its name
    pooled = labels.where(~labels.isin(small), f"{len(small)} levels under {SMALLEST_GROUP} people, pooled")
    return [
        {"by": by, "level": str(level), "people": (pooled == level).to_numpy(), "modalities": everything}
        for level in sorted(pooled.unique())
    ]


def _sums(z: Floats, modality: Floats) -> Floats:
    """Per person and modality: sums of z^0 ... z^4, counts beyond each tail and inside each interval; [n, M, q]."""
    seen = np.isfinite(z)
    filled, size = np.where(seen, z, 0.0), np.abs(np.where(seen, z, 0.0))
    parts = [seen.astype(float), *(filled**i for i in range(1, 5)), *((size > t).astype(float) for t in TAILS)]
    parts += [(seen & (size <= ndtri(0.5 + level / 2))).astype(float) for level in COVERAGE_LEVELS]
    names = list(dict.fromkeys(modality.tolist()))
    return np.stack([np.stack([part[:, modality == m].sum(1) for m in names], 1) for part in parts], -1)


def _figures(sums: Floats, masks: list[dict[str, Any]], weights: Floats) -> dict[str, Floats]:
    """name -> one value a group."""
    total = np.stack(
        [
            np.einsum("n,nmq,m->q", weights * mask["people"], sums, mask["modalities"].astype(float), optimize=True)
            for mask in masks
        ]
    )
    figures = moments(total[:, :5])
    share = total[:, 5:] / np.where(total[:, :1] > 0, total[:, :1], np.nan)
    names = [f"beyond_{t}" for t in TAILS] + [f"coverage_{round(100 * level)}" for level in COVERAGE_LEVELS]
    return figures | {name: share[:, i] for i, name in enumerate(names)}


def _block(point: dict[str, Floats], drawn: list[dict[str, Floats]], i: int, mask: dict[str, Any]) -> dict[str, Any]:
    block: dict[str, Any] = {"by": mask["by"], "level": mask["level"], "n": int(mask["people"].sum())}
    for name, values in point.items():
        around = np.array([d[name][i] for d in drawn])
        low, high = values[i] + np.nanquantile(around - np.nanmean(around), [0.025, 0.975])
        block[name] = {"value": float(values[i]), "low": float(low), "high": float(high)}
    return block


def _outside(block: dict[str, Any]) -> bool:
    return any(block[name]["low"] > high or block[name]["high"] < low for name, (low, high) in BOUNDS.items())


def _told(block: dict[str, Any], name: str) -> str:
    return f"{block[name]['value']:.3f} [{block[name]['low']:.3f}, {block[name]['high']:.3f}]"


def _sentence(block: dict[str, Any]) -> str:
    return (
        f"z of {block['by']} {block['level']} (n = {block['n']}) has mean {_told(block, 'mean')}, "
        f"SD {_told(block, 'sd')} and {100 * block['beyond_1.96']['value']:.1f} % beyond 1.96: take care."
    )


def _verdict(overall: dict[str, Any]) -> str:
    good = all(low <= overall[name]["value"] <= high for name, (low, high) in BOUNDS.items())
    beyond = f"beyond 1.96: {100 * overall['beyond_1.96']['value']:.1f} % (nominal 5 %)"
    figures = f"mean {_told(overall, 'mean')}, SD {_told(overall, 'sd')}, {beyond}"
    return f"{'Calibrated' if good else 'Not calibrated'} on {overall['n']} test controls: {figures}."
