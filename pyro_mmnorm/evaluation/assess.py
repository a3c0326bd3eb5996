"""The calibration report: are the z-scores of test controls standard normal, overall and in every subgroup."""

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
from pyro_mmnorm.evaluation.sums import Prediction, measures, prediction_parts, z_parts
from pyro_mmnorm.evaluation.verdict import BOUNDS, outside, verdict
from pyro_mmnorm.stats.bootstrap import percentile_interval, resampled_people, resampled_weights
from pyro_mmnorm.stats.dependence import between_modalities
from pyro_mmnorm.stats.grouping import Group, groups
from pyro_mmnorm.stats.metrics import MACE_LEVELS, known_mean, shapiro_w, uniformity

__all__ = ["assess"]

type Pair = tuple[Floats, Floats]

TESTS_PER_REFIT = 10
"""Bootstrap samples of test controls for each refit of the calibrator."""
MOST_SHAPIRO, NULL_SAMPLES = 1000, 50
"""People and samples from which the expected Shapiro-Wilk W of normal variables is computed."""
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
    """Measures of calibrated z in test controls, each with a 95 % bootstrap interval.

    The bootstrap resamples test controls and calibration controls, so that the intervals contain the sampling error of
    both. The calibrator is refitted with its strengths of shrinkage kept; each refit serves 10 samples of test
    controls. Draws are centred on the measure: a sample holds 63 % of the people, and a calibrator fitted on so few is
    worse than the original one.

    Args:
        calibrator: Fitted on `calibrate`.
        calibrate: Raw z [n_cal, d] and design [n_cal, c] of the calibration controls.
        test: Raw z [n, d] and design [n, c] of the test controls.
        covariates: Covariates of the test controls, [n, ...], by name.
        kinds: covariate -> spline, linear or category.
        modality: Modality of each region, [d].
        prediction: Measured and predicted values, for MSLL, SMSE, EXPV (total and beyond covariates) and CRPS (in SDs
            of training controls); None: without these.
        patterns: Observed modalities of each test control in words, [n]; taken from `test` when None.
        regions: Names of the regions, [d], for the pair named by `between_modalities`.
        predictive: False for kinds in which a region was used to predict itself (`reconstruction` and `local`). Then
            the PIT test, MSLL, SMSE, EXPV and CRPS are in-sample. z are residuals given the latents, and their
            independence between modalities is tested.
        repeats: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Returns:
        A dict that can be written as JSON. verdict; warnings: sentences on measures outside their tolerance; reading;
        overall and groups: each measure with value, low and high, mace also with null, pit with p, and shapiro_w with
        value and null; between_modalities; bounds.

    Examples:
        >>> from pyro_mmnorm.calibration.calibrators import CALIBRATORS
        >>> rng = np.random.default_rng(0)
        >>> controls, test = ((rng.normal(size=(n, 5)), np.zeros((n, 0))) for n in (100, 200))
        >>> fitted = CALIBRATORS["gaussian"](*controls, {})
        >>> report = assess(fitted, controls, test, pd.DataFrame(index=range(200)), {}, np.repeat("t1", 5))
        >>> sorted(report["overall"]["sd"]), abs(report["overall"]["sd"]["value"] - 1) < 0.1
        (['high', 'low', 'value'], True)
    """
    parts = groups(covariates, kinds, np.isfinite(test[0]), modality, patterns)
    standardised = None if prediction is None else prediction.standardised()
    z = calibrator(*test)
    # measures of the test controls, and of bootstrap samples
    once = np.ones((1, len(z)))
    point = _measures_by_group(calibrator, test, z, parts, once, standardised)
    rng = np.random.default_rng(seed)
    samples = list(_resampled(calibrator, calibrate, test, parts, standardised, rng, repeats))
    drawn = {name: np.concatenate([sample[name] for sample in samples]) for name in point}
    blocks = [
        _group_report(part, {k: v[0, i] for k, v in point.items()}, {k: v[:, i] for k, v in drawn.items()})
        for i, part in enumerate(parts)
    ]
    overall, subgroups = blocks[0], blocks[1:]
    # W of z beside that of normal variables
    normal_w = shapiro_w(rng.standard_normal((min(len(z), MOST_SHAPIRO), NULL_SAMPLES)))
    overall["shapiro_w"] = {"value": float(known_mean(shapiro_w(z))), "null": float(known_mean(normal_w))}
    between = {} if predictive else between_modalities(z, modality, rng=rng, regions=regions)
    # a subgroup of all cells (levels that were all pooled) would repeat the overall warning
    whole = [part.people.all() and part.regions.all() for part in parts]
    judged = [overall, *(block for block, same in zip(blocks, whole, strict=True) if not same)]
    return {
        "verdict": verdict({"overall": overall}).text,
        "warnings": [*(text for block in judged if (text := outside(block))), *dependence(between)],
        "reading": "prediction" if predictive else "in-sample: the region was used to predict itself",
        "bounds": BOUNDS,
        "overall": overall,
        "groups": subgroups,
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
    """Measures of bootstrap samples, in blocks that share a refitted calibrator."""
    n, n_cal = len(test[0]), len(calibrate[0])
    for begin in bar(range(0, repeats, TESTS_PER_REFIT), "bootstrap"):
        rows = resampled_people(np.zeros(n_cal), 1, rng)[0]
        refit = calibrator.refit(calibrate[0][rows], calibrate[1][rows])
        size = min(TESTS_PER_REFIT, repeats - begin)
        weights = resampled_weights(n, size, rng).astype(float)
        yield _measures_by_group(refit, test, refit(*test), parts, weights, prediction)


def _measures_by_group(
    calibrator: Calibrator, test: Pair, z: Floats, parts: list[Group], weights: Floats, prediction: Prediction | None
) -> dict[str, Floats]:
    """Measures of every sample and group, [B, G] each; weights count each person in each sample, [B, n]."""
    whole = [i for i, part in enumerate(parts) if part.regions.all()]
    # sums over the people of every sample and group, as one matrix product per summed array
    masks = np.stack([parts[i].people for i in whole])
    rows = (weights[:, None] * masks).reshape(-1, len(z)).astype(np.float32)
    predicted = () if prediction is None else prediction_parts(calibrator, test, z, prediction)
    cells = chain(z_parts(z), predicted)
    total = {name: (rows @ part).reshape(len(weights), len(whole), -1) for name, part in cells}
    # groups of people
    of_people = measures(total)
    by_group = {name: np.full((len(weights), len(parts), *v.shape[2:]), np.nan) for name, v in of_people.items()}
    for name, values in of_people.items():
        by_group[name][:, whole] = values
    # groups of regions, from the sums over everybody
    for i, part in enumerate(parts):
        if i not in whole:
            for name, values in measures({name: t[:, 0][:, part.regions] for name, t in total.items()}).items():
                by_group[name][:, i] = values
    return by_group


def _group_report(part: Group, point: dict[str, Floats], drawn: dict[str, Floats]) -> dict[str, Any]:
    """The block of one group in the report, from its measures and those of the bootstrap samples."""
    block: dict[str, Any] = {"by": part.by, "level": part.level, "n": int(part.people.sum())}
    for name, value in point.items():
        if name not in ("below", "mace_null"):
            block[name] = _interval(name, float(value), drawn[name])
    block["mace"]["null"] = float(point["mace_null"])
    # largest error of a centile, with draws centred on the observed shares
    distance, p = uniformity(point["below"], drawn["below"])
    distances = np.abs(drawn["below"] - drawn["below"].mean(0) + point["below"] - MACE_LEVELS).max(-1)
    block["pit"] = _interval("pit", distance, distances) | {"p": p}
    return block


def _interval(name: str, value: float, drawn: Floats) -> dict[str, float]:
    """A measure with its 95 % interval from draws centred on it, clipped to the range of the measure.

    A root mean square is passed as its square. The root is taken after centring: draws of the square are shifted by
    their own sampling error, which the root would shrink the more the larger the value is.
    """
    finite = drawn[np.isfinite(drawn)]
    low, high = percentile_interval(finite, centre=value) if len(finite) else (np.nan, np.nan)
    ends = np.array([value, low, high])
    if name.startswith((*SHARES, *NOT_NEGATIVE)):
        ends = np.clip(ends, 0, 1 if name.startswith(SHARES) else None)
    if name.startswith("rms_"):
        ends = np.sqrt(ends)
    return dict(zip(("value", "low", "high"), ends.tolist(), strict=True))
