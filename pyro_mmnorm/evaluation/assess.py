"""The calibration report: are the z-scores of test controls standard normal, overall and in every group."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.evaluation.sentences import dependence
from pyro_mmnorm.evaluation.sums import Prediction, figures, prediction_parts, z_parts
from pyro_mmnorm.evaluation.verdict import BOUNDS, outside, verdict
from pyro_mmnorm.stats.dependence import between_modalities
from pyro_mmnorm.stats.grouping import Group, groups
from pyro_mmnorm.stats.metrics import MACE_LEVELS, known_mean, shapiro_w, uniformity

__all__ = ["assess"]

type Pair = tuple[Floats, Floats]

TESTS_PER_REFIT = 10
MOST_SHAPIRO, NULL_SAMPLES = 1000, 50
SHARES = ("beyond_", "coverage_", "pit")
NOT_NEGATIVE = ("rms_", "mace", "sd", "crps", "smse")


def assess(
    calibrator: Calibrator,
    calibrate: Pair,
    test: Pair,
    covariates: pd.DataFrame,
    kinds: Mapping[str, str],
    modality: NDArray[np.str_],
    *,
    prediction: Prediction | None = None,
    patterns: Sequence[str] | None = None,
    regions: NDArray[np.str_] | None = None,
    predictive: bool = True,
    repeats: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of calibrated z on test controls, each with a 95 % bootstrap interval.

    The bootstrap resamples test people, and calibration people too (the calibrator is refitted, its strengths of
    shrinkage kept; each refit serves 10 samples of test people), so the intervals hold the error of both. Its draws are
    centred on the figure: a resample holds 63 % of the people, and a calibrator fitted on so few is worse than ours.

    Args:
        calibrator: Fitted on `calibrate`.
        calibrate: Raw z [n_cal, d] and design [n_cal, c] of the calibration controls.
        test: The same of the test controls, n people.
        covariates: Of the test controls, [n, ...], by name.
        kinds: covariate -> spline, linear or category.
        modality: Name of the modality of each region, [d].
        prediction: Gives MSLL, SMSE, EXPV (total and beyond covariates) and CRPS (in SDs of training controls).
        patterns: Modalities of each test control in words, [n]; what was observed in `test` when None.
        regions: Names of the regions, [d], for the pair that `between_modalities` names.
        predictive: False when the region itself was seen (kinds `reconstruction` and `local`): then the PIT test, MSLL,
            SMSE, EXPV and CRPS tell fit, not prediction, and z is what is left given the latents, whose independence
            between modalities is tested.
        repeats: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        JSON-able: verdict, warnings (sentences on figures outside their band), reading, overall, groups (each figure
        with value, low and high; mace also with null, pit with p; shapiro_w with value and null), between_modalities,
        bounds.
    """
    parts = groups(covariates, kinds, np.isfinite(test[0]), modality, patterns)
    predicted = None if prediction is None else prediction.standardised()
    z = calibrator(*test)
    everyone = np.ones((1, len(z)))
    point = _told(calibrator, test, z, parts, everyone, predicted)
    rng = np.random.default_rng(seed)
    drawn = list(_resampled(calibrator, calibrate, test, parts, predicted, rng, repeats))
    around = {name: np.concatenate([d[name] for d in drawn]) for name in point}
    blocks = [_block(part, {k: v[0, i] for k, v in point.items()}, {k: v[:, i] for k, v in around.items()})
              for i, part in enumerate(parts)]  # fmt: skip
    overall, rest = blocks[0], blocks[1:]
    partial = (
        block for part, block in zip(parts, blocks, strict=True) if not (part.people.all() and part.regions.all())
    )
    told = [overall, *partial]  # levels that were all pooled are everybody again
    drawn_w = shapiro_w(rng.standard_normal((min(len(z), MOST_SHAPIRO), NULL_SAMPLES)))
    overall["shapiro_w"] = {"value": float(known_mean(shapiro_w(z))), "null": float(known_mean(drawn_w))}
    between = {} if predictive else between_modalities(z, modality, rng=rng, regions=regions)
    return {
        "verdict": verdict({"overall": overall}).text,
        "warnings": [*(text for block in told if (text := outside(block))), *dependence(between)],
        "reading": "prediction" if predictive else "fit, not prediction",
        "bounds": BOUNDS,
        "overall": overall,
        "groups": rest,
        "between_modalities": between,
    }


def _resampled(
    calibrator: Calibrator,
    calibrate: Pair,
    test: Pair,
    parts: list[Group],
    prediction: Prediction | None,
    rng: np.random.Generator,
    repeats: int,
) -> Iterator[dict[str, Floats]]:
    """Figures of bootstrap samples, in blocks that share a calibrator."""
    n, n_cal = len(test[0]), len(calibrate[0])
    for begin in bar(range(0, repeats, TESTS_PER_REFIT), "bootstrap"):
        people = rng.integers(0, n_cal, n_cal)
        again = calibrator.refit(calibrate[0][people], calibrate[1][people])
        size = min(TESTS_PER_REFIT, repeats - begin)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(float)
        yield _told(again, test, again(*test), parts, weights, prediction)


def _told(
    calibrator: Calibrator, test: Pair, z: Floats, parts: list[Group], weights: Floats, prediction: Prediction | None
) -> dict[str, Floats]:
    """Figures of every sample and group, [B, G] each; weights say how often a person is in a sample, [B, n]."""
    whole = [i for i, part in enumerate(parts) if part.regions.all()]
    masks = np.stack([parts[i].people for i in whole])
    rows = (weights[:, None] * masks).reshape(-1, len(z)).astype(np.float32)
    predicted = () if prediction is None else prediction_parts(calibrator, test, z, prediction)
    cells = chain(z_parts(z), predicted)
    total = {name: (rows @ part).reshape(len(weights), len(whole), -1) for name, part in cells}
    told = figures(total)
    found = {name: np.full((len(weights), len(parts), *v.shape[2:]), np.nan) for name, v in told.items()}
    for name, values in told.items():
        found[name][:, whole] = values
    for i, part in enumerate(parts):
        if i not in whole:
            for name, values in figures({name: t[:, 0][:, part.regions] for name, t in total.items()}).items():
                found[name][:, i] = values
    return found


def _block(part: Group, point: dict[str, Floats], drawn: dict[str, Floats]) -> dict[str, Any]:
    block: dict[str, Any] = {"by": part.by, "level": part.level, "n": int(part.people.sum())}
    for name, value in point.items():
        if name not in ("below", "mace_null"):
            block[name] = _interval(name, float(value), drawn[name])
    block["mace"]["null"] = float(point["mace_null"])
    distance, p = uniformity(point["below"], drawn["below"])
    levels = np.abs(drawn["below"] - drawn["below"].mean(0) + point["below"] - MACE_LEVELS).max(-1)
    block["pit"] = _interval("pit", distance, levels) | {"p": p}
    return block


def _interval(name: str, value: float, drawn: Floats) -> dict[str, float]:
    """A figure with its 95 % interval, from draws centred on it, within what the figure can be.

    A root mean square comes as its square, whose draws are centred and only then brought to their root: resampled
    people add their own sampling error, and a root would feel it the less the larger it is.
    """
    known = drawn[np.isfinite(drawn)]
    low, high = value + np.quantile(known - known.mean(), [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    told = np.array([value, low, high])
    if name.startswith((*SHARES, *NOT_NEGATIVE)):
        told = np.clip(told, 0, 1 if name.startswith(SHARES) else None)
    if name.startswith("rms_"):
        told = np.sqrt(told)
    return dict(zip(("value", "low", "high"), told.tolist(), strict=True))
