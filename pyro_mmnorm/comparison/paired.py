"""Paired figures: one of every run over the same people, and what each run gains over the first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pyro_mmnorm.errors import InputError
from pyro_mmnorm.statistics import FEWEST, Estimate, auc, correlation, delong_test, steiger_test

__all__ = ["Answer"]

type Floats = NDArray[np.float64]
type Statistic = Callable[[Floats], Floats]

REPEATS, CHUNK = 1000, 50
SEED = 0
ALIKE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A figure of every run, and the gain of every run but the first: positive where it is better than the first.

    Args:
        figures: One a run.
        gains: One a run but the first.
    """

    figures: list[Estimate]
    gains: list[Estimate]

    @classmethod
    def by_bootstrap(
        cls, statistic: Statistic, tables: Sequence[Floats], strata: NDArray[np.generic], *, ideal: float | None = None
    ) -> Self:
        r"""By a bootstrap over people that draws the same people for every run.

        The interval of a figure is that of the percentiles. The gain over the first run is v - v_1, or, where an ideal
        value is known, :math:`|v_1 - v^*| - |v - v^*|`; its interval and p are normal, with the SD of the draws, so
        that they agree.

        Args:
            statistic: Of tables [..., n, k], one number a table, [...].
            tables: One a run, [n, k], the same people in all; people with NaN in any are left out of all.
            strata: Group of each person, whose size every draw keeps, [n].
            ideal: Where the figure should be; None: the more the better.

        Raises:
            InputError: When fewer than 3 people have everything, or the figure is not finite.

        References:
            Efron & Tibshirani (1993), An introduction to the bootstrap, https://doi.org/10.1201/9780429246593

        Examples:
            >>> x = np.random.default_rng(0).normal(size=(50, 1))
            >>> answer = Answer.by_bootstrap(lambda table: table.mean((-2, -1)), [x, x + 1], np.zeros(50))
            >>> answer.gains[0].value.__round__(6), answer.gains[0].p < 0.001
            (1.0, True)
        """
        tables, strata = _complete(tables, strata)
        n, rng = len(strata), np.random.default_rng(SEED)
        members = [np.flatnonzero(strata == label) for label in np.unique(strata)]
        rows = np.concatenate([own[rng.integers(0, len(own), (REPEATS, len(own)))] for own in members], 1)
        values = np.array([statistic(table) for table in tables])
        parts = np.array_split(rows, REPEATS // CHUNK)
        drawn = np.array([np.concatenate([statistic(table[part]) for part in parts]) for table in tables])
        if not (np.isfinite(values).all() and np.isfinite(drawn).all()):
            raise InputError("bootstrap", "a figure that is not finite", "a number in every draw", "leave it out")
        ends = np.quantile(drawn, [0.025, 0.975], axis=1).T
        test = f"bootstrap over people within groups, {REPEATS} draws"
        figures = [
            Estimate(value=float(v), low=float(low), high=float(high), n=n, test=test)
            for v, (low, high) in zip(values, ends, strict=True)
        ]
        worth, drawn = (x if ideal is None else -np.abs(x - ideal) for x in (values, drawn))
        gains = [_normal(float(v - worth[0]), drawn[i] - drawn[0], n) for i, v in enumerate(worth) if i]
        return cls(figures=figures, gains=gains)

    @classmethod
    def of_auc(cls, scores: Sequence[Floats], case: NDArray[np.bool_]) -> Self:
        """AUC of a score [n] of every run, cases against the others; gains by DeLong's test.

        Raises:
            InputError: When fewer than 3 people of either kind have all scores.

        Examples:
            >>> case = np.arange(60) < 20
            >>> x = np.random.default_rng(0).normal(size=60)
            >>> Answer.of_auc([x, x + case], case).gains[0].value > 0
            True
        """
        table, case = _complete([np.stack(scores, 1)], case)
        whole = table[0]
        return cls(
            figures=[auc(x[~case], x[case]) for x in whole.T],
            gains=[
                _no_gain(len(case), "DeLong, paired")
                if np.array_equal(_ranks(x), _ranks(whole[:, 0]))
                else delong_test(*(np.stack([x, whole[:, 0]], 1)[part] for part in (~case, case)))
                for x in whole.T[1:]
            ],
        )

    @classmethod
    def of_pearson(cls, scores: Sequence[Floats], outcome: Floats) -> Self:
        """Pearson correlation of a score [n] of every run with an outcome [n]; gains by Steiger's test.

        Raises:
            InputError: When fewer than 4 people have everything, or a column does not vary.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> y = rng.normal(size=200)
            >>> x = y + rng.normal(size=200)
            >>> Answer.of_pearson([x, x + rng.normal(size=200)], y).gains[0].value < 0
            True
        """
        table, outcome = _complete([np.stack(scores, 1)], outcome)
        whole = table[0]
        return cls(
            figures=[correlation(x, outcome) for x in whole.T],
            gains=[
                _no_gain(len(outcome), "Steiger")
                if 1 - correlation(x, whole[:, 0]).value < ALIKE
                else steiger_test(outcome, x, whole[:, 0])
                for x in whole.T[1:]
            ],
        )


def _ranks(x: Floats) -> NDArray[np.int64]:
    return np.unique(x, return_inverse=True)[1]


def _no_gain(n: int, test: str) -> Estimate:
    """Of two scores that are one for this purpose."""
    return Estimate(value=0.0, low=0.0, high=0.0, n=n, test=test, p=1.0)


def _normal(value: float, drawn: Floats, n: int) -> Estimate:
    """A difference with the SD of its draws; where they are all alike, p is as small as draws can tell."""
    se, test = float(drawn.std(ddof=1)), f"paired bootstrap over people within groups, {REPEATS} draws"
    if se < ALIKE:
        one = _no_gain(n, test)
        return one if abs(value) < ALIKE else replace(one, value=value, low=value, high=value, p=1 / (REPEATS + 1))
    half, p = -special.ndtri(0.025) * se, float(2 * special.ndtr(-abs(value) / se))
    return Estimate(value=value, low=float(value - half), high=float(value + half), n=n, test=test, p=p, se=se)


def _complete[T: np.generic](tables: Sequence[Floats], other: NDArray[T]) -> tuple[list[Floats], NDArray[T]]:
    """Tables and another column of those who have everything."""
    known = np.logical_and.reduce([np.isfinite(table.reshape(len(table), -1)).all(1) for table in tables])
    if other.dtype.kind == "f":
        known &= np.isfinite(other)
    if known.sum() < FEWEST:
        got = f"{int(known.sum())} people with the figure in every run"
        raise InputError("compare", got, f"at least {FEWEST}", "leave this figure out")
    return [table[known] for table in tables], other[known]
