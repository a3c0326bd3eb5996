"""Truth: what was planted in a simulated cohort, and how well each model finds it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.stats import rankdata

from pyro_mmnorm.app.compare.runs import Run
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.associations import correlation
from pyro_mmnorm.stats.intervals import Estimate

__all__ = ["PLANTED", "Truth", "mean_over_cohorts", "over_cohorts", "person_auc"]


PLANTED = 1.0
"""A region counts as changed from this size of its planted effect on, in SD of healthy people."""

WORDS = {"local": "local", "along": "along normal variation"}
REPEATS = 1000


def person_auc(z: Floats, effect: Floats) -> Floats:
    r"""Are the regions that changed those with the largest |z|? The AUC over the regions of each person, [n].

    .. math:: A_i = P(|z_{ij}| > |z_{ik}| \mid |e_{ij}| \ge 1 > |e_{ik}|), \quad \text{ties half}

    Args:
        z: [n, d], NaN where not observed.
        effect: Planted, in SD of healthy people, [n, d].

    Returns:
        .5 by chance; NaN for a person in whom no region changed, or every one.

    Examples:
        >>> person_auc(np.array([[-3.0, 0.5, 1.0], [1.0, 2.0, 3.0]]), np.array([[-2.0, 0.0, 0.1], [0.0, 0.0, 0.0]]))
        array([ 1., nan])
    """
    seen = np.isfinite(z)
    hit = seen & (np.abs(effect) >= PLANTED)
    gone = (~seen).sum(1)
    ranks = rankdata(np.where(seen, np.abs(z), -1.0), axis=1) - gone[:, None]
    yes, no = hit.sum(1), (seen & ~hit).sum(1)
    agreeing = np.where(hit, ranks, 0.0).sum(1) - yes * (yes + 1) / 2
    return np.divide(agreeing, yes * no, out=np.full(len(z), np.nan), where=yes * no > 0)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What was planted.

    Args:
        effect: id x `<modality>.<region>`, in SD of healthy people.
        severity: By id; 0 for the healthy. None where the cohort has no such number.
        sort: Of the effect of each person by id: `local`, `along`, '' for the healthy. None where it is not told.
    """

    effect: pd.DataFrame
    severity: pd.Series | None = None
    sort: pd.Series | None = None

    measure: ClassVar[str] = f"AUC of |z| for regions changed by {PLANTED:g} SD or more, mean over people"

    @classmethod
    def beside(cls, root: str | Path) -> Self | None:
        """The truth that `mmnorm simulate` writes beside its tables; None where there is none.

        Raises:
            InputError: When effect.csv is no table of numbers by id.

        Examples:
            >>> Truth.beside("no/such/folder") is None
            True
        """
        path = Path(root) / "effect.csv"
        if not path.is_file():
            return None
        effect = pd.read_csv(path, dtype={0: str}).set_index("participant_id")
        if not all(pd.api.types.is_numeric_dtype(kind) for kind in effect.dtypes):
            raise InputError(str(path), "cells that are no numbers", "planted effects by id", "simulate it again")
        hidden = Path(root) / "hidden.csv"
        if not hidden.is_file():
            return cls(effect=effect)
        people = pd.read_csv(hidden, dtype={"participant_id": str}, keep_default_na=False).set_index("participant_id")
        return cls(effect=effect, severity=people["severity"].astype(float), sort=people["effect_class"].astype(str))

    @property
    def told(self) -> str:
        """Sort of the effect: `local`, `along`, both, or `effect` where it is not told."""
        names = [] if self.sort is None else [str(name) for name in self.sort.unique() if name]
        return " and ".join(names) or "effect"

    @property
    def about(self) -> str:
        """The class of the effect in words."""
        return WORDS.get(self.told, self.told)

    def classes(self, ids: pd.Index) -> dict[str, NDArray[np.bool_]]:
        """Class of planted effect in words -> who of these people has it; never averaged over classes."""
        if self.sort is None:
            return {self.about: np.ones(len(ids), bool)}
        sort = self.sort.reindex(ids).fillna("")
        return {WORDS.get(name, name): (sort == name).to_numpy() for name in sorted(set(sort) - {""})}

    def found(self, z: pd.DataFrame, who: NDArray[np.bool_]) -> Floats:
        """`person_auc` of people, NaN for others than `who`, [n].

        Args:
            z: Calibrated, by id and `<modality>.<region>`.
            who: Of whom, [n].
        """
        planted = self.effect.reindex(index=z.index, columns=z.columns).to_numpy(float)
        return np.where(who, person_auc(z.to_numpy(float), planted), np.nan)

    def ceilings(self, run: Run) -> Iterator[tuple[str, str, Estimate]]:
        """(score, method, correlation of the true severity with it): what no deviation can be expected to pass."""
        if self.severity is None:
            return
        severity = self.severity.reindex(run.results.z.index)
        for name in run.results.named("scores"):
            score = run.results.subjects[name].to_numpy(float)
            score = score * _sign(run.results.config, name)
            for method in ("pearson", "spearman"):
                yield name, method.capitalize(), correlation(severity, score, method=method)


