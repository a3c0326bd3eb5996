"""Paired figures: one of every run over the same people, and what each run gains over the first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.associations import correlation, steiger_test
from pyro_mmnorm.stats.batched import area, pearson
from pyro_mmnorm.stats.intervals import FEWEST, Estimate
from pyro_mmnorm.stats.ranks import auc, delong_test

__all__ = ["PairedEstimates", "by_model"]

type Table = Floats | list[Floats]
"""Of one model: of its run, or of its runs by seed."""

type Statistic = Callable[[Floats], Floats]

REPEATS, CHUNK = 1000, 50
SEED = 0
ALIKE, TINY = 1e-12, 1e-300


@dataclass(frozen=True, kw_only=True)
class PairedEstimates:
    """A figure of every model, and the gain of every model but the first: positive where it is better than the first.

    A model is one run, or several that differ in their training seed alone: its figure is the mean over seeds.

    Args:
        figures: One a model.
        gains: One a model but the first.
        by_seed: The figure of every run of every model.
    """

    figures: list[Estimate]
    gains: list[Estimate]
    by_seed: list[list[float]]

    @classmethod
    def by_bootstrap(
        cls, statistic: Statistic, tables: Sequence[Table], strata: NDArray[np.generic], *, ideal: float | None = None
    ) -> Self:
        r"""By a bootstrap over people that draws the same people for every run.

        The interval of a figure is that of the percentiles. The gain over the first model is v - v_1, or, where an
        ideal value is known, :math:`|v_1 - v^*| - |v - v^*|`, averaged over seeds; its interval and p are normal, with
        the SD of the draws, so that they agree.

        Args:
            statistic: Of tables [..., n, k], one number a table, [...].
            tables: One a model, [n, k], or a list of them, one a seed; the same people in all, and people with NaN in
                any are left out of all.
            strata: Group of each person, whose size every draw keeps, [n].
            ideal: Where the figure should be; None: the more the better.

        Raises:
            InputError: When fewer than 3 people have everything, or the figure is not finite.

        References:
            Efron & Tibshirani (1993), An introduction to the bootstrap, https://doi.org/10.1201/9780429246593

        Examples:
            >>> x = np.random.default_rng(0).normal(size=(50, 1))
            >>> answer = PairedEstimates.by_bootstrap(lambda table: table.mean((-2, -1)), [x, x + 1], np.zeros(50))
            >>> answer.gains[0].value.__round__(6), answer.gains[0].p < 0.001
            (1.0, True)
        """
        runs, model = _flat(tables)
        runs, strata, _ = _complete(runs, strata)
        n, rng = len(strata), np.random.default_rng(SEED)
        members = [np.flatnonzero(strata == label) for label in np.unique(strata)]
        rows = np.concatenate([own[rng.integers(0, len(own), (REPEATS, len(own)))] for own in members], 1)
        values = np.array([statistic(table) for table in runs])
        parts = np.array_split(rows, REPEATS // CHUNK)
        drawn = np.array([np.concatenate([statistic(table[part]) for part in parts]) for table in runs])
        if not (np.isfinite(values).all() and np.isfinite(drawn).all()):
            raise InputError("bootstrap", "a figure that is not finite", "a number in every draw", "leave it out")
        test = f"bootstrap over people within groups, {REPEATS} draws"
        figures = [
            Estimate(value=float(v), low=float(low), high=float(high), n=n, test=test)
            for v, (low, high) in zip(
                _means(values, model), np.quantile(_means(drawn, model), [0.025, 0.975], axis=1).T, strict=True
            )
        ]
        worth, around = (_means(x if ideal is None else -np.abs(x - ideal), model) for x in (values, drawn))
        gains = [_normal(float(v - worth[0]), around[i] - around[0], n) for i, v in enumerate(worth) if i]
        return cls(figures=figures, gains=gains, by_seed=[values[model == k].tolist() for k in range(len(figures))])

    def widened(self, again: Floats, ideal: float | None, limits: tuple[float, float] = (-np.inf, np.inf)) -> Self:
        """With what it owes to who was calibrated on, see `Estimate.widened`; also the p of gains.

        Models have calibrators of their own, so the p of a gain is that of its wider interval.

        Args:
            again: The figures under refitted calibrators, the same people drawn for all models, [refits, models].
            ideal: As before.
            limits: Of the figure.
        """
        worth = again if ideal is None else -np.abs(again - ideal)
        figures = [
            figure.widened(x, limits) if x.std() > ALIKE else figure
            for figure, x in zip(self.figures, again.T, strict=True)
        ]
        gains = [_wider(gain, x - worth[:, 0]) for gain, x in zip(self.gains, worth.T[1:], strict=True)]
        return replace(self, figures=figures, gains=gains)

    @classmethod
    def of_auc(cls, scores: Sequence[Table], case: NDArray[np.bool_]) -> Self:
        """AUC of a score [n] of every run, cases against the others.

        Gains are by DeLong's test where both models have one run, else by the paired bootstrap.

        Raises:
            InputError: When fewer than 3 people of either kind have all scores.

        Examples:
            >>> case = np.arange(60) < 20
            >>> x = np.random.default_rng(0).normal(size=60)
            >>> PairedEstimates.of_auc([x, x + case], case).gains[0].value > 0
            True
        """

        def paired(x: Floats, first: Floats, case: NDArray[np.bool_]) -> Estimate:
            if np.array_equal(_ranks(x), _ranks(first)):
                return _no_gain(len(case), "DeLong, paired")
            return delong_test(*(np.stack([x, first], 1)[part] for part in (~case, case)))

        return cls._of_scores(scores, case, lambda x, y: auc(x[~y], x[y]), paired, area, strata=case)

    @classmethod
    def of_pearson(cls, scores: Sequence[Table], outcome: Floats) -> Self:
        """Pearson correlation of a score [n] of every run with an outcome [n].

        Gains are by Steiger's test where both models have one run, else by the paired bootstrap.

        Raises:
            InputError: When fewer than 4 people have everything, or a column does not vary.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> y = rng.normal(size=200)
            >>> x = y + rng.normal(size=200)
            >>> PairedEstimates.of_pearson([x, x + rng.normal(size=200)], y).gains[0].value < 0
            True
        """

        def paired(x: Floats, first: Floats, outcome: Floats) -> Estimate:
            if 1 - correlation(x, first).value < ALIKE:
                return _no_gain(len(outcome), "Steiger")
            return steiger_test(outcome, x, first)

        return cls._of_scores(scores, outcome, correlation, paired, pearson, strata=np.zeros(len(outcome)))

    @classmethod
    def _of_scores[T: np.generic](
        cls,
        scores: Sequence[Table],
        other: NDArray[T],
        figure: Callable[[Floats, NDArray[T]], Estimate],
        paired: Callable[[Floats, Floats, NDArray[T]], Estimate],
        statistic: Statistic,
        *,
        strata: NDArray[np.generic],
    ) -> Self:
        """Figures and gains in closed form for models of one run, and by the bootstrap for others."""
        runs, model = _flat(scores)
        whole, known, kept = _complete([np.stack(runs, 1)], other)
        columns, several = whole[0].T, np.bincount(model) > 1
        drawn = None
        if several.any():
            tables = [[np.stack([x, known.astype(float)], 1) for x in columns[model == k]] for k in range(len(several))]
            drawn = cls.by_bootstrap(statistic, tables, strata[kept])
        one = [int(np.flatnonzero(model == k)[0]) for k in range(len(several))]
        figures = [
            drawn.figures[k] if drawn and several[k] else figure(columns[one[k]], known) for k in range(len(several))
        ]
        gains = [
            drawn.gains[k - 1] if drawn and (several[k] or several[0]) else paired(columns[one[k]], columns[0], known)
            for k in range(1, len(several))
        ]
        return cls(figures=figures, gains=gains, by_seed=drawn.by_seed if drawn else [[f.value] for f in figures])


def by_model(statistic: Statistic, tables: Sequence[Table], other: NDArray[np.generic]) -> Floats:
    """The figures of `PairedEstimates.by_bootstrap` alone, [models].

    Args:
        statistic, tables: As there.
        other: Group or outcome of each person; who has NaN is left out, [n].
    """
    runs, model = _flat(tables)
    return _means(np.array([statistic(table) for table in _complete(runs, other)[0]]), model)


def _wider(gain: Estimate, again: Floats) -> Estimate:
    """A gain with the interval and the p that also hold who was calibrated on."""
    if not again.std() > ALIKE:
        return gain
    wide = gain.widened(again)
    before, after = gain.high - gain.low, wide.high - wide.low
    if before > 0:
        z = special.ndtri(1 - (gain.p or TINY) / 2) * before / after
    else:
        z = 2 * special.ndtri(0.975) * abs(gain.value) / after
    return replace(wide, p=float(2 * special.ndtr(-abs(z))))


def _flat(tables: Sequence[Table]) -> tuple[list[Floats], NDArray[np.int64]]:
    """The tables of all runs, and which model each is of."""
    groups = [table if isinstance(table, list) else [table] for table in tables]
    return [run for group in groups for run in group], np.repeat(np.arange(len(groups)), [len(g) for g in groups])


def _means(x: Floats, model: NDArray[np.int64]) -> Floats:
    """Mean over the runs of each model, [models, ...]."""
    return np.stack([x[model == k].mean(0) for k in range(model.max() + 1)])


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


def _complete[T: np.generic](
    tables: Sequence[Floats], other: NDArray[T]
) -> tuple[list[Floats], NDArray[T], NDArray[np.bool_]]:
    """Tables and another column of those who have everything, and who these are."""
    known = np.logical_and.reduce([np.isfinite(table.reshape(len(table), -1)).all(1) for table in tables])
    if other.dtype.kind == "f":
        known &= np.isfinite(other)
    if known.sum() < FEWEST:
        got = f"{int(known.sum())} people with the figure in every run"
        raise InputError("compare", got, f"at least {FEWEST}", "leave this figure out")
    return [table[known] for table in tables], other[known], known
