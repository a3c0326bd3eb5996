"""Comparison: several runs on the same people, side by side, with paired tests."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyro_mmnorm.comparison.page import page
from pyro_mmnorm.comparison.questions import Question, questions
from pyro_mmnorm.comparison.runs import Run, read_runs
from pyro_mmnorm.comparison.words import sentence
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.files import atomic_write
from pyro_mmnorm.statistics import holm

__all__ = ["compare"]


def compare(folders: Sequence[str | Path], out: str | Path | None = None) -> pd.DataFrame:
    """Several runs on the same test and target subjects, side by side.

    Args:
        folders: Run folders; every other run is compared with the first.
        out: Folder for compare.csv, compare.json and compare.html; None: nothing is written.

    Returns:
        A row per question (see docs/compare.md) and run: part, measure, about, ideal (where the figure should be; NaN:
        the more the better), run, value with low and high (95 %), n, test; for every run but the first also gain over
        the first (positive: better), gain_low, gain_high, gain_test, p, p_holm (over all rows) and a sentence.
        `attrs["notes"]` says what was left out and why.

    Raises:
        InputError: For fewer than two runs, a folder that is no run, or other people, splits or groups.

    Examples:
        >>> compare(["runs/factor_analysis"])
        Traceback (most recent call last):
        ...
        pyro_mmnorm.errors.InputError: compare: 1 runs; expected at least two. Give another run folder.
    """
    runs = read_runs(folders)
    notes = list(_notes(runs))
    rows: list[dict[str, Any]] = []
    for question in questions(runs):
        try:
            rows += _rows(question)
        except InputError as error:
            about = f"{question.measure}, {question.about}"
            notes.append(f"Left out: {about}: {error.got}; {error.expected} needed.")
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = float(p)
        row["sentence"] = sentence(row, runs[0].name)
    table = pd.DataFrame(rows)
    table.attrs["notes"] = notes
    if out is not None:
        _write(Path(out), table, runs)
    return table


def _rows(question: Question) -> list[dict[str, Any]]:
    answer = question.answer()
    head = {name: getattr(question, name) for name in ("part", "measure", "about")}
    head["ideal"] = np.nan if question.ideal is None else question.ideal
    return [
        {
            **head,
            "run": run.name,
            **{name: getattr(figure, name) for name in ("value", "low", "high", "n", "test")},
            "reference": answer.figures[0].value,
            "gain": gain.value if gain else np.nan,
            "gain_low": gain.low if gain else np.nan,
            "gain_high": gain.high if gain else np.nan,
            "gain_test": gain.test if gain else None,
            "p": gain.p if gain else np.nan,
        }
        for run, figure, gain in zip(question.runs, answer.figures, [None, *answer.gains], strict=True)
    ]


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    """What a reader must know of these runs."""
    first = runs[0]
    yield (
        "Gains are over the first run, and positive where a run is better. Intervals hold the chance of who was "
        "scored, test controls and patients alike; models and calibration stay as they are."
    )
    for run in runs[1:]:
        if list(run.results.z) != list(first.results.z):
            yield f"{run.name} has other regions than {first.name}: figures over regions are of different regions."
        if not run.has_evidence_like(first):
            yield f"{run.name} and {first.name} have no evidence of the same values in the same units."
        if run.results.primary != first.results.primary:
            yield f"{run.name} is of kind {run.results.primary}, {first.name} of {first.results.primary}."


def _write(out: Path, table: pd.DataFrame, runs: Sequence[Run]) -> None:
    atomic_write(out / "compare.csv", table.to_csv(index=False))
    told = {
        "runs": [{"name": run.name, "model": run.described, "kind": run.results.primary} for run in runs],
        "first": runs[0].name,
        "rows": json.loads(table.to_json(orient="records")),
        "notes": table.attrs["notes"],
    }
    atomic_write(out / "compare.json", json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False))
    atomic_write(out / "compare.html", page(table, runs))
