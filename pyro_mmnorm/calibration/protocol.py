"""What a calibrator is, whatever its method."""

from typing import Any, ClassVar, Protocol, Self

from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.calibration.conformal import Conformal
from pyro_mmnorm.core.typing import Floats

__all__ = ["Calibrator"]


class Calibrator(Protocol):
    """A map from raw to calibrated z, growing in raw, fitted on held-out controls.

    `CALIBRATORS` holds the functions that fit one, (raw [n, d] with NaN where not observed, design [n, c], groups:
    covariate -> its columns) -> calibrator, and `load_calibrator` reads one back.

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
        """Of |z| per region, from scores of calibration people that took no part in their own z."""

    @property
    def omnibus(self) -> Conformal:
        """Of the mean z^2 of a person."""

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:
        """Calibrated z, [n, d]; NaN where raw is NaN."""

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z`, a number or anything that broadcasts with [n, d]."""

    def refit(self, raw: Floats, design: Floats) -> Self:
        """The same method, its strengths of shrinkage kept, on other calibration people: for the bootstrap."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that has to be kept, by name."""
