"""The metrics of a comparison: how each is computed for every model."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from pyro_mmnorm.app.compare.paired_estimates import PairedEstimates, Statistic, Table, by_model
from pyro_mmnorm.app.compare.planted import Truth
from pyro_mmnorm.app.compare.runs import Model, Run
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.findings.summaries import poster_rule
from pyro_mmnorm.results.person_measures import LEVEL
from pyro_mmnorm.results.schema import TEST_CONTROLS, Labels
from pyro_mmnorm.stats.associations import (
    Columns,
    adjusted,
    first_stage,
    indicators,
    pearson,
    residuals,
    spearman,
    stage_slope,
)
from pyro_mmnorm.stats.intervals import CORRELATION, NONNEGATIVE, UNBOUNDED, UNIT, Limits, mean
from pyro_mmnorm.stats.metrics import pooled_sd
from pyro_mmnorm.stats.ranks import area_under_curve, stage_concordance
from pyro_mmnorm.stats.rates import log_likelihood_ratio, pooled_share

__all__ = ["MATCHED", "PLANTED", "PRIMARY", "SIGNIFICANCE", "Metric", "metrics"]

PRIMARY = "Primary endpoint"
"""Part of the table with the prespecified endpoint."""

SIGNIFICANCE = "Regions with p < .05"
"""Part of the table on how often regions are significant; this rate also increases if z is too wide."""

MATCHED = "At a matched rate among healthy people"
"""Part of the table on people and regions beyond thresholds set on calibration controls."""

PLANTED = "Planted regions"
"""Part of the table on the localisation of planted effects."""

COVERAGE = {level: float(ndtri(0.5 + level / 200)) for level in (50, 95)}


class Metric(NamedTuple):
    """A metric that is computed for every model.

    Args:
        part: Heading in the table.
        measure: Name of the metric.
        about: The group or score.
        ideal: Ideal value; None if larger is better.
        models: The compared models.
        estimate: Computes the metric of all models with intervals and gains.
        statistic: Computes the value alone, from the columns of a table.
        tables: Tables of the runs of each model, for `statistic`.
        limits: Of the statistic.
    """

    part: str
    measure: str
    about: str
    ideal: float | None
    models: Sequence[Model]
    estimate: Callable[[], PairedEstimates]
    statistic: Statistic
    tables: Sequence[Table]
    limits: Limits = UNBOUNDED

    def values(self) -> Floats:
        """The value of every model, without intervals, [models]."""
        if not self.tables:
            self.estimate()  # raises the reason
        return by_model(self.statistic, self.tables, np.zeros(len(self.tables[0][0])))


def metrics(models: Sequence[Model], truth: Truth | None = None) -> Iterator[Metric]:
    """All metrics of runs on the same people.

    * Primary endpoint: concordance of the person's score with the stage (Jonckheere-Terpstra), or the AUC for one
      target group.
    * Groups: slope of the score over the stages (test controls, then the groups in their order), and the first stage
      against test controls, both in SDs of the test controls, so that a model does not gain by z that are too wide; AUC
      of every group against test controls: of the score, adjusted, of the reconstruction error, and of each modality.
    * At a matched healthy rate: people with omnibus p <= .05, and regions with conformal p <= .05, whose thresholds are
      set on calibration controls, for target groups and test controls; the likelihood ratio for people.
    * Regions with p < .05, and by the rule of the poster.
    * Scores: correlation of the person's score with every clinical score, signed so that it is positive if people with
      worse scores deviate more; raw, adjusted for covariates and `data.adjust`, and within groups.
    * Calibration, in test controls: SD of z, coverage, people with any region of q < .05.
    * Evidence: mean log density of test controls, if the runs computed it for the same values.
    * Planted regions, if the truth is known: see `Truth`.
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


def _stages(models: Sequence[Model], label: Labels, groups: list[str], given: Columns) -> Iterator[Metric]:
    stage, about = np.array([groups.index(name) for name in label], float), ", ".join(groups)
    for how, scores in _adjusted(models, label, given).items():
        tables = [[np.stack([x, stage], 1) for x in model] for model in scores]
        if len(groups) > 2:
            part = "Groups" if how else PRIMARY
            names = (part, f"concordance with stage{how}", about)
            yield _boot(models, names, stage_concordance, tables, label, limits=UNIT)
            yield _boot(models, ("Groups", f"slope per stage{how}", about), stage_slope, tables, label)
        names = ("Groups", f"first stage, in SDs of test controls{how}", groups[1])
        two = stage <= 1
        yield _boot(models, names, first_stage, [[x[two] for x in model] for model in tables], label[two])
        for name in groups[1:]:
            part = PRIMARY if len(groups) == 2 and not how else "Groups"
            yield _area(models, (part, f"AUC{how}", name), scores, label, name)


