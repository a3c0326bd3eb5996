"""Associations of a score with other columns: adjustment, correlations, trends over stages (numpy and scipy only)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.bootstrap import bootstrap_interval
from pyro_mmnorm.stats.intervals import FEWEST, NORMAL_95, Estimate, observed

__all__ = [
    "Columns",
    "adjusted",
    "correlation",
    "first_stage",
    "indicators",
    "pearson",
    "residuals",
    "slope",
    "spearman",
    "stage_slope",
    "steiger_test",
    "trend",
]

type Columns = Mapping[str, Floats]
"""Columns by name, [n] or [n, k] each."""


def adjusted(scores: ArrayLike, nuisance: Mapping[str, ArrayLike], group: ArrayLike) -> Floats:
    r"""Scores at the mean of the nuisance columns, with slopes estimated within groups (analysis of covariance).

    .. math:: y_i - (x_i - \bar x)^\top b, \qquad
        b = \arg\min \sum_i \big( y_i - \bar y_{g(i)} - (x_i - \bar x_{g(i)})^\top b \big)^2

    Slopes within groups do not remove a difference between groups that correlates with a column only because illness
    changes both.

    Args:
        scores: [n] or [n, k], NaN where not observed.
        nuisance: Column by name, [n] each: numbers, or text, which enters as one indicator per level (see `indicators`,
            which may be given instead); empty where NaN, None or ''.
        group: Group of each person, [n].

    Returns:
        Adjusted scores in the shape of `scores`; NaN where a nuisance cell or the score is missing.

    Raises:
        InputError: When columns differ in length, there are too few complete people to fit, or the columns separate the
            groups completely, such as when no site has people of both.

    References:
        Cochran (1957), Analysis of covariance: its nature and uses, https://doi.org/10.2307/2527916

    Examples:
        >>> group = np.repeat(["CN", "AD"], 4)
        >>> age = [60.0, 62, 64, 66, 70, 72, 74, 76]
        >>> adjusted(np.array(age) / 10 + (group == "AD"), {"age": age}, group).round(2).tolist()
        [6.8, 6.8, 6.8, 6.8, 7.8, 7.8, 7.8, 7.8]
    """
    scores, labels = np.asarray(scores, float), np.asarray(group, str)
    if len(labels) != len(scores):
        got = f"{len(labels)} groups for {len(scores)} people"
        raise InputError("group", got, "one per person", "align them by id")
    table = observed(scores if scores.ndim == 2 else scores[:, None], "score", axes=2)
    design = _design(nuisance, len(table))
    known = np.isfinite(design).all(1)
    fit = known & np.isfinite(table).all(1)
    x, y, member = _standard(design, fit), table[fit], labels[fit][:, None] == np.unique(labels[fit])
    # columns and scores from the means of their groups
    count = np.maximum(member.sum(0), 1)[:, None]
    inside, own = (part - member @ (member.T @ part / count) for part in (x[fit], y))
    _check_fit(len(y), _rank(inside))
    if _rank(np.hstack([member, x[fit]])) < member.shape[1] + _rank(x[fit]):
        got = "columns that separate the groups completely"
        raise InputError("adjustment", got, "columns that vary within groups", "adjust for fewer columns")
    # slopes within groups, applied to everybody
    out = np.where(known[:, None], table - np.nan_to_num(x) @ np.linalg.lstsq(inside, own)[0], np.nan)
    return out if scores.ndim == 2 else out[:, 0]


def residuals(table: ArrayLike, given: Mapping[str, ArrayLike]) -> Floats:
    """Residuals of every column of a table after least-squares regression on other columns, in complete people, [n, k].

    Args:
        table: [n, k], NaN where not observed.
        given: Columns to regress on, as `nuisance` of `adjusted`.

    Returns:
        Residuals; NaN for people who lack a cell.

    Raises:
        InputError: When too few people are complete.

    Examples:
        >>> residuals([[0.0], [1.0], [1.0], [2.0], [np.nan]], {"x": [0, 1, 2, 3, 4]}).round(2).ravel()
        array([-0.1,  0.3, -0.3,  0.1,  nan])
    """
    table = observed(table, "table", axes=2)
    design = _design(given, len(table))
    complete = np.isfinite(table).all(1) & np.isfinite(design).all(1)
    out = np.full(table.shape, np.nan)
    out[complete] = _residuals(table[complete], design[complete])[0]
    return out


def correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    method: Literal["pearson", "spearman"] = "pearson",
    given: Mapping[str, ArrayLike] | None = None,
) -> Estimate:
    r"""Correlation of two columns, or their partial correlation given others, with its 95 % interval.

    .. math:: \tanh\left(\operatorname{artanh} r \pm 1.96 \sqrt{\frac{v}{n - k - 3}}\right), \qquad
        t = r \sqrt{\frac{n - k - 2}{1 - r^2}}

    with v = 1 (Fisher) for Pearson and 1 + r^2 / 2 (Bonett and Wright) for Spearman, and k independent columns in
    `given`. The partial correlation is the correlation of the residuals; for Spearman all columns are ranked first.

    Args:
        x, y: [n], NaN where not observed; people who lack one of them, or a cell of `given`, are left out.
        method: pearson or spearman.
        given: Columns to control for, as `nuisance` of `adjusted`.

    Raises:
        InputError: When columns differ in length, fewer than k + 4 people are complete, or a column does not vary.

    References:
        Fisher (1915), https://doi.org/10.1093/biomet/10.4.507; Bonett & Wright (2000), Sample size requirements for
        estimating Pearson, Kendall and Spearman correlations, https://doi.org/10.1007/BF02294183

    Examples:
        >>> correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]).value
        0.8
        >>> correlation([1, 2, 3, 4, np.nan], [1, 4, 9, 16, 25], method="spearman").value
        1.0
    """
    if method not in ("pearson", "spearman"):
        raise InputError("correlation", f"method {method!r}", "pearson or spearman", "use one of them")
    pair = _side_by_side([x, y], "correlation")
    design = _design(given or {}, len(pair))
    complete = np.isfinite(pair).all(1) & np.isfinite(design).all(1)
    pair, design = pair[complete], design[complete]
    if method == "spearman":
        pair, design = (stats.rankdata(part, axis=0) for part in (pair, design))
    r, n, k = _partial(pair, design)
    with np.errstate(divide="ignore"):
        t, centre = r * np.sqrt((n - k - 2) / np.float64(1 - r**2)), np.arctanh(r)
    factor = 1 + r**2 / 2 if method == "spearman" else 1.0
    half = NORMAL_95 * np.sqrt(factor / (n - k - 3))
    low, high = np.tanh([centre - half, centre + half])
    test = method.capitalize() + (f", given {' and '.join(given)}" if given else "")
    p = float(2 * special.stdtr(n - k - 2, -abs(t)))
    return Estimate(value=r, low=float(low), high=float(high), n=n, test=test, p=p)


def pearson(x: Floats, y: Floats) -> Floats:
    """Pearson correlation, [..., n] each; [...] out, NaN where one does not vary.

    Examples:
        >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).item()
        0.5
    """
    x, y = (column - column.mean(-1, keepdims=True) for column in (x, y))
    return np.clip(ratio((x * y).sum(-1), np.sqrt((x**2).sum(-1) * (y**2).sum(-1))), -1.0, 1.0)


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman correlation, [..., n] each; [...] out, NaN where one does not vary.

    Examples:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 9.0])).item()
        1.0
    """
    return pearson(stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1))


