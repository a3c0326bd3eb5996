"""No calibration: z is raw z, with conformal p-values (numpy only)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.calibration.conformal import Conformal, two_sided, two_sided_arrays, two_sided_from_arrays
from pyro_mmnorm.core.typing import Floats

__all__ = ["NoCalibrator"]


@dataclass(frozen=True, kw_only=True)
class NoCalibrator:
    """z = raw z. Conformal p-values are valid nevertheless: nothing was fitted, so raw scores are exchangeable.

    Args:
        conformal: Conformal p of |z| per region.
        omnibus: Conformal p of the mean z^2 of a person.

    Examples:
        >>> fitted = NoCalibrator.fit(np.arange(-5.0, 5.0)[:, None], np.zeros((10, 0)), {})
        >>> fitted.conformal([[4.5]]).round(2)
        array([[0.18]])
    """

    name: ClassVar[str] = "none"
    conformal: Conformal
    omnibus: Conformal

    @classmethod
    def fit(cls, raw: ArrayLike, design: ArrayLike, groups: Mapping[str, slice]) -> Self:  # noqa: ARG003
        """Keep the scores of the calibration controls; the arguments are those of `Fit`."""
        return cls(**two_sided(np.asarray(raw, float)))

    def refit(self, raw: Floats, design: Floats) -> Self:  # noqa: ARG002
        """Return itself: nothing depends on the calibration controls."""
        return self

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:  # noqa: ARG002
        """Raw z, [n, d]."""
        return np.asarray(raw, float)

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """`z` itself, broadcast to [n, d]."""
        d = self.conformal.scores.shape[1]
        return np.broadcast_to(np.asarray(z, float), np.broadcast_shapes(np.shape(z), (len(np.asarray(design)), d)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays to save, by name."""
        return two_sided_arrays(self.conformal, self.omnibus)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], groups: Mapping[str, slice]) -> Self:  # noqa: ARG003
        """The inverse of `to_arrays`; `groups` as in `fit`."""
        return cls(**two_sided_from_arrays(arrays))