def _areas(models: Sequence[Model], label: Labels, groups: list[str]) -> Iterator[Metric]:
    """AUC of further measures of a person."""
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
    flags = _of(models, _flagged)
    for name in groups:
        rows, ideal = label == name, LEVEL if name == TEST_CONTROLS else None
        own: list[Table] = [[x[rows] for x in model] for model in flags]
        yield _boot(models, (MATCHED, "share of people, omnibus p ≤ .05", name), mean, own, label[rows], ideal, UNIT)
        cells = _of(models, lambda run, r=rows: _counted(run.p[r] <= LEVEL, np.isfinite(run.p[r])))  # type: ignore[misc]
        yield _share(models, (MATCHED, "share of regions, conformal p ≤ .05", name), cells, label[rows], ideal)
        if TEST_CONTROLS in groups and name != TEST_CONTROLS:
            both, names = rows | (label == TEST_CONTROLS), (MATCHED, "log likelihood ratio, omnibus p ≤ .05", name)
            tables: list[Table] = [[np.stack([x, rows], 1)[both].astype(float) for x in model] for model in flags]
            yield _boot(models, names, log_likelihood_ratio, tables, label[both])


def _significance(models: Sequence[Model], label: Labels, groups: list[str]) -> Iterator[Metric]:
    for name in groups:
        rows, ideal = label == name, LEVEL if name == TEST_CONTROLS else None
        z = _of(models, lambda run, r=rows: run.results.z.to_numpy(float)[r])  # type: ignore[misc]
        tables: list[Table] = [[_counted(np.abs(x) > COVERAGE[95], np.isfinite(x)) for x in model] for model in z]
        yield _share(models, (SIGNIFICANCE, "share of regions, p < .05", name), tables, label[rows], ideal)
        by_rule: list[Table] = [[_counted(poster_rule(x), np.isfinite(x)) for x in model] for model in z]
        yield _share(models, (SIGNIFICANCE, "share of regions by the poster's rule", name), by_rule, label[rows])


def _scores(models: Sequence[Model], label: Labels, given: Columns) -> Iterator[Metric]:
    first = models[0].runs[0].results
    directions = first.config.get("data", {}).get("scores") or {}
    deviation, same = _of(models, lambda run: run.score), np.zeros(len(label))
    for name in first.named("scores"):
        outcome = first.subjects[name].to_numpy(float) * (-1 if directions[name] == "higher_is_better" else 1)
        yield _pearson(models, name, "", deviation, outcome)
        tables: list[Table] = [[np.stack([x, outcome], 1) for x in model] for model in deviation]
        yield _boot(models, ("Scores", "Spearman", name), spearman, tables, same, limits=CORRELATION)
        for how, columns in {", adjusted": given, " within groups": {"group": indicators(label)}}.items():
            if columns:
                yield from _partial(models, deviation, outcome, (how, name), columns)


def _partial(
    models: Sequence[Model], deviation: list[list[Floats]], outcome: Floats, names: tuple[str, str], columns: Columns
) -> Iterator[Metric]:
    """Partial Pearson and Spearman correlations: of the residuals of scores and outcome, or of their ranks."""
    how, name = names
    table = np.stack([outcome, *(x for model in deviation for x in model)], 1)

    def split(values: Floats) -> tuple[Floats, list[list[Floats]]]:
        rest = residuals(values, columns)
        ends = np.cumsum([1, *map(len, deviation)])
        return rest[:, 0], [list(rest[:, a:b].T) for a, b in pairwise(ends.tolist())]

    complete = np.isfinite(table).all(1, keepdims=True)
    ranks = np.where(complete, rankdata(np.where(complete, table, np.inf), axis=0), np.nan)
    try:
        (y, scores), (y_ranks, score_ranks) = split(table), split(ranks)
    except InputError as error:
        yield Metric("Scores", f"Pearson{how}", name, None, models, partial(_refused, error), pearson, [])
        return
    yield _pearson(models, name, how, scores, y)
    tables: list[Table] = [[np.stack([x, y_ranks], 1) for x in model] for model in score_ranks]
    yield _boot(models, ("Scores", f"Spearman{how}", name), pearson, tables, np.zeros(len(y)), limits=CORRELATION)


def _pearson(models: Sequence[Model], name: str, how: str, scores: list[list[Floats]], outcome: Floats) -> Metric:
    tables: list[Table] = [[np.stack([x, outcome], 1) for x in model] for model in scores]
    estimate = partial(PairedEstimates.of_pearson, scores, outcome)
    return Metric("Scores", f"Pearson{how}", name, None, models, estimate, pearson, tables, CORRELATION)


def _refused(error: InputError) -> PairedEstimates:
    raise error