def mean_over_cohorts(value: ArrayLike, drawn: ArrayLike, *, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    r"""A figure of several cohorts, such as of several seeds, together; a bootstrap over cohorts and over people.

    .. math:: \hat\theta = \frac1K \sum_k \hat\theta_k, \qquad
        \mathrm{se} = \sqrt{\tfrac{K}{K-1}}\ \mathrm{SD}(\hat\theta^*), \qquad
        \hat\theta \pm t_{K-1}(.975)\, \mathrm{se}

    Each draw takes K cohorts, and of each the figure of as many people as it has. The factor and the t quantile are for
    few cohorts: a plain bootstrap of 3 has two thirds of the variance.

    Args:
        value: Of every cohort, [K, ...].
        drawn: The same of people drawn anew, [K, draws, ...].
        seed: Of the draws.

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
        raise InputError("mean_over_cohorts", f"{k} cohorts", "at least two", "give more, or the figure as it is")
    cohorts = rng.integers(0, k, (REPEATS, k))
    around = again[cohorts, rng.integers(0, again.shape[1], cohorts.shape)].mean(1)
    se = around.std(0, ddof=1) * np.sqrt(k / (k - 1))
    mean, reach = each.mean(0), special.stdtrit(k - 1, 0.975) * se
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * special.stdtr(k - 1, -np.abs(mean / se))
    return mean, mean - reach, mean + reach, p


def over_cohorts(people: Sequence[pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """Localisation of several cohorts together, see `mean_over_cohorts`; the same people are drawn for all models.

    Args:
        people: One frame a cohort: a row a person, a column a model, the first model first: `compare(...,
            truth=...).attrs["planted"][about]`.
        seed: Of the draws.

    Returns:
        A row a model: value, low, high; gain over the first model, gain_low, gain_high, p; cohorts, n.

    Raises:
        InputError: For fewer than two cohorts, or other models.

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
    drawn = np.stack([table[rng.integers(0, len(table), (REPEATS, len(table)))].mean(1) for table in tables])
    own = mean_over_cohorts(value, drawn, seed=seed)
    gain = mean_over_cohorts(value - value[:, :1], drawn - drawn[..., :1], seed=seed)
    columns = dict(zip(("value", "low", "high"), own, strict=False))
    columns |= dict(zip(("gain", "gain_low", "gain_high", "p"), gain, strict=True))
    frame = pd.DataFrame(columns, index=pd.Index(names, name="model"))
    frame = frame.assign(cohorts=len(people), n=sum(map(len, tables)))
    frame.iloc[0, 3:7] = np.nan
    return frame


def _sign(config: dict[str, Any], score: str) -> int:
    return -1 if config["data"]["scores"][score] == "higher_is_better" else 1