def steiger_test(shared: ArrayLike, first: ArrayLike, second: ArrayLike) -> Estimate:
    r"""Difference of two Pearson correlations with one shared column in the same people, first minus second.

    .. math:: z = (\operatorname{artanh} r_1 - \operatorname{artanh} r_2) \sqrt{\frac{n - 3}{2 (1 - s)}}, \qquad
        s = \frac{r_{12} (1 - 2 \bar r^2) - \frac12 \bar r^2 (1 - 2 \bar r^2 - r_{12}^2)}{(1 - \bar r^2)^2}

    with r_12 the correlation of first and second, and the mean of r_1 and r_2 in s. The interval of r_1 - r_2 is Zou's.
    Change the sign of a column beforehand where only the strength matters.

    Args:
        shared: The column in both correlations, such as a cognitive score, [n].
        first, second: The scores to be compared, [n] each; people who lack one of the three are left out.

    Raises:
        InputError: When columns differ in length, fewer than 4 people have all three, a column does not vary, or two of
            the columns correlate perfectly.

    References:
        Steiger (1980), Tests for comparing elements of a correlation matrix, https://doi.org/10.1037/0033-2909.87.2.245;
        Zou (2007), Toward using confidence intervals to compare correlations,
        https://doi.org/10.1037/1082-989X.12.4.399

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> score = rng.normal(size=200)
        >>> better, worse = score + rng.normal(size=200), score + 3 * rng.normal(size=200)
        >>> steiger_test(score, better, worse).p < 0.001
        True
    """
    table = _side_by_side([shared, first, second], "Steiger")
    table = table[np.isfinite(table).all(1)]
    pairs = [correlation(table[:, i], table[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    (one, two), (r1, r2, r12) = pairs[:2], (pair.value for pair in pairs)
    if max(abs(r1), abs(r2), abs(r12)) > 1 - 1e-12:
        todo = "compare different scores"
        raise InputError("Steiger", "two columns that correlate perfectly", "three different columns", todo)
    # Steiger's z of the difference of the Fisher-transformed correlations
    square = ((r1 + r2) / 2) ** 2
    s = (r12 * (1 - 2 * square) - square * (1 - 2 * square - r12**2) / 2) / (1 - square) ** 2
    z = (np.arctanh(r1) - np.arctanh(r2)) * np.sqrt((one.n - 3) / (2 * (1 - s)))
    # Zou's interval: the distances of both correlations from their own limits, combined given their correlation c
    shared_part = (r12 - r1 * r2 / 2) * (1 - r1**2 - r2**2 - r12**2) + r12**3
    c = shared_part / ((1 - r1**2) * (1 - r2**2))
    below, above = (
        np.sqrt(a**2 + b**2 - 2 * c * a * b) for a, b in ((r1 - one.low, two.high - r2), (one.high - r1, r2 - two.low))
    )
    return Estimate(
        value=r1 - r2,
        low=float(r1 - r2 - below),
        high=float(r1 - r2 + above),
        n=one.n,
        test="Steiger, interval of Zou",
        p=float(2 * special.ndtr(-abs(z))),
    )


def trend(score: ArrayLike, stage: ArrayLike, *, rng: np.random.Generator, repeats: int = 1000) -> Estimate:
    """Least-squares slope of a score over the stages 0, 1, 2, ...: its change from one stage to the next.

    The interval is a percentile bootstrap: people are drawn within their stage, which keeps its number of people.

    Args:
        score: [n], NaN where not observed.
        stage: Place of each person's group in the order, [n].
        rng: Source of the draws.
        repeats: Number of draws.

    Raises:
        InputError: When the columns differ in length, or fewer than 3 people or two stages were observed.

    Examples:
        >>> trend([0.8, 0.9, 1.0, 1.1, 1.2, 1.3], [0, 0, 1, 1, 2, 2], rng=np.random.default_rng(0)).value.__round__(3)
        0.2
    """
    table = _side_by_side([score, stage], "trend")
    table = table[np.isfinite(table).all(1)]
    sizes = np.unique(table[:, 1], return_counts=True)[1]
    if len(sizes) < 2:
        raise InputError("trend", f"{len(sizes)} stages", "at least two", "leave the trend out")
    y, x = table.T
    one = bootstrap_interval(slope, y, x, rng=rng, repeats=repeats, strata=x)
    return replace(one, sizes=tuple(int(size) for size in sizes))


def slope(y: Floats, x: Floats) -> Floats:
    """Least-squares slope of y on x, without missing values, [..., n] each; [...] out.

    Examples:
        >>> slope(np.array([1.0, 3.0, 5.0]), np.array([0.0, 1.0, 2.0])).item()
        2.0
    """
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray((centred * y).sum(-1) / (centred**2).sum(-1))


def stage_slope(score: Floats, stage: Floats) -> Floats:
    """Least-squares slope of a score per stage, in SDs of stage 0; [..., n] each, [...] out, NaN where that SD is 0.

    Examples:
        >>> stage_slope(np.array([0.0, 2.0, 4.0, 6.0]), np.array([0.0, 0.0, 1.0, 1.0])).round(3).item()
        2.828
    """
    return slope(_in_controls_sd(score, stage), stage)


def first_stage(score: Floats, stage: Floats) -> Floats:
    """Mean score of stage 1 minus that of stage 0, in SDs of stage 0; [..., n] each, [...] out, NaN where that SD is 0.

    Examples:
        >>> first_stage(np.array([0.0, 2.0, 4.0, 6.0]), np.array([0.0, 0.0, 1.0, 1.0])).round(3).item()
        2.828
    """
    return _mean_of(_in_controls_sd(score, stage), stage == 1)[..., 0]


def _in_controls_sd(score: Floats, stage: Floats) -> Floats:
    """Score minus the mean of stage 0, in SDs of stage 0, [..., n]."""
    controls = stage == 0
    away = score - _mean_of(score, controls)
    n = controls.sum(-1, keepdims=True)
    return ratio(away, np.sqrt(_mean_of(away**2, controls) * n / (n - 1)))


def _mean_of(x: Floats, rows: NDArray[np.bool_]) -> Floats:
    """Mean over some of the people, [..., 1]."""
    return np.asarray(np.where(rows, x, 0.0).sum(-1, keepdims=True) / rows.sum(-1, keepdims=True))


def _side_by_side(columns: list[ArrayLike], where: str) -> Floats:
    """Columns as a table, [n, k]."""
    arrays = [observed(column, where) for column in columns]
    if len({len(array) for array in arrays}) > 1:
        got = f"columns of {[len(array) for array in arrays]} people"
        raise InputError(where, got, "the same people in all", "align them by id")
    return np.stack(arrays, axis=1)


def indicators(column: ArrayLike) -> Floats:
    """A 0/1 column per level of a text column, [n, levels]; NaN for empty cells (None, NaN, '').

    Examples:
        >>> indicators(["A", "B", None, "A"])[:, 0]
        array([ 1.,  0., nan,  1.])
    """
    cells = np.asarray(column, object).tolist()
    text = np.array(["" if cell is None or cell != cell else str(cell) for cell in cells], object)
    levels = np.array(sorted({"", *text})[1:] or [""], object)
    return np.where((text != "")[:, None], (text[:, None] == levels).astype(float), np.nan)


def _design(nuisance: Mapping[str, ArrayLike], n: int) -> Floats:
    """Nuisance columns as numbers, [n, k]; NaN where a cell is empty."""
    parts = [np.empty((n, 0))]
    for name, given in nuisance.items():
        column = np.asarray(given)
        if column.shape[:1] != (n,) or column.ndim > 2:
            got = f"shape {column.shape} for {n} people"
            raise InputError(f"column {name!r}", got, "one cell per person", "align them by id")
        numeric = column.dtype.kind in "biuf"
        parts.append(observed(column.reshape(n, -1), f"column {name!r}", axes=2) if numeric else indicators(column))
    return np.concatenate(parts, axis=1)


def _standard(design: Floats, fit_on: NDArray[np.bool_]) -> Floats:
    """Columns that vary among the people of the fit, with mean 0 and SD 1 among these; NaN stays NaN."""
    x = design[:, (design[fit_on] != design[fit_on][:1]).any(0)] if fit_on.any() else design[:, :0]
    return (x - x[fit_on].mean(0)) / x[fit_on].std(0) if x.shape[1] else x


def _rank(x: Floats) -> int:
    return int(np.linalg.matrix_rank(x)) if x.size else 0


def _check_fit(n: int, rank: int) -> None:
    if n < rank + FEWEST:
        got = f"{n} complete people to fit {rank} columns"
        raise InputError("adjustment", got, f"at least {rank + FEWEST}", "adjust for fewer columns")


def _residuals(y: Floats, design: Floats) -> tuple[Floats, int]:
    """Residuals of every column of y, [n, ...], in complete people, and the number of independent columns."""
    if len(y) < FEWEST:
        _check_fit(len(y), 0)
    x = _standard(design, np.ones(len(y), bool))
    mean = y.mean(0)
    coefficients, _, rank, _ = np.linalg.lstsq(x, y - mean)
    _check_fit(len(y), int(rank))
    return y - mean - x @ coefficients, int(rank)


def _partial(pair: Floats, design: Floats) -> tuple[float, int, int]:
    """Pearson correlation of the residuals of a pair of columns, number of people, and of independent columns."""
    residual, k = _residuals(pair, design)
    if len(pair) < k + 4:
        got = f"{len(pair)} complete people and {k} columns to control for"
        raise InputError("correlation", got, f"at least {k + 4} people", "leave this correlation out")
    if (residual.std(0) <= 1e-9 * np.maximum(pair.std(0), 1e-3 * np.abs(pair).max(0))).any():
        todo = "leave this correlation out"
        raise InputError("correlation", "a column without variation", "columns that vary", todo)
    return float(pearson(*residual.T)), len(pair), k
