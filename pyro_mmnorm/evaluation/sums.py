"""Sums over people that all figures of the calibration report are made of, so that a bootstrap is a matrix product."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from pyro_mmnorm.calibration.protocol import Calibrator
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

__all__ = ["Prediction", "figures", "prediction_parts", "z_parts"]


BEYOND = {f"beyond_{t}": t for t in TAILS}
COVERAGE = {f"coverage_{round(100 * level)}": float(ndtri(0.5 + level / 2)) for level in COVERAGE_LEVELS}
BELOW = {f"below_{q}": float(ndtri(q)) for q in MACE_LEVELS}
QUANTILES = ndtri((np.arange(15) + 0.5) / 15)[:, None, None]  # the middle one is the median
STEP = 1e-4


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was measured in test controls and what the model expected, for MSLL, SMSE, EXPV and CRPS.

    Args:
        observed: Values in the units of the table, [n, d], NaN where not observed.
        expected, sd: Of the model, before calibration, [n, d].
        mean, spread: Mean and SD of the training controls, [d].
        by_covariates: What the covariates alone predict, [n, d], for the variance explained beyond them.
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
        """The same in SDs of the training controls from their mean."""
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
    """Arrays [n, d] whose sums over people give the figures of z: powers, and where z lies."""
    seen = np.isfinite(z)
    filled = np.where(seen, z, 0.0)
    size, power = np.abs(filled), filled
    yield "seen", seen.astype(np.float32)
    for i in range(1, 5):
        yield f"z{i}", power.astype(np.float32)
        power = power * filled
    for name, bound in BEYOND.items():
        yield name, (size > bound).astype(np.float32)
    for name, bound in COVERAGE.items():
        yield name, (seen & (size <= bound)).astype(np.float32)
    below = np.where(seen, z, np.inf)
    for name, bound in BELOW.items():
        yield name, (below <= bound).astype(np.float32)


def prediction_parts(
    calibrator: Calibrator, test: tuple[Floats, Floats], z: Floats, prediction: Prediction
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The same for the figures of a standardised prediction, with the calibrator's location, scale and shape."""
    raw, design = test
    y = prediction.observed
    seen = np.isfinite(y) & np.isfinite(raw)
    density = prediction.log_density
    slope = 1 / prediction.sd if density is None else np.exp(density - calibrated_log_density(raw, np.ones_like(raw)))
    log_p = calibrated_log_density(z, np.maximum((calibrator(raw + STEP, design) - z) / STEP * slope, 1e-300))
    quantiles = prediction.expected + calibrator.inverse_transform(QUANTILES, design) * prediction.sd
    error = y - quantiles[len(quantiles) // 2]
    found = {
        "known": np.ones_like(y),
        "y": y,
        "y2": y**2,
        "e": error,
        "e2": error**2,
        "loss": -0.5 * y**2 - 0.5 * np.log(2 * np.pi) - log_p,
        "crps": crps_quantiles(y, quantiles),
    }
    if prediction.by_covariates is not None:
        rest = y - prediction.by_covariates
        found |= {"c": rest, "c2": rest**2}
    for name, part in found.items():
        yield name, np.where(seen, part, 0.0).astype(np.float32)


def figures(total: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """Figures over regions from the sums over people, [..., d] each; [...] each, and the shares below as [..., L]."""
    t = {name: np.asarray(values, float) for name, values in total.items()}
    powers = np.stack([t["seen"], *(t[f"z{i}"] for i in range(1, 5))], -1)
    cells = np.where(t["seen"].sum(-1) > 0, t["seen"].sum(-1), np.nan)
    found = moments(powers.sum(-2))
    found |= {name: t[name].sum(-1) / cells for name in (*BEYOND, *COVERAGE)}
    found |= square_spread(powers)
    people = np.where(t["seen"] > 0, t["seen"], np.nan)
    levels = list(zip(MACE_LEVELS, BELOW, strict=True))
    found["mace"] = known_mean(np.mean([np.abs(t[name] / people - q) for q, name in levels], axis=0))
    found["mace_null"] = known_mean(np.mean([np.sqrt(2 * q * (1 - q) / (np.pi * people)) for q, _ in levels], axis=0))
    found["below"] = np.stack([t[name].sum(-1) / cells for name in BELOW], -1)
    return found | (_predicted(t) if "y" in t else {})


def _predicted(t: Mapping[str, Floats]) -> dict[str, Floats]:
    """MSLL, SMSE, EXPV and CRPS, means over regions."""
    n = np.where(t["known"] > 1, t["known"], np.nan)

    def variance(name: str) -> Floats:
        v = t[f"{name}2"] / n - (t[name] / n) ** 2
        return np.where(v > 1e-9, v, np.nan)

    found = {
        "msll": t["loss"] / n,
        "smse": t["e2"] / n / variance("y"),
        "expv": 1 - variance("e") / variance("y"),
        "crps": t["crps"] / n,
    }
    if "c" in t:
        found["expv_beyond_covariates"] = 1 - variance("e") / variance("c")
    return {name: known_mean(values) for name, values in found.items()}
