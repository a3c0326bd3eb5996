"""Questions: what is asked of every run."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pyro_mmnorm.comparison.paired import Answer
from pyro_mmnorm.comparison.runs import Run
from pyro_mmnorm.findings import TEST_CONTROLS
from pyro_mmnorm.findings.tables import LEVEL

__all__ = ["Question", "questions"]

type Floats = NDArray[np.float64]

COVERAGE = {50: 0.6744897501960817, 95: 1.959963984540054}


class Question(NamedTuple):
    """A figure that is asked of every run.

    Args:
        part: Heading that it stands under.
        measure: What is measured.
        about: Of which group or score.
        ideal: Where it should be; None: the more the better.
        runs: Who is asked.
        answer: Computes it.
    """

    part: str
    measure: str
    about: str
    ideal: float | None
    runs: Sequence[Run]
    answer: Callable[[], Answer]


def questions(runs: Sequence[Run]) -> Iterator[Question]:
    """All that runs on the same people can be asked.

    * Stages: slope of the person's score over the stages (test controls, then the groups in their order), and the first
      stage against test controls, both in SDs of the test controls, so that a score with wide z gains nothing; AUC of
      every group against test controls.
    * At a matched healthy rate: people with omnibus p <= .05, and regions with conformal p <= .05: their thresholds are
      set on calibration controls, and the rate of test controls stands beside.
    * Scores: correlation of the person's score with every clinical score, turned so that illness gives a positive one.
    * Calibration, on test controls: SD of z, coverage, people with any region of q < .05.
    * Evidence: mean log density of test controls, where runs wrote it of the same values.
    """
    first = runs[0]
    label, order = first.label.to_numpy(str), [TEST_CONTROLS, *first.results.groups]
    groups = [name for name in order if (label == name).any()]
    yield from _stages(runs, label, groups)
    yield from _matched(runs, label, groups)
    yield from _scores(runs, label)
    if TEST_CONTROLS in groups:
        yield from _calibration(runs, label == TEST_CONTROLS)


def _stages(runs: Sequence[Run], label: NDArray[np.str_], groups: list[str]) -> Iterator[Question]:
    if TEST_CONTROLS not in groups or len(groups) < 2:
        return
    stage = np.array([groups.index(name) for name in label], float)
    tables = [np.stack([run.score, stage], 1) for run in runs]
    if len(groups) > 2:
        yield _boot(runs, ("Groups", "slope per stage", ", ".join(groups)), _slope, tables, label)
    yield _boot(runs, ("Groups", "first stage, in SDs of test controls", groups[1]), _first_stage, tables, label)
    for name in groups[1:]:
        rows = (label == name) | (label == TEST_CONTROLS)
        scores, case = [run.score[rows] for run in runs], label[rows] == name
        yield Question("Groups", "AUC", name, None, runs, partial(Answer.of_auc, scores, case))


def _matched(runs: Sequence[Run], label: NDArray[np.str_], groups: list[str]) -> Iterator[Question]:
    part = "At a matched rate among healthy people"
    for name in groups:
        rows, ideal = label == name, LEVEL if name == TEST_CONTROLS else None
        people = [(run.results.subjects["omnibus_p"].to_numpy(float)[rows], LEVEL) for run in runs]
        tables = [np.where(np.isfinite(p), p <= level, np.nan)[:, None] for p, level in people]
        yield _boot(runs, (part, "share of people, omnibus p ≤ .05", name), _mean, tables, label[rows], ideal)
        cells = [_counted(run.p[rows] <= LEVEL, np.isfinite(run.p[rows])) for run in runs]
        yield _boot(runs, (part, "share of regions, conformal p ≤ .05", name), _share, cells, label[rows], ideal)


def _scores(runs: Sequence[Run], label: NDArray[np.str_]) -> Iterator[Question]:
    subjects, told = runs[0].results.subjects, runs[0].results.config.get("data", {}).get("scores") or {}
    deviation = [run.score for run in runs]
    for name in runs[0].results.named("scores"):
        outcome = subjects[name].to_numpy(float) * (-1 if told[name] == "higher_is_better" else 1)
        answer = partial(Answer.of_pearson, deviation, outcome)
        yield Question("Scores", "Pearson", name, None, runs, answer)
        tables = [np.stack([x, outcome], 1) for x in deviation]
        yield _boot(runs, ("Scores", "Spearman", name), _spearman, tables, np.zeros(len(label)))
        within = [_centred(x, outcome, label) for x in (*deviation, outcome)]
        answer = partial(Answer.of_pearson, within[:-1], within[-1])
        yield Question("Scores", "Pearson within groups", name, None, runs, answer)


def _calibration(runs: Sequence[Run], controls: NDArray[np.bool_]) -> Iterator[Question]:
    part, same = "Calibration", np.zeros(int(controls.sum()))
    z = [run.results.z.to_numpy(float)[controls] for run in runs]
    sums = [np.stack([np.isfinite(x).sum(1), np.nansum(x, 1), np.nansum(x**2, 1)], 1).astype(float) for x in z]
    yield _boot(runs, (part, "SD of z", TEST_CONTROLS), _sd, sums, same, 1.0)
    for level, edge in COVERAGE.items():
        cells = [_counted(np.abs(x) <= edge, np.isfinite(x)) for x in z]
        yield _boot(runs, (part, f"coverage {level} %", TEST_CONTROLS), _share, cells, same, level / 100)
    flags = [(run.results.subjects["n_significant"].to_numpy(float)[controls, None] > 0).astype(float) for run in runs]
    yield _boot(runs, (part, "share of people with any q < .05", TEST_CONTROLS), _mean, flags, same, LEVEL)
    able = [runs[0], *(run for run in runs[1:] if run.has_evidence_like(runs[0]))]
    if len(able) > 1:
        nats = [run.results.subjects["log_evidence"].to_numpy(float)[controls, None] for run in able]
        yield _boot(able, ("Held-out evidence", "nats per person", TEST_CONTROLS), _mean, nats, same)


def _boot(
    runs: Sequence[Run],
    names: tuple[str, str, str],
    statistic: Callable[[Floats], Floats],
    tables: Sequence[Floats],
    strata: NDArray[np.generic],
    ideal: float | None = None,
) -> Question:
    answer = partial(Answer.by_bootstrap, statistic, tables, strata, ideal=ideal)
    return Question(*names, ideal, runs, answer)


def _counted(yes: NDArray[np.bool_], seen: NDArray[np.bool_]) -> Floats:
    """Cells of each person that are so, and observed cells, [n, 2]."""
    return np.stack([(yes & seen).sum(1), seen.sum(1)], 1).astype(float)


# Statistics of tables [..., n, k], one number a table.


def _mean(table: Floats) -> Floats:
    mean: Floats = table.mean((-2, -1))
    return mean


def _share(cells: Floats) -> Floats:
    yes, seen = np.moveaxis(cells.sum(-2), -1, 0)
    return np.divide(yes, seen, out=np.full(np.shape(yes), np.nan), where=seen > 0)


def _sd(sums: Floats) -> Floats:
    n, one, two = np.moveaxis(sums.sum(-2), -1, 0)
    return np.sqrt(np.maximum(two - one**2 / n, 0) / (n - 1))


def _slope(table: Floats) -> Floats:
    score, stage = _standard(table)
    centred = stage - stage.mean(-1, keepdims=True)
    slope: Floats = (centred * score).sum(-1) / (centred**2).sum(-1)
    return slope


def _first_stage(table: Floats) -> Floats:
    score, stage = _standard(table)
    return _average(score, stage == 1)[..., 0]


def _standard(table: Floats) -> tuple[Floats, Floats]:
    """Score in SDs of the test controls from their mean, and stage, [..., n] each."""
    score, stage = np.moveaxis(table, -1, 0)
    controls = stage == 0
    away = score - _average(score, controls)
    n = controls.sum(-1, keepdims=True)
    spread = np.sqrt(_average(away**2, controls) * n / (n - 1))
    return np.divide(away, spread, out=np.full(away.shape, np.nan), where=spread > 0), stage


def _average(x: Floats, rows: NDArray[np.bool_]) -> Floats:
    """Mean over some of the people, [..., 1]."""
    mean: Floats = np.where(rows, x, 0.0).sum(-1, keepdims=True) / rows.sum(-1, keepdims=True)
    return mean


def _spearman(table: Floats) -> Floats:
    ranks = rankdata(table, axis=-2)
    ranks = ranks - ranks.mean(-2, keepdims=True)
    size = np.sqrt((ranks**2).sum(-2).prod(-1))
    return np.divide(ranks.prod(-1).sum(-1), size, out=np.full(np.shape(size), np.nan), where=size > 0)


def _centred(x: Floats, outcome: Floats, label: NDArray[np.str_]) -> Floats:
    """Less the mean of the group, over those who have the outcome."""
    out = np.where(np.isfinite(outcome), x, np.nan)
    for name in np.unique(label):
        rows = label == name
        if np.isfinite(out[rows]).any():
            out[rows] -= np.nanmean(out[rows])
    return out
