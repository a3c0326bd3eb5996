"""Paired estimates: one per model over the same people, and the gain of each model over the first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.associations import correlation, pearson, steiger_test
from pyro_mmnorm.stats.bootstrap import percentile_interval, resampled_people, resampled_statistic
from pyro_mmnorm.stats.intervals import FEWEST, NORMAL_95, UNBOUNDED, Estimate, Limits, normal_interval
from pyro_mmnorm.stats.ranks import area_under_curve, auc, delong_test

__all__ = ["PairedEstimates", "Statistic", "Table", "by_model"]

type Table = Floats | list[Floats]
"""Columns of one model, [n] or [n, k]: of its run, or a list with those of its runs by seed."""

type Statistic = Callable[..., Floats]
"""Takes the k columns of a table, [..., n] each, and returns [...]."""

REPEATS = 1000
SEED = 0
SAME, SMALLEST_P = 1e-12, 1e-300


@dataclass(frozen=True, kw_only=True)
class PairedEstimates:
    """An estimate per model, and the gain of every model except the first: positive if better than the first.

    A model is one run, or several runs that differ only in the training seed: its estimate is the mean over seeds.

    Args:
        estimates: One per model.
        gains: One gain per model except the first.
        by_seed: The value of every run of every model.
    """

    estimates: list[Estimate]
    gains: list[Estimate]
    by_seed: list[list[float]]

    @classmethod
    def by_bootstrap(
        cls, statistic: Statistic, tables: Sequence[Table], strata: NDArray[np.generic], *, ideal: float | None = None
    ) -> Self:
        r"""Estimates by a bootstrap over people that draws the same people for every run.

        The interval of an estimate is the percentile interval. The gain over the first model is v - v_1, or, if an
        ideal value is known, :math:`|v_1 - v^*| - |v - v^*|`, averaged over seeds; its interval and p are normal, with
        the SD of the draws, so that they agree.

        Args:
            statistic: Computed from the columns of a table.
            tables: One per model, or a list with one per seed; the same people in all. People with NaN in any table are
                left out of all.
            strata: Group of each person, [n]; every draw keeps the number of people per group.
            ideal: Ideal value of the statistic; None if larger is better.

        Raises:
            InputError: When fewer than 3 people are complete, or the statistic is not finite.

        References:
            Efron & Tibshirani (1993), An introduction to the bootstrap, https://doi.org/10.1201/9780429246593

        Examples:
            >>> x = np.random.default_rng(0).normal(size=50)
            >>> paired = PairedEstimates.by_bootstrap(lambda x: x.mean(-1), [x, x + 1], np.zeros(50))
            >>> paired.gains[0].value.__round__(6), paired.gains[0].p < 0.001
            (1.0, True)
        """
        runs, model = _flat(tables)
        runs, strata, _ = _complete(runs, strata)
        rows = resampled_people(strata, REPEATS, np.random.default_rng(SEED))
        values = np.array([statistic(*_columns(table)) for table in runs])
        drawn = np.array([resampled_statistic(statistic, _columns(table), rows) for table in runs])
        if not (np.isfinite(values).all() and np.isfinite(drawn).all()):
            raise InputError("bootstrap", "a statistic that is not finite", "a number in every draw", "leave it out")
        n, test = len(strata), f"bootstrap over people within groups, {REPEATS} draws"
        ends = zip(_means(values, model), *percentile_interval(_means(drawn, model).T), strict=True)
        estimates = [
            Estimate(value=float(v), low=float(low), high=float(high), n=n, test=test) for v, low, high in ends
        ]
        worth, around = (_means(_worth(x, ideal), model) for x in (values, drawn))
        gains = [_normal(float(v - worth[0]), around[i] - around[0], n) for i, v in enumerate(worth) if i]
        return cls(
            estimates=estimates, gains=gains, by_seed=[values[model == k].tolist() for k in range(len(estimates))]
        )

    def widened(self, refitted: Floats, ideal: float | None, limits: Limits = UNBOUNDED) -> Self:
        """Estimates and gains with the sampling error of the calibration added, see `Estimate.widened`.

        Every model has its own calibrator, so the p of a gain is computed from its wider interval.

        Args:
            refitted: The values under refitted calibrators, the same calibration controls drawn for all models,
                [refits, models].
            ideal: As in `by_bootstrap`.
            limits: Of the statistic.
        """
        worth = _worth(refitted, ideal)
        estimates = [
            one.widened(x, limits) if x.std() > SAME else one for one, x in zip(self.estimates, refitted.T, strict=True)
        ]
        gains = [_wider(gain, x - worth[:, 0]) for gain, x in zip(self.gains, worth.T[1:], strict=True)]
        return replace(self, estimates=estimates, gains=gains)

    @classmethod
    def of_auc(cls, scores: Sequence[Table], case: NDArray[np.bool_]) -> Self:
        """AUC of a score [n] of every run, cases against controls.

        Gains are tested by DeLong's test if both models have one run, otherwise by the paired bootstrap.

        Raises:
            InputError: When fewer than 3 cases or 3 controls have all scores.

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

        return cls._of_scores(scores, case, lambda x, y: auc(x[~y], x[y]), paired, area_under_curve, strata=case)

    @classmethod
    def of_pearson(cls, scores: Sequence[Table], outcome: Floats) -> Self:
        """Pearson correlation of a score [n] of every run with an outcome [n].

        Gains are tested by Steiger's test if both models have one run, otherwise by the paired bootstrap.

        Raises:
            InputError: When fewer than 4 people are complete, or a column does not vary.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> y = rng.normal(size=200)
            >>> x = y + rng.normal(size=200)
            >>> PairedEstimates.of_pearson([x, x + rng.normal(size=200)], y).gains[0].value < 0
            True
        """

        def paired(x: Floats, first: Floats, outcome: Floats) -> Estimate:
            if 1 - correlation(x, first).value < SAME:
                return _no_gain(len(outcome), "Steiger")
            return steiger_test(outcome, x, first)

        return cls._of_scores(scores, outcome, correlation, paired, pearson, strata=np.zeros(len(outcome)))

    @classmethod
    def _of_scores[T: np.generic](
        cls,
        scores: Sequence[Table],
        other: NDArray[T],
        estimate: Callable[[Floats, NDArray[T]], Estimate],
        paired: Callable[[Floats, Floats, NDArray[T]], Estimate],
        statistic: Statistic,
        *,
        strata: NDArray[np.generic],
    ) -> Self:
        """Estimates and gains in closed form for models of one run, and by the bootstrap for others."""
        runs, model = _flat(scores)
        whole, known, kept = _complete([np.stack(runs, 1)], other)
        columns, several = whole[0].T, np.bincount(model) > 1
        drawn = None
        if several.any():
            tables = [[np.stack([x, known.astype(float)], 1) for x in columns[model == k]] for k in range(len(several))]
            drawn = cls.by_bootstrap(statistic, tables, strata[kept])
        one = [int(np.flatnonzero(model == k)[0]) for k in range(len(several))]
        estimates = [
            drawn.estimates[k] if drawn and several[k] else estimate(columns[one[k]], known)
            for k in range(len(several))
        ]
        gains = [
            drawn.gains[k - 1] if drawn and (several[k] or several[0]) else paired(columns[one[k]], columns[0], known)
            for k in range(1, len(several))
        ]
        return cls(estimates=estimates, gains=gains, by_seed=drawn.by_seed if drawn else [[f.value] for f in estimates])


