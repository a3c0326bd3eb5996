"""Calibration: raw z -> z and conformal p, fitted on held-out controls (numpy and scipy only)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_mmnorm.calibration.conformal import Conformal, Mondrian, mean_square, two_sided
from pyro_mmnorm.calibration.empirical import EmpiricalCalibrator, Shape
from pyro_mmnorm.calibration.gaussian import GaussianCalibrator, squeezed_variance
from pyro_mmnorm.calibration.identity import NoCalibrator
from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.calibration.site import SiteCalibrator, adapt
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.stats.student_t import normal_to_student_t, student_t_to_normal

__all__ = [
    "CALIBRATORS",
    "LOADERS",
    "Calibrator",
    "Conformal",
    "EmpiricalCalibrator",
    "Fit",
    "GaussianCalibrator",
    "Mondrian",
    "NoCalibrator",
    "Shape",
    "SiteCalibrator",
    "adapt",
    "load_calibrator",
    "mean_square",
    "normal_to_student_t",
    "squeezed_variance",
    "student_t_to_normal",
    "two_sided",
]

type Arrays = Mapping[str, NDArray[Any]]
type Groups = Mapping[str, slice]
type Fit = Callable[[NDArray[np.float64], NDArray[np.float64], Groups], Calibrator]
"""(raw z [n, d], design [n, c], groups) -> calibrator."""

CALIBRATORS: dict[str, Fit] = {
    "gaussian": GaussianCalibrator.fit,
    "empirical": EmpiricalCalibrator.fit,
    "none": NoCalibrator.fit,
}
"""Name in the configuration -> how a calibrator is fitted: (raw z, design, groups) -> calibrator."""

LOADERS: dict[str, Callable[[Arrays, Groups], Calibrator]] = {
    "gaussian": GaussianCalibrator.from_arrays,
    "empirical": EmpiricalCalibrator.from_arrays,
    "none": NoCalibrator.from_arrays,
    "site": lambda arrays, groups: _site(arrays, groups),
}
"""`name` of a calibrator -> how it is made of the arrays that `to_arrays` gave; add your own here."""


def load_calibrator(name: str, arrays: Arrays, groups: Groups) -> Calibrator:
    """The calibrator of that `name` from the arrays that its `to_arrays` gave.

    Args:
        name: `Calibrator.name`.
        arrays: By name.
        groups: covariate -> its columns in the design.

    Raises:
        InputError: When no loader has that name.

    Examples:
        >>> kept = CALIBRATORS["none"](np.zeros((10, 2)), np.zeros((10, 0)), {})
        >>> load_calibrator(kept.name, kept.to_arrays(), {}).name
        'none'
    """
    if name not in LOADERS:
        raise InputError("calibrator", repr(name), f"one of {sorted(LOADERS)}", "add its from_arrays to LOADERS")
    return LOADERS[name](arrays, groups)


def _site(arrays: Arrays, groups: Groups) -> SiteCalibrator:
    """The calibrator of one site; its base is kept under its own name."""
    kept = {name.removeprefix("base."): array for name, array in arrays.items() if name.startswith("base.")}
    base = next(iter(kept)).partition(".")[0]
    inner = {name.removeprefix(f"{base}."): array for name, array in kept.items()}
    scale, df = arrays["constants"].tolist()
    return SiteCalibrator(
        base=load_calibrator(base, inner, groups),
        shift=arrays["shift"],
        uncertainty=arrays["uncertainty"],
        scale=scale,
        df=df,
        **{name: Conformal.fit(arrays[name]) for name in ("conformal", "omnibus")},
    )
