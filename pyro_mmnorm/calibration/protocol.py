"""The interface of calibrators and of the functions that fit them."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.calibration.conformal import Conformal
from pyro_mmnorm.core.typing import Floats

__all__ = ["Calibrator", "Fit"]


class Calibrator(Protocol):
    """A map from raw to calibrated z, increasing in raw z, fitted on held-out controls.

    A `Fit` returns one; `CALIBRATORS` holds those of the package. `load_calibrator` reads a saved one.

    Examples:
        >>> import numpy as np
        >>> from pyro_mmnorm.calibration.calibrators import CALIBRATORS
        >>> fitted: Calibrator = CALIBRATORS["none"](np.zeros((10, 2)), np.zeros((10, 0)), {})
        >>> fitted([[0.5, np.nan]], np.zeros((1, 0)))
        array([[0.5, nan]])
    """

    name: ClassVar[str]

    @property
    def conformal(self) -> Conformal:
        """Conformal p of |z| per region, from leave-one-out scores of the calibration controls."""

    @property
    def omnibus(self) -> Conformal:
        """Conformal p of the mean z^2 of a person."""

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:
        """Calibrated z of people, [n, d], from raw z [n, d] and covariates [n, c]; NaN where raw z is NaN."""

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z`, a number or an array that broadcasts with [n, d]."""

    def refit(self, raw: Floats, design: Floats) -> Self:
        """Fit on other calibration controls with the same strengths of shrinkage, for the bootstrap."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays to save, by name."""


class Fit(Protocol):
    """A function that fits a calibrator on held-out controls: the extension point for other methods.

    Put it in `CALIBRATORS`, or pass it as `calibrator` of `NormativeModel`.
    """

    def __call__(self, raw: Floats, design: Floats, groups: Mapping[str, slice], /) -> Calibrator:
        """Fit a calibrator.

        Args:
            raw: Raw z of the calibration controls, [n, d], NaN where not observed.
            design: Their encoded covariates, [n, c].
            groups: covariate -> its columns in the design.
        """
