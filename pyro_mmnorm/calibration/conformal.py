"""Conformal p-values: how many calibration people stand out as much (numpy only)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats

__all__ = ["Conformal", "Mondrian", "mean_square", "two_sided"]


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
        scores: |z| of the calibration people per region, NaN where not observed, [n_cal, d].
        ordered: The same, sorted along axis 0 with NaN last.
        count: Observed people per region, [d].

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
        """From leave-one-out scores, [n_cal, d], NaN where not observed."""
        scores = np.asarray(scores, float)
        return cls(scores=scores, ordered=np.sort(scores, axis=0), count=np.isfinite(scores).sum(0))

    def __call__(self, scores: ArrayLike) -> Floats:
        """p-values of new scores, [n, d]; NaN stays NaN."""
        scores = np.asarray(scores, float)
        p = np.full(scores.shape, np.nan)
        for j, count in enumerate(self.count):
            below = np.searchsorted(self.ordered[:count, j], scores[:, j], side="left")
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

    def within(self, labels: ArrayLike, level: float = 0.05) -> "Mondrian":
        """Compare people with calibration people of their own group only; see `Mondrian`.

        Args:
            labels: Group of each calibration person, [n_cal].
            level: What p must be able to reach.

        Raises:
            InputError: When there is not one label per calibration person, or the level is not between 0 and 1.
        """
        labels = np.asarray(labels)
        if labels.shape != (len(self.scores),):
            got, expected = f"{labels.shape} labels", f"one per calibration person, ({len(self.scores)},)"
            raise InputError("conformal groups", got, expected, "give the groups of the calibration controls")
        if not 0 < level < 1:
            raise InputError("conformal level", f"{level}", "a number between 0 and 1", "use 0.05 or so")
        groups = {label: Conformal.fit(self.scores[labels == label]) for label in np.unique(labels).tolist()}
        return Mondrian(marginal=self, groups=groups, level=level)


@dataclass(frozen=True, kw_only=True)
class Mondrian:
    r"""Conformal p-values conditional on a group: sex, site, or the pattern of missing modalities.

    .. math:: p = \frac{1 + \#\{i \in G : s_i \ge s\}}{n_G + 1}

    with G the calibration people of the same group, so that P(p <= a) <= a in each group, not only on average. A group
    is too small for a region when 1 / (n_G + 1) is above `level`: then p is that of all calibration people.

    Args:
        marginal: All calibration people.
        groups: label -> the people of that group.
        level: What p must be able to reach.

    References:
        Vovk, Lindsay, Nouretdinov & Gammerman (2003), Mondrian confidence machine, http://alrw.net/old/04.pdf

    Examples:
        >>> sexes = np.repeat(["F", "M"], [30, 5])
        >>> p = Conformal.fit(np.arange(35.0)[:, None]).within(sexes)
        >>> p([[31.0], [31.0]], ["F", "M"]).ravel().round(3)
        array([0.032, 0.139])
        >>> p.note
        'Too few calibration people to reach p = 0.05, compared with all instead: M (5).'
    """

    marginal: Conformal
    groups: Mapping[str, Conformal]
    level: float

    def __call__(self, scores: ArrayLike, labels: ArrayLike) -> Floats:
        """p-values of new scores [n, d] of people with these labels [n]; NaN stays NaN."""
        scores, labels = np.asarray(scores, float), np.asarray(labels)
        p = self.marginal(scores)
        for label, group in self.groups.items():
            mine, enough = labels == label, self._enough(group)
            p[np.ix_(mine, enough)] = group(scores[mine])[:, enough]
        return p

    def conditional(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Whether the p of people with these labels is that of their own group, [n, d]; False: of all."""
        nobody = np.zeros(len(self.marginal.count), bool)
        return np.stack(
            [
                self._enough(self.groups[label]) if label in self.groups else nobody
                for label in np.asarray(labels).tolist()
            ]
        )

    @property
    def note(self) -> str:
        """Which groups are too small in some region, in words; empty where none is."""
        small = [
            f"{label} ({group.count.min()})" for label, group in self.groups.items() if not self._enough(group).all()
        ]
        told = f"Too few calibration people to reach p = {self.level:g}, compared with all instead: "
        return f"{told}{', '.join(small)}." if small else ""

    def _enough(self, group: Conformal) -> NDArray[np.bool_]:
        return 1 / (group.count + 1) <= self.level


def two_sided(z: Floats) -> dict[str, Any]:
    """`conformal` per region (score |z|) and `omnibus` (mean z^2), from left-out z of calibration people, [n, d]."""
    return {"conformal": Conformal.fit(np.abs(z)), "omnibus": Conformal.fit(mean_square(z)[:, None])}
