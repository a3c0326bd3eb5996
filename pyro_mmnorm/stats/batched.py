"""Batched: figures of tables [..., n, k], one number a table, for the bootstrap."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pyro_mmnorm.core.typing import Floats

__all__ = [
    "LIMITS",
    "area",
    "first_stage",
    "log_ratio",
    "mean",
    "pearson",
    "quotient",
    "sd",
    "share",
    "slope",
    "spearman",
    "staged",
]


def mean(table: Floats) -> Floats:
    """Mean of all cells."""
    out: Floats = table.mean((-2, -1))
    return out


def share(table: Floats) -> Floats:
    """Share of people with a flag of 1."""
    return mean(table)


def quotient(table: Floats) -> Floats:
    """Sum of the first column by the sum of the second."""
    yes, seen = np.moveaxis(table.sum(-2), -1, 0)
    return np.divide(yes, seen, out=np.full(np.shape(yes), np.nan), where=seen > 0)


def log_ratio(table: Floats) -> Floats:
    """Log of the share of cases that are flagged by that of controls, half a person added to all counts (Haldane).

    Columns: flag, and 1 for cases, 0 for controls.

    Examples:
        >>> x = np.array([[1, 0], [0, 0], [0, 0], [0, 0], [1, 1], [1, 1], [0, 1], [0, 1]], float)
        >>> round(float(np.exp(log_ratio(x))), 2)
        1.67
    """
    flag, case = np.moveaxis(table, -1, 0)
    (many, n), (few, m) = (((flag * who).sum(-1) + 0.5, who.sum(-1) + 1) for who in (case, 1 - case))
    out: Floats = np.log(many / n * m / few)
    return out


def sd(table: Floats) -> Floats:
    """SD of cells, from their number, sum and sum of squares by person."""
    n, one, two = np.moveaxis(table.sum(-2), -1, 0)
    return np.sqrt(np.maximum(two - one**2 / n, 0) / (n - 1))


def area(table: Floats) -> Floats:
    """AUC of the first column for the second, 0 or 1.

    Examples:
        >>> area(np.array([[1, 0], [2, 0], [3, 0], [4, 0], [3, 1], [4, 1], [5, 1], [6, 1.0]])).item()
        0.875
    """
    ranks, case = rankdata(table[..., 0], axis=-1), table[..., 1]
    yes, n = case.sum(-1), case.shape[-1]
    return np.asarray(((ranks * case).sum(-1) - yes * (yes + 1) / 2) / (yes * (n - yes)))


def staged(table: Floats) -> Floats:
    """Share of pairs of people of different stages in which the later one scores higher (Jonckheere-Terpstra).

    Columns: score, and stage, which is the same in every table.

    Examples:
        >>> score, stage = [1, 2, 3, 2, 3, 4, 4, 5, 6], [0, 0, 0, 1, 1, 1, 2, 2, 2]
        >>> round(float(staged(np.array([score, stage], float).T)), 2)
        0.91
    """
    score, stage = table[..., 0], table[..., 1].reshape(-1, table.shape[-2])[0]
    levels, agreeing, pairs = np.unique(stage), np.zeros(score.shape[:-1]), 0
    for i, low in enumerate(levels):
        x, y = score[..., stage == low], score[..., np.isin(stage, levels[i + 1 :])]
        n, m = x.shape[-1], y.shape[-1]
        agreeing = agreeing + rankdata(np.concatenate([x, y], -1), axis=-1)[..., n:].sum(-1) - m * (m + 1) / 2
        pairs += n * m
    return np.asarray(agreeing / pairs)


def pearson(table: Floats) -> Floats:
    """Pearson correlation of two columns."""
    centred = table - table.mean(-2, keepdims=True)
    size = np.sqrt((centred**2).sum(-2).prod(-1))
    return np.divide(centred.prod(-1).sum(-1), size, out=np.full(np.shape(size), np.nan), where=size > 0)


def spearman(table: Floats) -> Floats:
    """Spearman correlation of two columns."""
    return pearson(rankdata(table, axis=-2))


def slope(table: Floats) -> Floats:
    """Slope of a score per stage, in SDs of stage 0; columns: score, stage."""
    score, stage = _standard(table)
    centred = stage - stage.mean(-1, keepdims=True)
    out: Floats = (centred * score).sum(-1) / (centred**2).sum(-1)
    return out


def first_stage(table: Floats) -> Floats:
    """Mean score of stage 1 less that of stage 0, in SDs of stage 0; columns: score, stage."""
    score, stage = _standard(table)
    return _average(score, stage == 1)[..., 0]


def _standard(table: Floats) -> tuple[Floats, Floats]:
    """Score in SDs of stage 0 from their mean, and stage, [..., n] each."""
    score, stage = np.moveaxis(table, -1, 0)
    controls = stage == 0
    away = score - _average(score, controls)
    n = controls.sum(-1, keepdims=True)
    spread = np.sqrt(_average(away**2, controls) * n / (n - 1))
    return np.divide(away, spread, out=np.full(away.shape, np.nan), where=spread > 0), stage


def _average(x: Floats, rows: NDArray[np.bool_]) -> Floats:
    """Mean over some of the people, [..., 1]."""
    average: Floats = np.where(rows, x, 0.0).sum(-1, keepdims=True) / rows.sum(-1, keepdims=True)
    return average


LIMITS: dict[Callable[[Floats], Floats], tuple[float, float]] = {
    **dict.fromkeys((area, quotient, share, staged), (0.0, 1.0)),
    **dict.fromkeys((pearson, spearman), (-1.0, 1.0)),
    sd: (0.0, np.inf),
}
"""What a figure cannot lie beyond."""
