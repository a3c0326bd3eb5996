"""Rank statistics of groups: AUC, Cliff's delta, trends over stages (numpy and scipy only)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.intervals import FEWEST, Estimate, observed

__all__ = [
    "area_under_curve",
    "auc",
    "cliffs_delta",
    "concordance",
    "delong_test",
    "jonckheere_terpstra",
    "stage_concordance",
]


def area_under_curve(score: Floats, case: ArrayLike) -> Floats:
    """Share of pairs of a case and a control in which the case scores higher, ties counted half.

    Args:
        score: [..., n], NaN where not observed.
        case: True for cases, [n] or [..., n].

    Returns:
        [...]; NaN without cases or without controls.

    Examples:
        >>> area_under_curve(np.array([1.0, 2, 3, 4, 3, 4, 5, 6]), np.arange(8) >= 4).item()
        0.875
    """
    return ratio(*_agreeing_pairs(score, case))


def stage_concordance(score: Floats, stage: Floats) -> Floats:
    """Share of pairs of people of different stages in which the later one scores higher (Jonckheere-Terpstra).

    Args:
        score: [..., n].
        stage: Place of each person's group in the order, [..., n], the same in every draw.

    Returns:
        [...]; of two stages, the AUC.

    Examples:
        >>> score, stage = np.array([1, 2, 3, 2, 3, 4, 4, 5, 6]), np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
        >>> round(stage_concordance(score, stage).item(), 2)
        0.91
    """
    place = np.reshape(stage, (-1, np.shape(stage)[-1]))[0]
    # every stage but the last against all later ones
    parts = [_agreeing_pairs(score[..., place >= low], place[place >= low] > low) for low in np.unique(place)[:-1]]
    agreeing, pairs = (sum(part) for part in zip(*parts, strict=True))
    return ratio(agreeing, pairs)


def _agreeing_pairs(score: Floats, case: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Pairs of a case and a control in which the case scores higher, and all pairs, [...] each: Mann-Whitney's U."""
    seen, case = np.isfinite(score), np.asarray(case, bool)
    # unobserved scores rank below all others and are subtracted from the ranks
    ranks = stats.rankdata(np.where(seen, score, -np.inf), axis=-1) - (~seen).sum(-1, keepdims=True)
    yes, no = (seen & case).sum(-1), (seen & ~case).sum(-1)
    return np.where(seen & case, ranks, 0.0).sum(-1) - yes * (yes + 1) / 2, yes * no


def auc(controls: ArrayLike, cases: ArrayLike) -> Estimate:
    r"""Area under the ROC curve: the probability that a case scores higher than a control, ties counted half.

    .. math:: \hat\theta = \frac1{mn} \sum_{ij} \psi(x_i, y_j), \qquad
        \mathrm{var}(\hat\theta) = \frac{S_{10}}{n} + \frac{S_{01}}{m}

    with S_10 the variance over cases of their share of lower controls, and S_01 over controls of their share of higher
    cases (DeLong). The interval is computed on the logit scale with a t quantile, which keeps it in [0, 1] and at its
    level; the interval on the plain scale covers .84 where theta is .98 and each group has 50 people. If all cases lie
    on one side of all controls, the variance is 0 and the interval exact: k disjoint pairs all agree with probability
    :math:`\theta^k`, where k is the number of people of the smaller group.

    Args:
        controls: Scores, [m], NaN where not observed.
        cases: Scores, [n].

    Returns:
        value 0.5 for a score without information; p of the Mann-Whitney test (normal approximation).

    Raises:
        InputError: When fewer than 3 people of a group were observed, or all scores are equal.

    References:
        DeLong, DeLong & Clarke-Pearson (1988), https://doi.org/10.2307/2531595; Sun & Xu (2014), by midranks,
        https://doi.org/10.1109/LSP.2014.2337313; Pepe (2003), The statistical evaluation of medical tests (logit scale)

    Examples:
        >>> auc([1, 2, 3, 4], [3, 4, 5, 6]).value
        0.875
    """
    groups = _groups([controls, cases], "AUC")
    p = float(stats.mannwhitneyu(groups[0], groups[1], method="asymptotic").pvalue)
    return _concordance(groups, "DeLong on the logit scale, Mann-Whitney", p)


