"""Sums over people from which the measures of the calibration report are computed, also for every bootstrap sample."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.metrics import (
    COVERAGE_LEVELS,
    MACE_LEVELS,
    TAILS,
    calibrated_log_density,
    crps_quantiles,
    known_mean,
    moments,
    square_spread,
)

__all__ = ["Prediction", "measures", "prediction_parts", "z_parts"]


BEYOND = {f"beyond_{t}": t for t in TAILS}
COVERAGE = {f"coverage_{round(100 * level)}": float(ndtri(0.5 + level / 2)) for level in COVERAGE_LEVELS}
BELOW = {f"below_{q}": float(ndtri(q)) for q in MACE_LEVELS}
QUANTILES = ndtri((np.arange(15) + 0.5) / 15)[:, None, None]  # the middle one is the median
STEP = 1e-4


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Measured and predicted values of test controls, for MSLL, SMSE, EXPV and CRPS.

    Args:
        observed: Values in the units of the table, [n, d], NaN where not observed.
        expected, sd: Mean and SD predicted by the model before calibration, [n, d].
        mean, spread: Mean and SD of the training controls, [d].
        by_covariates: Values predicted from the covariates alone, [n, d], for the variance explained beyond them.
        log_density: Log density of `observed` under the model, [n, d]; that of a normal when None.
    """

    observed: Floats
    expected: Floats
    sd: Floats
    mean: Floats
    spread: Floats
    by_covariates: Floats | None = None
    log_density: Floats | None = None

    def standardised(self) -> Self:
        """All values as z-scores of the training controls."""
        covariates, density = self.by_covariates, self.log_density
        return type(self)(
            observed=(self.observed - self.mean) / self.spread,
            expected=(self.expected - self.mean) / self.spread,
            sd=self.sd / self.spread,
            mean=np.zeros_like(self.mean),
            spread=np.ones_like(self.spread),
            by_covariates=None if covariates is None else (covariates - self.mean) / self.spread,
            log_density=None if density is None else density + np.log(self.spread),
        )


def z_parts(z: Floats) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Arrays whose sums over people give the measures of z: powers, and indicators of ranges.

    Args:
        z: Calibrated z, [n, d], NaN where not observed.

    Yields:
        Name and array [n, d], 0 where not observed.
    """
    seen = np.isfinite(z)
    filled = np.where(seen, z, 0.0)
    size, power = np.abs(filled), filled
    # number of cells, and powers for the moments
    yield "seen", seen.astype(np.float32)
    for i in range(1, 5):
        yield f"z{i}", power.astype(np.float32)
        power = power * filled
    # |z| beyond a bound, and inside a central interval
    for name, bound in BEYOND.items():
        yield name, (size > bound).astype(np.float32)
    for name, bound in COVERAGE.items():
        yield name, (seen & (size <= bound)).astype(np.float32)
    # z below a centile
    below = np.where(seen, z, np.inf)
    for name, bound in BELOW.items():
        yield name, (below <= bound).astype(np.float32)


def prediction_parts(
    calibrator: Calibrator, test: tuple[Floats, Floats], z: Floats, prediction: Prediction
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Arrays whose sums over people give the measures of a prediction after calibration.

    Args:
        calibrator: Its location, scale and shape are applied to the prediction.
        test: Raw z [n, d] and design [n, c].
        z: Their calibrated z, [n, d].
        prediction: Standardised, see `Prediction.standardised`.

    Yields:
        Name and array [n, d], 0 where not observed.
    """
    raw, design = test
    y = prediction.observed
    seen = np.isfinite(y) & np.isfinite(raw)
    # calibrated log density of y, by the change of variables y -> raw z -> z
    density = prediction.log_density
    raw_by_y = (
        1 / prediction.sd if density is None else np.exp(density - calibrated_log_density(raw, np.ones_like(raw)))
    )
    z_by_raw = (calibrator(raw + STEP, design) - z) / STEP
    log_p = calibrated_log_density(z, np.maximum(z_by_raw * raw_by_y, 1e-300))
    # quantiles of the calibrated prediction, the error from its median, and CRPS from all quantiles
    quantiles = prediction.expected + calibrator.inverse_transform(QUANTILES, design) * prediction.sd
    error = y - quantiles[len(quantiles) // 2]
    parts = {
        "known": np.ones_like(y),
        "y": y,
        "y2": y**2,
        "e": error,
        "e2": error**2,
        "loss": -0.5 * y**2 - 0.5 * np.log(2 * np.pi) - log_p,
        "crps": crps_quantiles(y, quantiles),
    }
    if prediction.by_covariates is not None:
        residual = y - prediction.by_covariates
        parts |= {"c": residual, "c2": residual**2}
    for name, part in parts.items():
        yield name, np.where(seen, part, 0.0).astype(np.float32)


def measures(total: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """Measures over regions from sums over people.

    Args:
        total: Sums of the arrays of `z_parts`, and perhaps of `prediction_parts`, [..., d] each.

    Returns:
        Each measure, [...]; `below`, the share of cells below each centile of `MACE_LEVELS`, as [..., L].
    """
    t = {name: np.asarray(values, float) for name, values in total.items()}
    # over all cells: moments, shares beyond bounds, coverage
    powers = np.stack([t["seen"], *(t[f"z{i}"] for i in range(1, 5))], -1)
    cells = t["seen"].sum(-1)
    values = moments(powers.sum(-2))
    values |= {name: ratio(t[name].sum(-1), cells) for name in (*BEYOND, *COVERAGE)}
    # between regions: spread of means and SDs
    values |= square_spread(powers)
    # mean absolute error of the centiles of a region, and its expectation under calibration
    people = np.where(t["seen"] > 0, t["seen"], np.nan)
    levels = list(zip(MACE_LEVELS, BELOW, strict=True))
    values["mace"] = known_mean(np.mean([np.abs(t[name] / people - q) for q, name in levels], axis=0))
    values["mace_null"] = known_mean(np.mean([np.sqrt(2 * q * (1 - q) / (np.pi * people)) for q, _ in levels], axis=0))
    values["below"] = np.stack([ratio(t[name].sum(-1), cells) for name in BELOW], -1)
    return values | (_prediction_measures(t) if "y" in t else {})


def _prediction_measures(t: Mapping[str, Floats]) -> dict[str, Floats]:
    """MSLL, SMSE, EXPV and CRPS, means over regions."""
    n = np.where(t["known"] > 1, t["known"], np.nan)

    def variance(name: str) -> Floats:
        v = t[f"{name}2"] / n - (t[name] / n) ** 2
        return np.where(v > 1e-9, v, np.nan)

    values = {
        "msll": t["loss"] / n,
        "smse": t["e2"] / n / variance("y"),
        "expv": 1 - variance("e") / variance("y"),
        "crps": t["crps"] / n,
    }
    if "c" in t:
        values["expv_beyond_covariates"] = 1 - variance("e") / variance("c")
    return {name: known_mean(per_region) for name, per_region in values.items()}
