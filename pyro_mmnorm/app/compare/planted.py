"""The planted effects of a simulated cohort, and how well each model localises them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pyro_mmnorm.app.compare.runs import Run
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.associations import correlation
from pyro_mmnorm.stats.bootstrap import resampled_people, resampled_statistic
from pyro_mmnorm.stats.intervals import Estimate
from pyro_mmnorm.stats.ranks import area_under_curve

__all__ = ["PLANTED", "Truth", "mean_over_cohorts", "over_cohorts", "person_auc"]


PLANTED = 1.0
"""A region is changed if its planted effect has at least this absolute value, in SDs of healthy people."""

WORDS = {"local": "local", "along": "along normal variation"}
REPEATS = 1000


def person_auc(z: Floats, effect: Floats) -> Floats:
    r"""AUC of |z| for changed against unchanged regions within each person, [n].

    .. math:: A_i = P(|z_{ij}| > |z_{ik}| \mid |e_{ij}| \ge 1 > |e_{ik}|), \quad \text{ties half}

    Args:
        z: [n, d], NaN where not observed.
        effect: Planted effect, in SDs of healthy people, [n, d].

    Returns:
        .5 is expected by chance; NaN for a person without a changed region or without an unchanged one.

    Examples:
        >>> person_auc(np.array([[-3.0, 0.5, 1.0], [1.0, 2.0, 3.0]]), np.array([[-2.0, 0.0, 0.1], [0.0, 0.0, 0.0]]))
        array([ 1., nan])
    """
    return area_under_curve(np.abs(z), np.abs(effect) >= PLANTED)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The planted effects.

    Args:
        effect: id x `<modality>.<region>`, in SDs of healthy people.
        severity: By id; 0 for healthy people. None if the cohort has no severity.
        sort: Class of the effect of each person by id: `local`, `along`, '' for healthy people. None if unknown.
    """

    effect: pd.DataFrame
    severity: pd.Series | None = None
    sort: pd.Series | None = None

    measure: ClassVar[str] = f"AUC of |z| for regions changed by {PLANTED:g} SD or more, mean over people"

    @classmethod
    def beside(cls, root: str | Path) -> Self | None:
        """The truth that `mmnorm simulate` writes beside its tables; None without effect.csv.

        Raises:
            InputError: When effect.csv is not a table of numbers by id.

        Examples:
            >>> Truth.beside("no/such/folder") is None
            True
        """
        path = Path(root) / "effect.csv"
        if not path.is_file():
            return None
        effect = pd.read_csv(path, dtype={0: str}).set_index("participant_id")
        if not all(pd.api.types.is_numeric_dtype(kind) for kind in effect.dtypes):
            raise InputError(str(path), "cells that are not numbers", "planted effects by id", "simulate it again")
        hidden = Path(root) / "hidden.csv"
        if not hidden.is_file():
            return cls(effect=effect)
        people = pd.read_csv(hidden, dtype={"participant_id": str}, keep_default_na=False).set_index("participant_id")
        return cls(effect=effect, severity=people["severity"].astype(float), sort=people["effect_class"].astype(str))

    @property
    def about(self) -> str:
        """Name of the class of the effect; several classes are joined, and an unknown one is `effect`."""
        names = [] if self.sort is None else [str(name) for name in self.sort.unique() if name]
        name = " and ".join(names) or "effect"
        return WORDS.get(name, name)

    def classes(self, ids: pd.Index) -> dict[str, NDArray[np.bool_]]:
        """Name of a class of planted effect -> mask of the people with it, [n]; classes are never averaged."""
        if self.sort is None:
            return {self.about: np.ones(len(ids), bool)}
        sort = self.sort.reindex(ids).fillna("")
        return {WORDS.get(name, name): (sort == name).to_numpy() for name in sorted(set(sort) - {""})}

    def localisation(self, z: pd.DataFrame, rows: NDArray[np.bool_]) -> Floats:
        """`person_auc` of the people in `rows`, NaN for others, [n].

        Args:
            z: Calibrated z, by id and `<modality>.<region>`.
            rows: Mask of the people, [n].
        """
        planted = self.effect.reindex(index=z.index, columns=z.columns).to_numpy(float)
        return np.where(rows, person_auc(z.to_numpy(float), planted), np.nan)

    def ceilings(self, run: Run) -> Iterator[tuple[str, str, Estimate]]:
        """(score, method, correlation with the true severity): the upper limit expected for any deviation."""
        if self.severity is None:
            return
        severity = self.severity.reindex(run.results.z.index)
        for name in run.results.named("scores"):
            score = run.results.subjects[name].to_numpy(float)
            score = score * _sign(run.results.config, name)
            for method in ("pearson", "spearman"):
                yield name, method.capitalize(), correlation(severity, score, method=method)