def cliffs_delta(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Cliff's delta, P(x > y) - P(x < y), in [-1, 1]: twice the AUC minus 1, interval included.

    Args:
        x: One group, [n], NaN where not observed.
        y: The other, [m].

    Raises:
        InputError: As `auc`.

    References:
        Cliff (1993), Dominance statistics, https://doi.org/10.1037/0033-2909.114.3.494

    Examples:
        >>> cliffs_delta([3, 4, 5, 6], [1, 2, 3, 4]).value
        0.75
    """
    one = auc(y, x)
    return replace(
        one,
        **{end: 2 * getattr(one, end) - 1 for end in ("value", "low", "high")},
        se=2 * (one.se or 0.0),
        sizes=one.sizes[::-1],
    )


def jonckheere_terpstra(score: ArrayLike, stage: ArrayLike) -> Estimate:
    r"""Trend over ordered groups: the probability that of two people of different stages the later one scores higher.

    .. math:: C = \frac{\sum_{g < h} U_{gh}}{\sum_{g < h} n_g n_h}, \qquad
        z = \frac{J - \mathrm E J}{\sqrt{\mathrm{var}\, J}}, \quad J = \sum_{g < h} U_{gh}

    with U the Mann-Whitney counts, ties half, and the variance of J under no trend corrected for ties. The interval of
    C comes from its components per person, as that of `auc`, which is the special case of two stages.

    Args:
        score: [n], NaN where not observed.
        stage: Place of each person's group in the order, [n].

    Returns:
        value 0.5 without a trend; two-sided p of the normal approximation.

    Raises:
        InputError: When there are fewer than two stages, 3 people in a stage, or when all scores are equal.

    References:
        Jonckheere (1954), https://doi.org/10.1093/biomet/41.1-2.133; Hollander, Wolfe & Chicken (2014), Nonparametric
        statistical methods, section 6.2, https://doi.org/10.1002/9781119196037

    Examples:
        >>> jonckheere_terpstra([1, 2, 3, 2, 3, 4, 4, 5, 6], [0, 0, 0, 1, 1, 1, 2, 2, 2]).value.__round__(2)
        0.91
    """
    score, stage = observed(score, "score"), observed(stage, "stage")
    if len(score) != len(stage):
        todo = "give the stage of every person"
        raise InputError("stage", f"{len(stage)} stages for {len(score)} scores", "one a person", todo)
    kept = np.isfinite(score) & np.isfinite(stage)
    levels = np.unique(stage[kept])
    if len(levels) < 2:
        raise InputError("stage", f"{len(levels)} stages", "at least two", "leave the trend out")
    groups = _groups([score[kept & (stage == level)] for level in levels], "Jonckheere-Terpstra")
    test = "Jonckheere-Terpstra, interval by components per person on the logit scale"
    one = _concordance(groups, test, None)
    sizes = np.array(one.sizes, float)
    pairs = (one.n**2 - (sizes**2).sum()) / 2
    z = (one.value - 0.5) * pairs / np.sqrt(_null_variance(np.concatenate(groups), sizes))
    return replace(one, p=float(2 * special.ndtr(-abs(z))))


def concordance(groups: Sequence[ArrayLike]) -> float:
    """The value of `auc` (controls, then cases) or of `jonckheere_terpstra` (the stages in order), without an interval.

    Args:
        groups: Scores of each group, NaN where not observed.

    Raises:
        InputError: As `auc` and `jonckheere_terpstra`.

    Examples:
        >>> concordance([[1, 2, 3, 4], [3, 4, 5, 6]])
        0.875
    """
    return _value(_groups(groups, "concordance"))


def _value(groups: Sequence[Floats]) -> float:
    """Share of agreeing pairs of people of different groups."""
    return float(stage_concordance(np.concatenate(groups), np.repeat(np.arange(len(groups)), list(map(len, groups)))))


def delong_test(controls: ArrayLike, cases: ArrayLike) -> Estimate:
    """Difference of the AUCs of two scores of the same people (first minus second), with its 95 % interval.

    Args:
        controls: Both scores, [m, 2]; people who lack one of them are left out.
        cases: Both scores, [n, 2].

    Raises:
        InputError: When there are not two columns, fewer than 3 people of a group have both scores, or the difference
            does not vary because both scores rank the people in the same way.

    References:
        DeLong, DeLong & Clarke-Pearson (1988), https://doi.org/10.2307/2531595

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> controls, cases = rng.normal(size=(60, 2)), rng.normal(size=(50, 2)) + [1.0, 0.2]
        >>> delong_test(controls, cases).p < 0.05
        True
    """
    tables = [observed(x, name, axes=2) for x, name in ((controls, "controls"), (cases, "cases"))]
    if any(x.shape[1] != 2 for x in tables):
        got = f"{[x.shape[1] for x in tables]} columns"
        raise InputError("DeLong", got, "two scores", "give an array [people, 2]")
    both = [x[np.isfinite(x).all(1)] for x in tables]
    first, second = (_groups([x[:, j] for x in both], "DeLong") for j in (0, 1))
    parts = [a - b for a, b in zip(_components(first), _components(second), strict=True)]
    sizes = tuple(len(part) for part in parts)
    value, se = float(parts[0].mean()), float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)))
    if se == 0:
        todo = "their AUCs are equal"
        raise InputError("DeLong", "two scores that rank the people in the same way", "scores that differ", todo)
    low, high = max(-1.0, value - 1.96 * se), min(1.0, value + 1.96 * se)
    p = float(2 * special.ndtr(-abs(value / se)))
    return Estimate(value=value, low=low, high=high, n=sum(sizes), test="DeLong, paired", p=p, se=se, sizes=sizes)


def _groups(groups: Sequence[ArrayLike], where: str) -> list[Floats]:
    """The observed scores of every group; checked for enough people and different scores."""
    seen = [x[np.isfinite(x)] for x in (observed(group, where) for group in groups)]
    sizes = [len(x) for x in seen]
    if min(sizes) < FEWEST:
        todo = "leave this comparison out"
        raise InputError(where, f"groups of {sizes} people", f"at least {FEWEST} in each", todo)
    if np.unique(np.concatenate(seen)).size == 1:
        raise InputError(where, "the same score for everybody", "a score that varies", "leave this score out")
    return seen


def _below(x: Floats, y: Floats) -> Floats:
    """How many of y lie below each x, ties counted half, [n]."""
    y = np.sort(y)
    return (np.searchsorted(y, x, side="left") + np.searchsorted(y, x, side="right")) / 2


def _components(groups: Sequence[Floats]) -> list[Floats]:
    """Share of agreeing pairs of each person with all people of other groups, one array per group."""
    n = sum(len(x) for x in groups)
    out = []
    for i, x in enumerate(groups):
        lower = sum((_below(x, y) for y in groups[:i]), np.zeros(len(x)))
        higher = sum((len(y) - _below(x, y) for y in groups[i + 1 :]), np.zeros(len(x)))
        out.append((lower + higher) / (n - len(x)))
    return out


def _concordance(groups: Sequence[Floats], test: str, p: float | None) -> Estimate:
    """Share of agreeing pairs of people of different groups, with the interval of `auc`."""
    value, sizes = _value(groups), np.array([len(x) for x in groups], float)
    n, weight = sizes.sum(), sizes * (sizes.sum() - sizes)  # each pair is counted twice in the sum of weights
    # variance of a weighted mean of the components, whose unit is the person
    spread = np.array([part.var(ddof=1) for part in _components(groups)])
    variances = spread / sizes * (2 * weight / weight.sum()) ** 2
    variance = float(variances.sum())
    if variance > 0:
        df = variance**2 / (variances**2 / (sizes - 1)).sum()  # Satterthwaite
        half = special.stdtrit(df, 0.975) * np.sqrt(variance) / (value * (1 - value))
        low, high = special.expit(special.logit(value) + np.array([-half, half]))
    else:  # the groups do not overlap: exact bound
        bound = 0.025 ** (1 / sizes.min())
        low, high = (bound, 1.0) if value == 1 else (0.0, 1 - bound)
    return Estimate(
        value=value,
        low=float(low),
        high=float(high),
        n=int(n),
        test=test,
        p=p,
        se=float(np.sqrt(variance)),
        sizes=tuple(int(size) for size in sizes),
    )


def _null_variance(scores: Floats, sizes: Floats) -> float:
    """Variance of Jonckheere's J without a trend, given the ties among the scores."""
    # corrected for ties: sums over the sizes of groups and over the numbers of tied scores
    n, ties = float(len(scores)), np.unique(scores, return_counts=True)[1].astype(float)
    two, three = ([float(np.prod([t - i for i in range(k)], axis=0).sum()) for t in (sizes, ties)] for k in (2, 3))
    full = n * (n - 1) * (2 * n + 5) - sum(float((t * (t - 1) * (2 * t + 5)).sum()) for t in (sizes, ties))
    return full / 72 + three[0] * three[1] / (36 * n * (n - 1) * (n - 2)) + two[0] * two[1] / (8 * n * (n - 1))
