"""Comparison of several runs on the same people, with paired tests."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyro_mmnorm.app.compare.compare_page import page
from pyro_mmnorm.app.compare.comparison_metrics import PRIMARY, Metric, metrics
from pyro_mmnorm.app.compare.gain_sentences import sentences
from pyro_mmnorm.app.compare.planted import Truth, over_cohorts
from pyro_mmnorm.app.compare.refits import can_refit, refits
from pyro_mmnorm.app.compare.runs import Model, Run, models_of, read_runs
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.files import atomic_write
from pyro_mmnorm.stats.multiplicity import holm

__all__ = ["compare", "corrected", "over_cohorts"]


def compare(
    folders: Sequence[str | Path], out: str | Path | None = None, *, truth: str | Path | None = None
) -> pd.DataFrame:
    """Compare several runs on the same test and target subjects.

    Args:
        folders: Run folders; every other model is compared with the first. Folders named x-seed1, x-seed2, ... are
            one model x, trained several times.
        out: Folder for compare.csv, compare.json and compare.html; None: nothing is written.
        truth: For a simulated cohort, the folder with effect.csv and, optionally, hidden.csv.

    Returns:
        A row per metric (see docs/compare.md) and model: part, measure, about, ideal (the ideal value; NaN if larger is
        better), run, value with low and high (95 %), n, test, trainings with spread_low and spread_high (the smallest
        and the largest value of a single training; value is the mean); for every model except the first also gain over
        the first (positive: better), gain_low, gain_high, gain_test, p, p_holm (over all rows except those of the
        primary endpoint, where it is p) and a sentence.
        `attrs["notes"]` has notes for the reader, and `attrs["apart"]` those of them on differences between the runs
        and on metrics that were left out; with a truth, `attrs["planted"]` has, by class of planted effect, a frame of
        the localisation of every person by every model, for `over_cohorts`.

    Raises:
        InputError: For fewer than two runs, a folder that is not a run, different people, splits or groups, or a truth
            without effect.csv.

    Examples:
        >>> compare(["runs/factor_analysis"])
        Traceback (most recent call last):
        ...
        pyro_mmnorm.core.errors.InputError: compare: 1 runs; expected at least two. Give another run folder.
    """
    runs, planted = read_runs(folders), None if truth is None else _truth(truth)
    models = models_of(runs)
    apart = list(_apart(models))
    rows: list[dict[str, Any]] = []
    refitted = _under_refits(models, planted)
    for metric in metrics(models, planted):
        try:
            rows += _rows(metric, refitted.get(metric[:3]))
        except InputError as error:
            about = f"{metric.measure}, {metric.about}"
            apart.append(f"Left out: {about}: {error.got}; {error.expected} needed.")
    table = pd.DataFrame(rows)
    table["p_holm"] = corrected(table)
    table["sentence"] = sentences(table, models[0].name)
    table.attrs["apart"] = apart
    table.attrs["notes"] = [*_notes(models), *apart, *_of_truth(planted, models[0].runs[0])]
    if planted is not None:
        table.attrs["planted"] = _by_person(planted, models)
    if out is not None:
        _write(Path(out), table, models)
    return table


def corrected(table: pd.DataFrame) -> pd.Series:
    """Holm-adjusted p over all rows except those of the primary endpoint, whose p is unchanged.

    Args:
        table: With part and p.

    Examples:
        >>> table = pd.DataFrame({"part": ["Primary endpoint", "Groups", "Scores"], "p": [0.03, 0.02, 0.5]})
        >>> corrected(table).tolist()
        [0.03, 0.04, 0.5]
    """
    p, rest = table["p"].astype(float), table["part"] != PRIMARY
    return p.mask(rest, pd.Series(holm(p[rest].to_list()), p.index[rest]))


def _truth(folder: str | Path) -> Truth:
    truth = Truth.beside(folder)
    if truth is None:
        todo = "give the folder of its tables"
        raise InputError(str(folder), "no effect.csv", "a cohort that `mmnorm simulate` wrote", todo)
    return truth


def _by_person(truth: Truth, models: Sequence[Model]) -> dict[str, pd.DataFrame]:
    """Class of planted effect -> localisation in each person by each model with all regions, mean over trainings."""
    first = models[0].runs[0].results.z
    able = [model for model in models if list(model.runs[0].results.z) == list(first)]
    return {
        about: pd.DataFrame(
            {m.name: np.mean([truth.localisation(run.results.z, rows) for run in m.runs], 0) for m in able},
            index=first.index,
        )
        for about, rows in truth.classes(first.index).items()
    }


def _under_refits(models: Sequence[Model], truth: Truth | None) -> dict[tuple[str, str, str], NDArray[np.float64]]:
    """(part, measure, about) -> the values of all models under each refit, [refits, models]."""
    found: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}
    for refitted in refits(models):
        for metric in metrics(refitted, truth):
            with suppress(InputError):  # left out, with a note from `compare`
                values = metric.values()
                found.setdefault(metric[:3], []).append(values)
    return {key: np.stack(values) for key, values in found.items()}


def _rows(metric: Metric, refitted: NDArray[np.float64] | None) -> list[dict[str, Any]]:
    paired = metric.estimate()
    if refitted is not None:
        paired = paired.widened(refitted, metric.ideal, metric.limits)
    head = {name: getattr(metric, name) for name in ("part", "measure", "about")}
    head["ideal"] = np.nan if metric.ideal is None else metric.ideal
    parts = zip(metric.models, paired.estimates, paired.by_seed, [None, *paired.gains], strict=True)
    return [
        {
            **head,
            "run": model.name,
            **{name: getattr(estimate, name) for name in ("value", "low", "high", "n", "test")},
            "trainings": len(seeds),
            "spread_low": min(seeds) if len(seeds) > 1 else np.nan,
            "spread_high": max(seeds) if len(seeds) > 1 else np.nan,
            "reference": paired.estimates[0].value,
            "gain": gain.value if gain else np.nan,
            "gain_low": gain.low if gain else np.nan,
            "gain_high": gain.high if gain else np.nan,
            "gain_test": gain.test if gain else None,
            "p": gain.p if gain else np.nan,
        }
        for model, estimate, seeds, gain in parts
    ]


def _notes(models: Sequence[Model]) -> Iterator[str]:
    """Notes on how to read the values."""
    yield (
        "Gains are over the first run, and positive if a run is better. Intervals cover the sampling error of the "
        "scored people, both test controls and patients; they do not cover retraining."
    )
    if unable := [run.name for model in models for run in model.runs if not can_refit(run)]:
        yield (
            "Intervals do not cover the sampling error of the calibration, because the folder of "
            f"{unable[0]} has no data of the calibration controls."
        )
    else:
        yield (
            "Intervals of metrics of z also cover the sampling error of the calibration; those of p and omnibus p are "
            "given the calibration."
        )
    for model in models:
        if len(model.runs) > 1:
            yield (
                f"{model.name} was trained {len(model.runs)} times: its values are means over trainings. The range "
                "over trainings shows the effect of the training seed, not the sampling error of people."
            )


def _apart(models: Sequence[Model]) -> Iterator[str]:
    """How runs differ from the first."""
    first = models[0].runs[0]
    for run in (model.runs[0] for model in models[1:]):
        if list(run.results.z) != list(first.results.z):
            yield f"{run.name} and {first.name} have different regions; metrics over regions are of different regions."
        if not run.has_evidence_like(first):
            yield f"{run.name} and {first.name} have no log evidence of the same values in the same units."
        if run.results.primary != first.results.primary:
            yield f"{run.name} is of kind {run.results.primary}, {first.name} of {first.results.primary}."


def _of_truth(truth: Truth | None, first: Run) -> Iterator[str]:
    """Notes on the planted effect."""
    if truth is not None:
        yield f"The planted effect is {truth.about}; classes of effects are never averaged."
        for score, method, one in truth.ceilings(first):
            yield (
                f"{method} correlation of the true severity with {score}, the upper limit expected for any deviation: "
                f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}], n {one.n}."
            )


def _write(out: Path, table: pd.DataFrame, models: Sequence[Model]) -> None:
    atomic_write(out / "compare.csv", table.to_csv(index=False))
    content = {
        "runs": [_described(model) for model in models],
        "first": models[0].name,
        "rows": json.loads(table.to_json(orient="records")),
        "notes": table.attrs["notes"],
    }
    atomic_write(out / "compare.json", json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
    atomic_write(out / "compare.html", page(table, models))
    for about, people in table.attrs.get("planted", {}).items():
        name = f"planted_{about.replace(' ', '_')}.csv"
        atomic_write(out / name, people.dropna().to_csv())


def _described(model: Model) -> dict[str, Any]:
    run: Run = model.runs[0]
    return {"name": model.name, "model": run.described, "kind": run.results.primary, "trainings": len(model.runs)}
