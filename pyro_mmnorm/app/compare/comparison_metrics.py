"""Questions: what is asked of every run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from pyro_mmnorm.app.compare.paired import PairedEstimates, Table, by_model
from pyro_mmnorm.app.compare.planted import Truth
from pyro_mmnorm.app.compare.runs import Model, Run
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.findings.summaries import poster_rule
from pyro_mmnorm.results.person_figures import LEVEL
from pyro_mmnorm.results.schema import TEST_CONTROLS
from pyro_mmnorm.stats.associations import adjusted, indicators, residuals
from pyro_mmnorm.stats.batched import (
    LIMITS,
    area,
    first_stage,
    log_ratio,
    mean,
    pearson,
    quotient,
    sd,
    share,
    slope,
    spearman,
    staged,
)

__all__ = ["MATCHED", "PLANTED", "PRIMARY", "SIGNIFICANCE", "Metric", "metrics"]

type Labels = NDArray[np.str_]
type Given = Mapping[str, Floats]

PRIMARY = "Primary endpoint"
"""Part of the table with the one figure named beforehand."""

SIGNIFICANCE = "Regions with p < .05"
"""Part of the table on how often regions are significant; no result by itself, since z that are too wide have more."""

MATCHED = "At a matched rate among healthy people"
"""Part of the table on people and regions beyond thresholds that the calibration controls set."""

PLANTED = "Planted regions"
"""Part of the table on who finds what was planted."""

COVERAGE = {50: 0.6744897501960817, 95: 1.959963984540054}


class Metric(NamedTuple):
    """A figure that is asked of every model.

    Args:
        part: Heading that it stands under.
        measure: What is measured.
        about: Of which group or score.
        ideal: Where it should be; None: the more the better.
        models: Who is asked.
        answer: Computes it, with intervals and gains.
        statistic: The figure of a table alone.
        tables: Of the runs of each model, for `statistic`.
    """

    part: str
    measure: str
    about: str
    ideal: float | None
    models: Sequence[Model]
    answer: Callable[[], PairedEstimates]
    statistic: Callable[[Floats], Floats]
    tables: Sequence[Table]

    def values(self) -> Floats:
        """The figure of every model alone, [models]."""
        if not self.tables:
            self.answer()  # tells why there is none
        return by_model(self.statistic, self.tables, np.zeros(len(self.tables[0][0])))

    @property
    def limits(self) -> tuple[float, float]:
        """What the figure cannot lie beyond."""
        return LIMITS.get(self.statistic, (-np.inf, np.inf))


def metrics(models: Sequence[Model], truth: Truth | None = None) -> Iterator[Metric]:
    """All that runs on the same people can be asked.

    * Primary endpoint: concordance of the person's score with the stage (Jonckheere-Terpstra), or the AUC where there
      is one target group.
    * Groups: slope of the score over the stages (test controls, then the groups in their order), and the first stage
      against test controls, both in SDs of the test controls, so that a score with wide z gains nothing; AUC of every
      group against test controls: of the score, adjusted, of the reconstruction error, and of each modality alone.
    * At a matched healthy rate: people with omnibus p <= .05, and regions with conformal p <= .05: their thresholds are
      set on calibration controls, and the rate of test controls stands beside; the likelihood ratio of the former.
    * Regions of p < .05, and by the poster's rule.
    * Scores: correlation of the person's score with every clinical score, turned so that illness gives a positive one;
      raw, adjusted for covariates and `data.adjust`, and within groups.
    * Calibration, on test controls: SD of z, coverage, people with any region of q < .05.
    * Evidence: mean log density of test controls, where runs wrote it of the same values.
    * Planted regions, where the truth is known: see `Truth`.
    """
    first = models[0].runs[0]
    label, order = first.label.to_numpy(str), [TEST_CONTROLS, *first.results.groups]
    groups, given = [name for name in order if (label == name).any()], _nuisance(first)
    if TEST_CONTROLS in groups and len(groups) > 1:
        yield from _stages(models, label, groups, given)
        yield from _areas(models, label, groups)
    yield from _matched(models, label, groups)
    yield from _significance(models, label, groups)
    yield from _scores(models, label, given)
    if TEST_CONTROLS in groups:
        yield from _calibration(models, label == TEST_CONTROLS)
    if truth is not None:
        yield from _planted(models, label, truth)


def _stages(models: Sequence[Model], label: Labels, groups: list[str], given: Given) -> Iterator[Metric]:
    stage, about = np.array([groups.index(name) for name in label], float), ", ".join(groups)
    for how, scores in _adjusted(models, label, given).items():
        tables = [[np.stack([x, stage], 1) for x in model] for model in scores]
        if len(groups) > 2:
            part = "Groups" if how else PRIMARY
            yield _boot(models, (part, f"concordance with stage{how}", about), staged, tables, label)
            yield _boot(models, ("Groups", f"slope per stage{how}", about), slope, tables, label)
        names = ("Groups", f"first stage, in SDs of test controls{how}", groups[1])
        two = stage <= 1
        yield _boot(models, names, first_stage, [[x[two] for x in model] for model in tables], label[two])
        for name in groups[1:]:
            part = PRIMARY if len(groups) == 2 and not how else "Groups"
            yield _area(models, (part, f"AUC{how}", name), scores, label, name)


def _areas(models: Sequence[Model], label: Labels, groups: list[str]) -> Iterator[Metric]:
    """AUC of other figures of a person than the score."""
    columns = {"mse": "reconstruction error"}
    columns |= {
        str(name): f"mean |z| of {str(name).removeprefix('mean_abs_z.')}"
        for name in models[0].runs[0].results.subjects
        if str(name).startswith("mean_abs_z.")
    }
    for column, words in columns.items():
        able = [m for m in models if all(run.results.subjects.get(column) is not None for run in m.runs)]
        if able[:1] == list(models[:1]):
            scores = _of(able, lambda run, c=column: run.results.subjects[c].to_numpy(float))  # type: ignore[misc]
            for name in groups[1:]:
                yield _area(able, ("Groups", f"AUC of {words}", name), scores, label, name)


def _matched(models: Sequence[Model], label: Labels, groups: list[str]) -> Iterator[Metric]:
    flags = _of(models, _stands_out)
    for name in groups:
        rows, ideal = label == name, LEVEL if name == TEST_CONTROLS else None
        own: list[Table] = [[x[rows, None] for x in model] for model in flags]
        yield _boot(models, (MATCHED, "share of people, omnibus p ≤ .05", name), share, own, label[rows], ideal)
        cells = _of(models, lambda run, r=rows: _counted(run.p[r] <= LEVEL, np.isfinite(run.p[r])))  # type: ignore[misc]
        yield _boot(models, (MATCHED, "share of regions, conformal p ≤ .05", name), quotient, cells, label[rows], ideal)
        if TEST_CONTROLS in groups and name != TEST_CONTROLS:
            both = rows | (label == TEST_CONTROLS)
            tables: list[Table] = [[np.stack([x, rows], 1)[both].astype(float) for x in model] for model in flags]
            yield _boot(
                models, (MATCHED, "log likelihood ratio, omnibus p ≤ .05", name), log_ratio, tables, label[both]
            )


def _significance(models: Sequence[Model], label: Labels, groups: list[str]) -> Iterator[Metric]:
    for name in groups:
        rows, ideal = label == name, LEVEL if name == TEST_CONTROLS else None
        z = _of(models, lambda run, r=rows: run.results.z.to_numpy(float)[r])  # type: ignore[misc]
        tables: list[Table] = [[_counted(np.abs(x) > COVERAGE[95], np.isfinite(x)) for x in model] for model in z]
        yield _boot(models, (SIGNIFICANCE, "share of regions, p < .05", name), quotient, tables, label[rows], ideal)
        ruled: list[Table] = [[_counted(poster_rule(x), np.isfinite(x)) for x in model] for model in z]
        yield _boot(models, (SIGNIFICANCE, "share of regions by the poster's rule", name), quotient, ruled, label[rows])


def _scores(models: Sequence[Model], label: Labels, given: Given) -> Iterator[Metric]:
    first = models[0].runs[0].results
    told = first.config.get("data", {}).get("scores") or {}
    deviation, same = _of(models, lambda run: run.score), np.zeros(len(label))
    for name in first.named("scores"):
        outcome = first.subjects[name].to_numpy(float) * (-1 if told[name] == "higher_is_better" else 1)
        yield _pearson(models, name, "", deviation, outcome)
        tables: list[Table] = [[np.stack([x, outcome], 1) for x in model] for model in deviation]
        yield _boot(models, ("Scores", "Spearman", name), spearman, tables, same)
        for how, columns in {", adjusted": given, " within groups": {"group": indicators(label)}}.items():
            if columns:
                yield from _partial(models, deviation, outcome, (how, name), columns)


def _partial(
    models: Sequence[Model], deviation: list[list[Floats]], outcome: Floats, names: tuple[str, str], columns: Given
) -> Iterator[Metric]:
    """Pearson and Spearman of what columns leave of scores and outcome, or of their ranks."""
    how, name = names
    table = np.stack([outcome, *(x for model in deviation for x in model)], 1)

    def rest(values: Floats) -> tuple[Floats, list[list[Floats]]]:
        left = residuals(values, columns)
        ends = np.cumsum([1, *map(len, deviation)])
        return left[:, 0], [list(left[:, a:b].T) for a, b in pairwise(ends.tolist())]

    complete = np.isfinite(table).all(1, keepdims=True)
    ranks = np.where(complete, rankdata(np.where(complete, table, np.inf), axis=0), np.nan)
    try:
        (y, scores), (of_y, of_scores) = rest(table), rest(ranks)
    except InputError as error:
        yield Metric("Scores", f"Pearson{how}", name, None, models, partial(_refused, error), pearson, [])
        return
    yield _pearson(models, name, how, scores, y)
    tables: list[Table] = [[np.stack([x, of_y], 1) for x in model] for model in of_scores]
    yield _boot(models, ("Scores", f"Spearman{how}", name), pearson, tables, np.zeros(len(y)))


def _pearson(models: Sequence[Model], name: str, how: str, scores: list[list[Floats]], outcome: Floats) -> Metric:
    tables: list[Table] = [[np.stack([x, outcome], 1) for x in model] for model in scores]
    answer = partial(PairedEstimates.of_pearson, scores, outcome)
    return Metric("Scores", f"Pearson{how}", name, None, models, answer, pearson, tables)


def _refused(error: InputError) -> PairedEstimates:
    raise error


def _calibration(models: Sequence[Model], controls: NDArray[np.bool_]) -> Iterator[Metric]:
    part, same = "Calibration", np.zeros(int(controls.sum()))
    z = _of(models, lambda run: run.results.z.to_numpy(float)[controls])
    sums: list[Table] = [
        [np.stack([np.isfinite(x).sum(1), np.nansum(x, 1), np.nansum(x**2, 1)], 1).astype(float) for x in model]
        for model in z
    ]
    yield _boot(models, (part, "SD of z", TEST_CONTROLS), sd, sums, same, 1.0)
    for level, edge in COVERAGE.items():
        cells: list[Table] = [[_counted(np.abs(x) <= edge, np.isfinite(x)) for x in model] for model in z]
        yield _boot(models, (part, f"coverage {level} %", TEST_CONTROLS), quotient, cells, same, level / 100)
    flags = _of(models, lambda run: (_column(run, "n_significant")[controls, None] > 0).astype(float))
    yield _boot(models, (part, "share of people with any q < .05", TEST_CONTROLS), share, flags, same, LEVEL)
    able = [m for i, m in enumerate(models) if not i or m.runs[0].has_evidence_like(models[0].runs[0])]
    if len(able) > 1:
        nats = _of(able, lambda run: _column(run, "log_evidence")[controls, None])
        yield _boot(able, ("Held-out evidence", "nats per person", TEST_CONTROLS), mean, nats, same)


def _planted(models: Sequence[Model], label: Labels, truth: Truth) -> Iterator[Metric]:
    """How well the regions that changed are found, a row for each class of planted effect."""
    able = [m for m in models if list(m.runs[0].results.z) == list(models[0].runs[0].results.z)]
    for about, people in truth.classes(models[0].runs[0].results.z.index).items():
        tables = _of(able, lambda run, who=people: truth.found(run.results.z, who)[:, None])  # type: ignore[misc]
        yield _boot(able, (PLANTED, truth.measure, about), share, tables, label)


def _of(models: Sequence[Model], figure: Callable[[Run], Floats]) -> list[list[Floats]]:
    """Of every run of every model."""
    return [[figure(run) for run in model.runs] for model in models]


def _area(
    models: Sequence[Model], names: tuple[str, str, str], scores: list[list[Floats]], label: Labels, name: str
) -> Metric:
    rows = (label == name) | (label == TEST_CONTROLS)
    own, case = [[x[rows] for x in model] for model in scores], label[rows] == name
    tables: list[Table] = [[np.stack([x, case], 1) for x in model] for model in own]
    return Metric(*names, None, models, partial(PairedEstimates.of_auc, own, case), area, tables)


def _boot(
    models: Sequence[Model],
    names: tuple[str, str, str],
    statistic: Callable[[Floats], Floats],
    tables: Sequence[Table],
    strata: NDArray[np.generic],
    ideal: float | None = None,
) -> Metric:
    answer = partial(PairedEstimates.by_bootstrap, statistic, tables, strata, ideal=ideal)
    return Metric(*names, ideal, models, answer, statistic, tables)


def _column(run: Run, name: str) -> Floats:
    return run.results.subjects[name].to_numpy(float)


def _stands_out(run: Run) -> Floats:
    """1 where omnibus p <= .05, NaN where that is not known, [n]."""
    p = _column(run, "omnibus_p")
    return np.where(np.isfinite(p), p <= LEVEL, np.nan)


def _counted(yes: NDArray[np.bool_], seen: NDArray[np.bool_]) -> Floats:
    """Cells of each person that are so, and observed cells, [n, 2]."""
    return np.stack([(yes & seen).sum(1), seen.sum(1)], 1).astype(float)


def _nuisance(run: Run) -> Given:
    """Covariates and the columns of `data.adjust` as numbers."""
    results = run.results
    adjust = [name for name in results.config.get("data", {}).get("adjust") or [] if name in results.subjects]
    columns = {name: results.subjects[name] for name in dict.fromkeys([*results.named("covariates"), *adjust])}
    return {
        name: x.to_numpy(float)
        if pd.api.types.is_numeric_dtype(x)
        else indicators(x.where(x.notna(), None).to_numpy(object))
        for name, x in columns.items()
    }


def _adjusted(models: Sequence[Model], label: Labels, given: Given) -> dict[str, list[list[Floats]]]:
    """Words -> the score of every run: raw, and adjusted where that can be done."""
    raw = _of(models, lambda run: run.score)
    if not given:
        return {"": raw}
    try:
        return {"": raw, ", adjusted": [[adjusted(x, given, label) for x in model] for model in raw]}
    except InputError:
        return {"": raw}
