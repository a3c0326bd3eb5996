"""Raw deviations in model units, and the protocol of the predictors that compute them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.batch import Batch

__all__ = ["Predictor", "RawDeviations"]


class RawDeviations(NamedTuple):
    """Position of people in their predictive distributions, in model units; [n, D] each, all modalities concatenated.

    Attributes:
        z: Raw z-score.
        loc, scale: Mean and SD of the predictive distribution.
        flagged: Cells that kind `local` excluded from the prediction of the others.
    """

    z: Floats
    loc: Floats
    scale: Floats
    flagged: NDArray[np.bool_]

    @classmethod
    def joined(cls, groups: Iterable["RawDeviations"]) -> Self:
        """Several groups of people as one."""
        return cls(*(np.concatenate(parts) for parts in zip(*groups, strict=True)))


class Predictor(Protocol):
    """Predictive distributions of a trained model: `Predictive` by draws, `Exact` in closed form; see `predictor`."""

    def __call__(self, batch: Batch, kind: str) -> RawDeviations:
        """Raw deviations of some people by one of `REGIONAL`."""

    def posterior_mean(self, batch: Batch) -> Floats:
        """Mean of the latents given all observed cells, [n, members * k]."""

    def quantile(self, batch: Batch, z: Floats, modality: str, regions: Sequence[int]) -> Floats:
        """Values of some regions whose raw z by kind `normative` are `z`, in model units.

        Args:
            batch: The people; only their covariates are used.
            z: Raw z, [q, n, r].
            modality, regions: The modality, and positions of the regions within it.

        Returns:
            [q, n, r], increasing in z.
        """

    def member(self, e: int) -> "Predictor":
        """The predictor of one ensemble member."""
