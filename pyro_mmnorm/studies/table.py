"""Table: every figure of every model of a study, with n, interval, and the spread over training seeds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyro_mmnorm.comparison import compare, corrected
from pyro_mmnorm.comparison.runs import Run, read_runs
from pyro_mmnorm.comparison.truth import PLANTED, Truth
from pyro_mmnorm.comparison.words import sentence
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.findings import TEST_CONTROLS
from pyro_mmnorm.statistics import Estimate

__all__ = ["FREQUENCY", "ON_ITS_SCALE", "TRUTH", "study_table"]

ON_ITS_SCALE = "Mean |z| on its own scale"
"""Part of the table that has the poster's slope and stage means."""

FREQUENCY = "Frequency of significance, averaged over regions"
"""Part of the table on how often regions are significant."""

TRUTH = "Known truth"
"""Part of the table on planted effects."""

KEYS = ["part", "measure", "about"]
GAINS = ("gain", "gain_low", "gain_high", "gain_test", "p", "reference")


def study_table(folders: Mapping[str, Sequence[Path]], truth: Truth | None) -> pd.DataFrame:
    """Every figure of every model.

    Args:
        folders: Model -> its run folders by training seed; the first model is what the others are compared with.
        truth: What was planted, where it is known.

    Returns:
        A row per figure and model: part, measure, about, ideal, model, run; value, low, high, n and test of its first
        seed; seeds, seeds_low, seeds_high: number of trainings, and the lowest and highest value among them; and for
        all models but the first the paired gain over it with gain_low, gain_high, p, p_holm (Holm over all rows but
        those of the primary endpoint) and a sentence. `attrs["notes"]` says what was left out.

    Raises:
        InputError: As `compare`.
    """
    of_run = {folder.name: model for model, runs in folders.items() for folder in runs}
    first = [runs[0] for runs in folders.values()]
    notes: list[str] = []
    table = _one_seed(first, truth, notes)
    later = [_one_seed(runs, truth, []) for runs in _later(folders)]
    everything = pd.concat([table, *later], ignore_index=True)
    everything["model"] = everything["run"].map(of_run)
    spread = everything.groupby([*KEYS, "model"])["value"].agg(["count", "min", "max"])
    table = table.assign(model=table["run"].map(of_run)).join(spread, on=[*KEYS, "model"])
    table = table.rename(columns={"count": "seeds", "min": "seeds_low", "max": "seeds_high"})
    table["p_holm"] = corrected(table)
    table["sentence"] = [
        sentence({str(key): x for key, x in row.items()}, first[0].name) for row in table.to_dict("records")
    ]
    table.attrs["notes"] = notes
    return table


def _later(folders: Mapping[str, Sequence[Path]]) -> Iterator[list[Path]]:
    """The runs of the second seed, of the third, and so on."""
    for i in range(1, max(len(runs) for runs in folders.values())):
        yield [runs[i] for runs in folders.values() if len(runs) > i]


def _one_seed(folders: Sequence[Path], truth: Truth | None, notes: list[str]) -> pd.DataFrame:
    """The rows of runs of one seed."""
    told = compare([*folders, *folders] if len(folders) == 1 else folders)
    notes += told.attrs["notes"]
    runs = read_runs([*folders, *folders] if len(folders) == 1 else folders)[: len(folders)]
    rows = [row for run in runs for row in _own(run)]
    if truth is not None:
        rows += _of_truth(truth, runs)
    table = pd.concat([told, pd.DataFrame(rows)], ignore_index=True)
    return table[table["run"].isin([folder.name for folder in folders])].reset_index(drop=True)


def _row(part: str, measure: str, about: str, run: Run, figure: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(("ideal", *GAINS), np.nan)
    told = {name: figure[name] for name in ("value", "low", "high", "n", "test")}
    return {"part": part, "measure": measure, "about": about, "run": run.name, **empty, **told, **more}


def _own(run: Run) -> Iterator[dict[str, Any]]:
    """What `compare` does not ask: the poster's own scale, and how often regions are significant."""
    findings, groups = run.results.findings, run.results.groups
    trend = findings.get("trend", {}).get("mean_abs_z", {}).get("raw", {})
    stages = ", ".join([TEST_CONTROLS, *groups])
    asked = [
        (ON_ITS_SCALE, "slope per stage", stages, trend.get("slope", {})),
        (ON_ITS_SCALE, "difference from test controls", groups[0], trend.get("first_stage", {})),
    ]
    for name, figures in findings.get("groups", {}).items():
        asked.append((ON_ITS_SCALE, "mean", name, figures.get("mean_abs_z", {})))
    for name, figures in findings.get("significance", {}).items():
        asked.append((FREQUENCY, "share of people with p < .05", name, figures.get("regions", {})))
    for part, measure, about, figure in asked:
        if "value" in figure:
            if part == FREQUENCY:  # a share of few people: the interval of a mean may pass the ends
                figure = {**figure, "low": max(0.0, figure["low"]), "high": min(1.0, figure["high"])}
            healthy = about == TEST_CONTROLS
            yield _row(part, measure, about, run, figure, ideal=figure.get("null", np.nan) if healthy else np.nan)


def _of_truth(truth: Truth, runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """How well the planted regions are found."""
    measure = f"AUC of |z| for regions with a planted effect of {PLANTED:g} SD or more, mean over people"
    try:
        found = truth.localisation(runs)
    except InputError:
        return
    for run, figure, gain in found:
        yield _row(TRUTH, measure, truth.about, run, figure.to_dict(), **_gain(gain, found[0][1]))


def _gain(gain: Estimate | None, first: Estimate) -> dict[str, Any]:
    if gain is None:
        return {"reference": first.value}
    parts = {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high, "gain_test": gain.test, "p": gain.p}
    return {**parts, "reference": first.value}
