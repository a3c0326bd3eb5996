"""The table of a study: every metric of every model, with n, interval, and the range over training seeds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyro_mmnorm.app.compare.compare import compare, corrected
from pyro_mmnorm.app.compare.comparison_metrics import metrics
from pyro_mmnorm.app.compare.gain_sentences import sentences
from pyro_mmnorm.app.compare.planted import Truth
from pyro_mmnorm.app.compare.runs import Model, Run, read_runs
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.results.schema import TEST_CONTROLS

__all__ = ["ON_ITS_SCALE", "study_table"]

ON_ITS_SCALE = "Mean |z| on its own scale"
"""Part of the table with the slope and the stage means of the poster."""

KEYS = ["part", "measure", "about"]
GAINS = ("gain", "gain_low", "gain_high", "gain_test", "p", "reference")


def study_table(folders: Mapping[str, Sequence[Path]], truth: Path | None) -> pd.DataFrame:
    """Every metric of every model.

    Args:
        folders: Model -> its run folders by training seed; the other models are compared with the first.
        truth: Folder of the planted effects, if known.

    Returns:
        A row per metric and model: part, measure, about, ideal, model, run; value, low, high, n and test of its first
        seed; seeds, seeds_low, seeds_high: number of trainings, and the lowest and highest value among them; and for
        all models except the first the paired gain over it with gain_low, gain_high, p, p_holm (Holm over all rows
        except those of the primary endpoint) and a sentence. `attrs["notes"]` lists what was left out.

    Raises:
        InputError: As `compare`.
    """
    of_run = {folder.name: model for model, runs in folders.items() for folder in runs}
    first = [runs[0] for runs in folders.values()]
    table = _first_seed(first, truth)
    notes = table.attrs["apart"]
    later = [pd.DataFrame(_values(_runs(runs), truth)) for runs in _later(folders)]
    everything = pd.concat([table[[*KEYS, "run", "value"]], *later], ignore_index=True)
    everything["model"] = everything["run"].map(of_run)
    spread = everything.groupby([*KEYS, "model"])["value"].agg(["count", "min", "max"])
    table = table.assign(model=table["run"].map(of_run)).join(spread, on=[*KEYS, "model"])
    table = table.rename(columns={"count": "seeds", "min": "seeds_low", "max": "seeds_high"})
    table["p_holm"] = corrected(table)
    table["sentence"] = sentences(table, first[0].name)
    table.attrs["notes"] = notes
    return table


def _later(folders: Mapping[str, Sequence[Path]]) -> Iterator[list[Path]]:
    """The runs of the second seed, of the third, and so on."""
    for i in range(1, max(len(runs) for runs in folders.values())):
        yield [runs[i] for runs in folders.values() if len(runs) > i]


def _runs(folders: Sequence[Path]) -> list[Run]:
    return read_runs(_two(folders))[: len(folders)]


def _two(folders: Sequence[Path]) -> list[Path]:
    """A single model is compared with itself."""
    return [*folders, *folders] if len(folders) == 1 else list(folders)


def _first_seed(folders: Sequence[Path], truth: Path | None) -> pd.DataFrame:
    """The rows of runs of one seed."""
    compared = compare(_two(folders), truth=truth)
    rows = [row for run in _runs(folders) for row in _own(run)]
    table = pd.concat([compared, pd.DataFrame(rows)], ignore_index=True)
    table = table[table["run"].isin([folder.name for folder in folders])].reset_index(drop=True)
    table.attrs = compared.attrs
    return table


def _values(runs: Sequence[Run], truth: Path | None) -> Iterator[dict[str, Any]]:
    """The values of `_first_seed` without intervals."""
    planted = None if truth is None else Truth.beside(truth)
    for metric in metrics([Model(run.name, [run]) for run in runs], planted):
        with suppress(InputError):
            for model, value in zip(metric.models, metric.values(), strict=True):
                yield {**dict(zip(KEYS, metric[:3], strict=True)), "run": model.name, "value": value}
    yield from (row for run in runs for row in _own(run))


def _own(run: Run) -> Iterator[dict[str, Any]]:
    """Metrics on the scale of the poster, which `compare` does not compute."""
    findings, groups = run.results.findings, run.results.groups
    trend = findings.get("trend", {}).get("mean_abs_z", {}).get("raw", {})
    stages = ", ".join([TEST_CONTROLS, *groups])
    records = [
        ("slope per stage of mean |z|", stages, trend.get("slope", {})),
        ("mean |z| less that of test controls", groups[0], trend.get("first_stage", {})),
    ]
    for name, figures in findings.get("groups", {}).items():
        records.append(("mean |z|", name, figures.get("mean_abs_z", {})))
    for measure, about, figure in records:
        if "value" in figure:
            estimate = {name: figure[name] for name in ("value", "low", "high", "n", "test")}
            ideal = figure.get("null", np.nan) if about == TEST_CONTROLS else np.nan
            head = {"part": ON_ITS_SCALE, "measure": measure, "about": about, "run": run.name}
            yield {**head, **dict.fromkeys(GAINS, np.nan), **estimate, "ideal": ideal}
