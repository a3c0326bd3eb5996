"""Splits: subjects for training, calibration and test, and target subjects."""

import numpy as np
import pandas as pd

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.frames import as_text, column_of, counted, named

__all__ = ["SPLITS", "split_by_column", "split_by_fraction", "split_subjects"]

SPLITS = ("train", "calibrate", "test", "target")
"""The three parts of the reference subjects, and all other subjects."""

MIN_TRAIN, MIN_CALIBRATE = 30, 10
SMALL_STRATUM = 3


def split_by_fraction(strata: pd.Series, fractions: tuple[float, float], seed: int) -> pd.Series:
    r"""Draw calibration and test subjects within strata; the others are for training.

    .. math:: \left| n_{kj} - f_j n_k \right| \le 1, \quad \sum_k n_{kj} = \mathrm{round}\Big(f_j \sum_k n_k\Big)

    for stratum :math:`k` with :math:`n_k \ge 3` subjects and part :math:`j`, by rounding the cumulative quotas. (With
    a fraction above 1/3 a small stratum may have too few subjects; the next stratum compensates.) All subjects of a
    smaller stratum are for training. The draw depends on ids and seed, not on the order of the rows.

    Args:
        strata: Stratum of each subject, such as the site, indexed by id, [n].
        fractions: Shares of calibration and of test subjects.
        seed: Seed of the random draw.

    Returns:
        `train`, `calibrate` or `test` in the order of `strata`, [n].

    Raises:
        InputError: When the fractions leave no subjects for training or calibration.

    Examples:
        >>> sites = pd.Series(["A"] * 10 + ["B"] * 5, index=[f"s{i:02d}" for i in range(15)])
        >>> split_by_fraction(sites, (0.2, 0.2), seed=1).value_counts().sort_index().to_dict()
        {'calibrate': 3, 'test': 3, 'train': 9}
    """
    calibrate, test = fractions
    if not (0 < calibrate < 1 and 0 <= test < 1 and calibrate + test < 1):
        expected = "shares (calibrate, test) with calibrate above 0 and a sum below 1"
        raise InputError("split", f"{fractions}", expected, "leave subjects for training, such as (0.2, 0.2)")
    draw = np.random.default_rng(seed)
    label = pd.Series("train", index=strata.index, name="split", dtype=str)
    seen, taken = 0, np.zeros(2, dtype=int)
    for _, members in strata.sort_index().groupby(strata, sort=True):
        if len(members) < SMALL_STRATUM:
            continue
        shuffled = draw.permutation(members.index.to_numpy(dtype=object))
        seen += len(members)
        due = np.floor(np.array(fractions) * seen + 0.5).astype(int) - taken
        first = min(due[0], len(members))
        second = min(due[1], len(members) - first)
        label[shuffled[:first]], label[shuffled[first : first + second]] = "calibrate", "test"
        taken += (first, second)
    return label


def split_by_column(column: pd.Series, healthy: pd.Series) -> pd.Series:
    """The split defined by a column.

    Args:
        column: `train`, `calibrate`, `test` or `target`, indexed by id, [n].
        healthy: True for reference subjects, [n].

    Raises:
        InputError: On other values, or when a subject outside the reference is not target.

    Examples:
        >>> column = pd.Series(["train", "target"], index=["sub-1", "sub-2"])
        >>> split_by_column(column, pd.Series([True, False], index=column.index)).tolist()
        ['train', 'target']
    """
    label, where = as_text(column), f"split column {column.name!r}"
    other = label[~label.isin(SPLITS)]
    if len(other):
        got = f"values {named(other.unique())}, such as for {other.index[0]!r}"
        raise InputError(where, got, f"one of {', '.join(SPLITS)}", "correct or fill these cells")
    ill = label.index[(label != "target") & ~healthy]
    if len(ill):
        got = f"{counted(len(ill), 'subject')} outside the reference in train, calibrate or test: {named(ill)}"
        raise InputError(where, got, "reference subjects there", "make them target, or correct the reference")
    return label.rename("split")


def split_subjects(
    people: pd.DataFrame,
    healthy: pd.Series,
    strata: pd.Series,
    split: str | tuple[float, float],
    seed: int,
) -> pd.Series:
    """The split by a column of the participants, or by shares of the reference subjects within strata, [n].

    Raises:
        InputError: Below 30 training or 10 calibration controls, and as `split_by_column` and `split_by_fraction`.

    Examples:
        >>> people = pd.DataFrame(index=[f"s{i:02d}" for i in range(60)])
        >>> healthy = pd.Series(people.index < "s50", index=people.index)
        >>> strata = pd.Series("", index=people.index)
        >>> split_subjects(people, healthy, strata, (0.2, 0.2), seed=1).value_counts().sort_index().to_dict()
        {'calibrate': 10, 'target': 10, 'test': 10, 'train': 30}
    """
    if isinstance(split, str):
        label = split_by_column(column_of(people, split, "participants"), healthy)
    else:
        label = split_by_fraction(strata[healthy], split, seed).reindex(people.index, fill_value="target")
    count = {part: int((label == part).sum()) for part in SPLITS}
    if count["train"] < MIN_TRAIN or count["calibrate"] < MIN_CALIBRATE:
        got = ", ".join(f"{n} {part}" for part, n in count.items())
        expected = f"at least {MIN_TRAIN} training and {MIN_CALIBRATE} calibration controls"
        raise InputError("split", got, expected, "add reference subjects, or change the split")
    return label