def _calibration(models: Sequence[Model], controls: NDArray[np.bool_]) -> Iterator[Metric]:
    part, same = "Calibration", np.zeros(int(controls.sum()))
    z = _of(models, lambda run: run.results.z.to_numpy(float)[controls])
    sums: list[Table] = [
        [np.stack([np.isfinite(x).sum(1), np.nansum(x, 1), np.nansum(x**2, 1)], 1).astype(float) for x in model]
        for model in z
    ]
    yield _boot(models, (part, "SD of z", TEST_CONTROLS), pooled_sd, sums, same, 1.0, NONNEGATIVE)
    for level, edge in COVERAGE.items():
        cells: list[Table] = [[_counted(np.abs(x) <= edge, np.isfinite(x)) for x in model] for model in z]
        yield _share(models, (part, f"coverage {level} %", TEST_CONTROLS), cells, same, level / 100)
    flags = _of(models, lambda run: (_column(run, "n_significant")[controls] > 0).astype(float))
    names = (part, "share of people with any q < .05", TEST_CONTROLS)
    yield _boot(models, names, mean, flags, same, LEVEL, UNIT)
    able = [m for i, m in enumerate(models) if not i or m.runs[0].has_evidence_like(models[0].runs[0])]
    if len(able) > 1:
        nats = _of(able, lambda run: _column(run, "log_evidence")[controls])
        yield _boot(able, ("Held-out evidence", "nats per person", TEST_CONTROLS), mean, nats, same)


def _planted(models: Sequence[Model], label: Labels, truth: Truth) -> Iterator[Metric]:
    """Localisation of the changed regions, one metric per class of planted effect."""
    able = [m for m in models if list(m.runs[0].results.z) == list(models[0].runs[0].results.z)]
    for about, people in truth.classes(models[0].runs[0].results.z.index).items():
        tables = _of(able, lambda run, rows=people: truth.localisation(run.results.z, rows))  # type: ignore[misc]
        yield _boot(able, (PLANTED, truth.measure, about), mean, tables, label, limits=UNIT)


def _of(models: Sequence[Model], measure: Callable[[Run], Floats]) -> list[list[Floats]]:
    """A measure of every run of every model."""
    return [[measure(run) for run in model.runs] for model in models]


def _area(
    models: Sequence[Model], names: tuple[str, str, str], scores: list[list[Floats]], label: Labels, name: str
) -> Metric:
    rows = (label == name) | (label == TEST_CONTROLS)
    own, case = [[x[rows] for x in model] for model in scores], label[rows] == name
    tables: list[Table] = [[np.stack([x, case], 1) for x in model] for model in own]
    return Metric(*names, None, models, partial(PairedEstimates.of_auc, own, case), area_under_curve, tables, UNIT)


def _boot(
    models: Sequence[Model],
    names: tuple[str, str, str],
    statistic: Statistic,
    tables: Sequence[Table],
    strata: NDArray[np.generic],
    ideal: float | None = None,
    limits: Limits = UNBOUNDED,
) -> Metric:
    estimate = partial(PairedEstimates.by_bootstrap, statistic, tables, strata, ideal=ideal)
    return Metric(*names, ideal, models, estimate, statistic, tables, limits)


def _share(
    models: Sequence[Model],
    names: tuple[str, str, str],
    tables: Sequence[Table],
    strata: NDArray[np.generic],
    ideal: float | None = None,
) -> Metric:
    """Share of cells over people, from the counts of each person."""
    return _boot(models, names, pooled_share, tables, strata, ideal, UNIT)


def _column(run: Run, name: str) -> Floats:
    return run.results.subjects[name].to_numpy(float)


def _flagged(run: Run) -> Floats:
    """1 for people with omnibus p <= .05, 0 for others, NaN without a test, [n]."""
    p = _column(run, "omnibus_p")
    return np.where(np.isfinite(p), p <= LEVEL, np.nan)


def _counted(yes: NDArray[np.bool_], seen: NDArray[np.bool_]) -> Floats:
    """Flagged and observed cells of each person, [n, 2]."""
    return np.stack([(yes & seen).sum(1), seen.sum(1)], 1).astype(float)


def _nuisance(run: Run) -> Columns:
    """Covariates and the columns of `data.adjust` as numbers or indicators."""
    results = run.results
    adjust = [name for name in results.config.get("data", {}).get("adjust") or [] if name in results.subjects]
    columns = {name: results.subjects[name] for name in dict.fromkeys([*results.named("covariates"), *adjust])}
    return {
        name: x.to_numpy(float)
        if pd.api.types.is_numeric_dtype(x)
        else indicators(x.where(x.notna(), None).to_numpy(object))
        for name, x in columns.items()
    }


def _adjusted(models: Sequence[Model], label: Labels, given: Columns) -> dict[str, list[list[Floats]]]:
    """Suffix of the metric -> the score of every run: raw, and adjusted if possible."""
    raw = _of(models, lambda run: run.score)
    if not given:
        return {"": raw}
    try:
        return {"": raw, ", adjusted": [[adjusted(x, given, label) for x in model] for model in raw]}
    except InputError:
        return {"": raw}
