"""Calibrators by name: how each is fitted, and how each is read from saved arrays (numpy and scipy only)."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from pyro_mmnorm.calibration.empirical import EmpiricalCalibrator
from pyro_mmnorm.calibration.gaussian import GaussianCalibrator
from pyro_mmnorm.calibration.identity import NoCalibrator
from pyro_mmnorm.calibration.protocol import Calibrator, Fit
from pyro_mmnorm.calibration.saved_arrays import under
from pyro_mmnorm.calibration.site import SiteCalibrator
from pyro_mmnorm.core.errors import InputError

__all__ = ["CALIBRATORS", "LOADERS", "load_calibrator"]

type Arrays = Mapping[str, NDArray[Any]]
type Groups = Mapping[str, slice]

CALIBRATORS: dict[str, Fit] = {
    "gaussian": GaussianCalibrator.fit,
    "empirical": EmpiricalCalibrator.fit,
    "none": NoCalibrator.fit,
}
"""Name in the configuration -> the function that fits the calibrator."""


def _site_from_arrays(arrays: Arrays, groups: Groups) -> SiteCalibrator:
    """The calibrator of a site; the name of its base is the first part of the base's array names."""
    base_arrays = under(arrays, "base.")
    base_name = next(iter(base_arrays)).partition(".")[0]
    base = load_calibrator(base_name, under(base_arrays, f"{base_name}."), groups)
    return SiteCalibrator.from_arrays(arrays, base)


LOADERS: dict[str, Callable[[Arrays, Groups], Calibrator]] = {
    "gaussian": GaussianCalibrator.from_arrays,
    "empirical": EmpiricalCalibrator.from_arrays,
    "none": NoCalibrator.from_arrays,
    "site": _site_from_arrays,
}
"""`Calibrator.name` -> the function that makes the calibrator from its saved arrays; add your own here."""


def load_calibrator(name: str, arrays: Arrays, groups: Groups) -> Calibrator:
    """The calibrator of this name, from the arrays that its `to_arrays` returned.

    Args:
        name: `Calibrator.name`.
        arrays: Arrays by name.
        groups: covariate -> its columns in the design.

    Raises:
        InputError: When `LOADERS` has no such name.

    Examples:
        >>> import numpy as np
        >>> fitted = CALIBRATORS["none"](np.zeros((10, 2)), np.zeros((10, 0)), {})
        >>> load_calibrator(fitted.name, fitted.to_arrays(), {}).name
        'none'
    """
    if name not in LOADERS:
        raise InputError("calibrator", repr(name), f"one of {sorted(LOADERS)}", "add its from_arrays to LOADERS")
    return LOADERS[name](arrays, groups)