def mean_over_cohorts(value: ArrayLike, drawn: ArrayLike, *, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    r"""Mean of an estimate over several cohorts, such as seeds of a simulation; bootstrap over cohorts and people.

    .. math:: \hat\theta = \frac1K \sum_k \hat\theta_k, \qquad
        \mathrm{se} = \sqrt{\tfrac{K}{K-1}}\ \mathrm{SD}(\hat\theta^*), \qquad
        \hat\theta \pm t_{K-1}(.975)\, \mathrm{se}

    Each draw takes K cohorts, and from each the value of one resample of its people. The factor and the t quantile
    correct for few cohorts: the plain bootstrap of 3 cohorts has two thirds of the variance.

    Args:
        value: Estimate of every cohort, [K, ...].
        drawn: The same for resampled people, [K, draws, ...].
        seed: Seed of the draws.

    Returns:
        Mean, low, high, and p that it is 0, [...].

    Raises:
        InputError: For fewer than two cohorts.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> value, low, high, p = mean_over_cohorts([0.1, 0.2, 0.3], rng.normal([[0.1], [0.2], [0.3]], 0.01, (3, 200)))
        >>> value.round(2).item(), bool(low < 0 < high)
        (0.2, True)
    """
    each, again, rng = np.asarray(value, float), np.asarray(drawn, float), np.random.default_rng(seed)
    k = len(each)
    if k < 2:
        raise InputError(
            "mean_over_cohorts", f"{k} cohorts", "at least two", "give more cohorts, or report the single one"
        )
    cohorts = rng.integers(0, k, (REPEATS, k))
    around = again[cohorts, rng.integers(0, again.shape[1], cohorts.shape)].mean(1)
    se = around.std(0, ddof=1) * np.sqrt(k / (k - 1))
    mean, reach = each.mean(0), special.stdtrit(k - 1, 0.975) * se
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * special.stdtr(k - 1, -np.abs(mean / se))
    return mean, mean - reach, mean + reach, p


def over_cohorts(people: Sequence[pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """Localisation over several cohorts, see `mean_over_cohorts`; the same people are drawn for all models.

    Args:
        people: One frame per cohort, with a row per person and a column per model, the first model first:
            `compare(..., truth=...).attrs["planted"][about]`.
        seed: Seed of the draws.

    Returns:
        A row per model: value, low, high; gain over the first model, gain_low, gain_high, p; cohorts, n.

    Raises:
        InputError: For fewer than two cohorts, or for cohorts with different models.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> cohorts = [pd.DataFrame({"a": x, "b": x + 0.1}) for x in rng.normal(0.6, 0.1, (3, 40))]
        >>> over_cohorts(cohorts)["gain"].round(3).tolist()
        [nan, 0.1]
    """
    names = list(people[0]) if people else []
    if len(people) < 2 or any(list(frame) != names for frame in people):
        got = f"{len(people)} cohorts with models {sorted({str(list(frame)) for frame in people})}"
        raise InputError("over_cohorts", got, "at least two with the same models", "compare the same runs in each")
    tables, rng = [frame.dropna().to_numpy(float) for frame in people], np.random.default_rng(seed)
    value = np.stack([table.mean(0) for table in tables])
    drawn = np.stack([_resampled_means(table, rng) for table in tables])
    own = mean_over_cohorts(value, drawn, seed=seed)
    gain = mean_over_cohorts(value - value[:, :1], drawn - drawn[..., :1], seed=seed)
    columns = dict(zip(("value", "low", "high"), own, strict=False))
    columns |= dict(zip(("gain", "gain_low", "gain_high", "p"), gain, strict=True))
    frame = pd.DataFrame(columns, index=pd.Index(names, name="model"))
    frame = frame.assign(cohorts=len(people), n=sum(map(len, tables)))
    frame.iloc[0, 3:7] = np.nan
    return frame


def _resampled_means(table: Floats, rng: np.random.Generator) -> Floats:
    """Mean over people of each column in every draw, [draws, models]."""
    rows = resampled_people(np.zeros(len(table)), REPEATS, rng)
    return resampled_statistic(lambda *columns: np.stack([x.mean(-1) for x in columns], -1), list(table.T), rows)


def _sign(config: dict[str, Any], score: str) -> int:
    return -1 if config["data"]["scores"][score] == "higher_is_better" else 1