def by_model(statistic: Statistic, tables: Sequence[Table], other: NDArray[np.generic]) -> Floats:
    """The values of `PairedEstimates.by_bootstrap` without intervals, [models].

    Args:
        statistic, tables: As there.
        other: Group or outcome of each person, [n]; people with NaN are left out.
    """
    runs, model = _flat(tables)
    return _means(np.array([statistic(*_columns(table)) for table in _complete(runs, other)[0]]), model)


def _columns(table: Floats) -> list[Floats]:
    """The columns of a table, [n] each."""
    return list(np.atleast_2d(table.T))


def _worth(value: Floats, ideal: float | None) -> Floats:
    """The larger the better: the value, or its negative distance from the ideal."""
    return value if ideal is None else -np.abs(value - ideal)


def _wider(gain: Estimate, refitted: Floats) -> Estimate:
    """A gain with interval and p that also cover the sampling error of the calibration."""
    if not refitted.std() > SAME:
        return gain
    wide = gain.widened(refitted)
    before, after = gain.high - gain.low, wide.high - wide.low
    if before > 0:
        z = float(special.ndtri(1 - (gain.p or SMALLEST_P) / 2)) * before / after
    else:
        z = 2 * NORMAL_95 * abs(gain.value) / after
    return replace(wide, p=float(2 * special.ndtr(-abs(z))))


def _flat(tables: Sequence[Table]) -> tuple[list[Floats], NDArray[np.int64]]:
    """The tables of all runs, and the number of the model of each."""
    groups = [table if isinstance(table, list) else [table] for table in tables]
    return [run for group in groups for run in group], np.repeat(np.arange(len(groups)), [len(g) for g in groups])


def _means(x: Floats, model: NDArray[np.int64]) -> Floats:
    """Mean over the runs of each model, [models, ...]."""
    return np.stack([x[model == k].mean(0) for k in range(model.max() + 1)])


def _ranks(x: Floats) -> NDArray[np.int64]:
    return np.unique(x, return_inverse=True)[1]


def _no_gain(n: int, test: str) -> Estimate:
    """The gain of a score that gives the same result as the first."""
    return Estimate(value=0.0, low=0.0, high=0.0, n=n, test=test, p=1.0)


def _normal(value: float, drawn: Floats, n: int) -> Estimate:
    """A difference with the SD of its draws; if all draws are equal, p is the smallest that the draws can show."""
    se, test = float(drawn.std(ddof=1)), f"paired bootstrap over people within groups, {REPEATS} draws"
    if se >= SAME:
        return normal_interval(value, se, n=n, test=test)
    same = _no_gain(n, test)
    return same if abs(value) < SAME else replace(same, value=value, low=value, high=value, p=1 / (REPEATS + 1))


def _complete[T: np.generic](
    tables: Sequence[Floats], other: NDArray[T]
) -> tuple[list[Floats], NDArray[T], NDArray[np.bool_]]:
    """Tables and another column of complete people, and the mask of these people."""
    known = np.logical_and.reduce([np.isfinite(table.reshape(len(table), -1)).all(1) for table in tables])
    if other.dtype.kind == "f":
        known &= np.isfinite(other)
    if known.sum() < FEWEST:
        got = f"{int(known.sum())} people with a value in every run"
        raise InputError("compare", got, f"at least {FEWEST}", "leave this metric out")
    return [table[known] for table in tables], other[known], known
