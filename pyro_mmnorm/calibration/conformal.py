"""Conformal p-values: the rank of a score among those of calibration controls (numpy only)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats

__all__ = ["Conformal", "Mondrian", "mean_square", "two_sided", "two_sided_arrays", "two_sided_from_arrays"]


def mean_square(z: ArrayLike) -> Floats:
    """Mean z^2 over the observed regions of each person, the omnibus score.

    Args:
        z: Calibrated z, [n, d], NaN where not observed.

    Returns:
        [n]; NaN for people without an observed region.

    Examples:
        >>> mean_square([[1.0, -3.0], [2.0, np.nan]])
        array([5., 4.])
    """
    z = np.asarray(z, float)
    observed = np.isfinite(z)
    return ratio(np.where(observed, z, 0.0) ** 2 @ np.ones(z.shape[-1]), observed.sum(-1))


@dataclass(frozen=True, kw_only=True)
class Conformal:
    r"""Two-sided conformal p-values against calibration controls.

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n_{\mathrm{cal}} + 1}

    where the scores s_i of the calibration controls are leave-one-out, so that they are exchangeable with the score of
    a new healthy person. The smallest p is 1 / (n_cal + 1).

    Args:
        scores: |z| of the calibration controls per region, [n_cal, d], NaN where not observed.
        ordered: `scores`, sorted along axis 0 with NaN last.
        count: Observed calibration controls per region, [d].

    References:
        Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world, https://doi.org/10.1007/b106715

    Examples:
        >>> Conformal.fit(np.arange(1.0, 100.0)[:, None])(np.array([[99.5], [50.0]])).ravel()
        array([0.01, 0.51])
    """

    scores: Floats
    ordered: Floats
    count: NDArray[np.int64]

    @classmethod
    def fit(cls, scores: ArrayLike) -> Self:
        """Fit on leave-one-out scores of calibration controls, [n_cal, d], NaN where not observed."""
        scores = np.asarray(scores, float)
        return cls(scores=scores, ordered=np.sort(scores, axis=0), count=np.isfinite(scores).sum(0))

    def __call__(self, scores: ArrayLike) -> Floats:
        """p-values of new scores, [n, d] in and out; NaN where the score is NaN."""
        scores = np.asarray(scores, float)
        p = np.full(scores.shape, np.nan)
        for j, count in enumerate(self.count):
            below = np.searchsorted(self.ordered[:count, j], scores[:, j], side="left")
            p[:, j] = (1 + count - below) / (count + 1)
        return np.where(np.isfinite(scores), p, np.nan)

    @property
    def largest_score(self) -> Floats:
        """The largest calibration score of each region, [d]; any larger score has the smallest p."""
        return np.nanmax(self.scores, axis=0, initial=0.0)

    @property
    def smallest(self) -> float:
        """The smallest p that is possible in any region."""
        return 1 / (int(self.count.max()) + 1)

    def within(self, labels: ArrayLike, level: float = 0.05) -> "Mondrian":
        """Conformal p-values within groups of calibration controls; see `Mondrian`.

        Args:
            labels: Group of each calibration control, [n_cal].
            level: Groups in which p cannot be as small as this are too small.

        Raises:
            InputError: When there is not one label per calibration control, or the level is not between 0 and 1.
        """
        labels = np.asarray(labels)
        if labels.shape != (len(self.scores),):
            got, expected = f"{labels.shape} labels", f"one per calibration control, ({len(self.scores)},)"
            raise InputError("conformal groups", got, expected, "give the groups of the calibration controls")
        if not 0 < level < 1:
            raise InputError("conformal level", f"{level}", "a number between 0 and 1", "use 0.05 or so")
        groups = {label: Conformal.fit(self.scores[labels == label]) for label in np.unique(labels).tolist()}
        return Mondrian(marginal=self, groups=groups, level=level)


@dataclass(frozen=True, kw_only=True)
class Mondrian:
    r"""Conformal p-values conditional on a group: sex, site, or the pattern of missing modalities.

    .. math:: p = \frac{1 + \#\{i \in G : s_i \ge s\}}{n_G + 1}

    with G the calibration controls of the same group, so that P(p <= a) <= a in each group, not only on average. A
    group is too small for a region when 1 / (n_G + 1) is above `level`: then p is that among all calibration controls.

    Args:
        marginal: p-values among all calibration controls.
        groups: label -> p-values among the calibration controls of that group.
        level: The smallest p of a group must be at most this.

    References:
        Vovk, Lindsay, Nouretdinov & Gammerman (2003), Mondrian confidence machine, http://alrw.net/old/04.pdf

    Examples:
        >>> sexes = np.repeat(["F", "M"], [30, 5])
        >>> p = Conformal.fit(np.arange(35.0)[:, None]).within(sexes)
        >>> p([[31.0], [31.0]], ["F", "M"]).ravel().round(3)
        array([0.032, 0.139])
        >>> p.note
        'Too few calibration controls for p = 0.05, compared with all controls instead: M (5).'
    """

    marginal: Conformal
    groups: Mapping[str, Conformal]
    level: float

    def __call__(self, scores: ArrayLike, labels: ArrayLike) -> Floats:
        """p-values of new scores [n, d] of people with these labels [n]; NaN where the score is NaN."""
        scores, labels = np.asarray(scores, float), np.asarray(labels)
        p = self.marginal(scores)
        for label, group in self.groups.items():
            members, regions = labels == label, self._large_enough(group)
            p[np.ix_(members, regions)] = group(scores[members])[:, regions]
        return p

    def conditional(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Whether the p of people with these labels [n] is that within their own group, [n, d]; False: among all."""
        within = {label: self._large_enough(group) for label, group in self.groups.items()}
        among_all = np.zeros(len(self.marginal.count), bool)
        return np.stack([within.get(label, among_all) for label in np.asarray(labels).tolist()])

    @property
    def note(self) -> str:
        """A sentence that names the groups that are too small in a region; empty where none is."""
        small = {name: group.count.min() for name, group in self.groups.items() if not self._large_enough(group).all()}
        reason = f"Too few calibration controls for p = {self.level:g}, compared with all controls instead"
        return f"{reason}: {', '.join(f'{name} ({n})' for name, n in small.items())}." if small else ""

    def _large_enough(self, group: Conformal) -> NDArray[np.bool_]:
        """Regions in which the smallest p of the group is at most `level`, [d]."""
        return 1 / (group.count + 1) <= self.level


def two_sided(z: Floats) -> dict[str, Any]:
    """The fields `conformal` (score |z| per region) and `omnibus` (mean z^2 of a person) of a calibrator.

    Args:
        z: Leave-one-out z of the calibration controls, [n_cal, d], NaN where not observed.

    Examples:
        >>> {name: p.scores.shape for name, p in two_sided(np.ones((20, 3))).items()}
        {'conformal': (20, 3), 'omnibus': (20, 1)}
    """
    return {"conformal": Conformal.fit(np.abs(z)), "omnibus": Conformal.fit(mean_square(z)[:, None])}


def two_sided_arrays(conformal: Conformal, omnibus: Conformal) -> dict[str, NDArray[Any]]:
    """The scores of both fields of `two_sided`, for the `to_arrays` of a calibrator."""
    return {"conformal": conformal.scores, "omnibus": omnibus.scores}


def two_sided_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The inverse of `two_sided_arrays`; arrays of other names are ignored."""
    return {name: Conformal.fit(arrays[name]) for name in ("conformal", "omnibus")}
