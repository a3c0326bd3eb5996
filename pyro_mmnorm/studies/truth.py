"""Truth: what was planted in a simulated cohort, and how well each model finds it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from pyro_mmnorm.comparison.paired import Answer
from pyro_mmnorm.comparison.runs import Run
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.statistics import Estimate, correlation

__all__ = ["PLANTED", "Truth", "person_auc"]

type Floats = NDArray[np.float64]

PLANTED = 1.0
"""A region counts as changed from this size of its planted effect on, in SD of healthy people."""


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
        told: Sort of the effect: `local`, `along`, or `effect`.
    """

    effect: pd.DataFrame
    severity: pd.Series | None
    told: str

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
            return cls(effect=effect, severity=None, told="effect")
        people = pd.read_csv(hidden, dtype={"participant_id": str}, keep_default_na=False).set_index("participant_id")
        classes = [name for name in people["effect_class"].unique() if name]
        return cls(effect=effect, severity=people["severity"].astype(float), told=" and ".join(classes) or "effect")

    @property
    def about(self) -> str:
        """The class of the effect in words."""
        return {"along": "along normal variation"}.get(self.told, self.told)

    def localisation(self, runs: Sequence[Run]) -> list[tuple[Run, Estimate, Estimate | None]]:
        """Mean AUC over people of every run of all regions, and its gain over the first; paired bootstrap over people.

        Raises:
            InputError: When fewer than 3 people have both changed and unchanged regions.
        """
        first = runs[0].results
        able = [run for run in runs if list(run.results.z) == list(first.z)]
        planted = self.effect.reindex(index=first.z.index, columns=first.z.columns).to_numpy(float)
        tables = [person_auc(run.results.z.to_numpy(float), planted)[:, None] for run in able]
        answer = Answer.by_bootstrap(lambda table: table.mean((-2, -1)), tables, runs[0].label.to_numpy(str))
        return list(zip(able, answer.figures, [None, *answer.gains], strict=True))

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


def _sign(config: dict[str, Any], score: str) -> int:
    return -1 if config["data"]["scores"][score] == "higher_is_better" else 1
