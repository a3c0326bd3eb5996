"""Conformal p-values: how many calibration people stand out as much (numpy only)."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Conformal", "mean_square", "two_sided"]

type Floats = NDArray[np.float64]


def mean_square(z: ArrayLike) -> Floats:
    """Mean z^2 over each person's observed regions, the omnibus score; [n, d] in, [n] out, NaN where there is none."""
    z = np.asarray(z, float)
    seen = np.isfinite(z)
    count = seen.sum(-1)
    total: Floats = np.where(seen, z, 0.0) ** 2 @ np.ones(z.shape[-1])
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@dataclass(frozen=True, kw_only=True)
class Conformal:
    r"""Two-sided conformal p-values against calibration people.

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n_{\mathrm{cal}} + 1}

    where the scores s_i of the calibration people are leave-one-out, so that they and a new healthy person's score
    are exchangeable. The smallest p is 1 / (n_cal + 1).

    Args:
        scores: |z| of the calibration people per region, sorted along axis 0 with NaN last, [n_cal, d].
        count: Observed people per region, [d].

    References:
        Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world, https://doi.org/10.1007/b106715

    Examples:
        >>> Conformal.fit(np.arange(1.0, 100.0)[:, None])(np.array([[99.5], [50.0]])).ravel()
        array([0.01, 0.51])
    """

    scores: Floats
    count: NDArray[np.int64]

    @classmethod
    def fit(cls, scores: ArrayLike) -> Self:
        """From leave-one-out scores, [n_cal, d], NaN where not observed."""
        scores = np.sort(np.asarray(scores, float), axis=0)
        return cls(scores=scores, count=np.isfinite(scores).sum(0))

    def __call__(self, scores: ArrayLike) -> Floats:
        """p-values of new scores, [n, d]; NaN stays NaN."""
        scores = np.asarray(scores, float)
        p = np.full(scores.shape, np.nan)
        for j, count in enumerate(self.count):
            below = np.searchsorted(self.scores[:count, j], scores[:, j], side="left")
            p[:, j] = (1 + count - below) / (count + 1)
        return np.where(np.isfinite(scores), p, np.nan)

    @property
    def largest_score(self) -> Floats:
        """The largest calibration score of each region, [d]; beyond it p is at its smallest."""
        return np.nanmax(self.scores, axis=0, initial=0.0)

    @property
    def smallest(self) -> float:
        """The smallest p that any region can reach."""
        return 1 / (int(self.count.max()) + 1)


def two_sided(z: Floats) -> dict[str, Any]:
    """`conformal` per region (score |z|) and `omnibus` (mean z^2), from left-out z of calibration people, [n, d]."""
    return {"conformal": Conformal.fit(np.abs(z)), "omnibus": Conformal.fit(mean_square(z)[:, None])}
