"""The page of a study, study.html: every estimate with n and interval."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyro_mmnorm.app.compare.comparison_metrics import MATCHED, PLANTED, PRIMARY, SIGNIFICANCE
from pyro_mmnorm.app.compare.planted import Truth
from pyro_mmnorm.app.compare.runs import Run
from pyro_mmnorm.app.study.study_table import ON_ITS_SCALE
from pyro_mmnorm.app.study.variants import Variant
from pyro_mmnorm.report.html_tables import Cell, Table, pairs
from pyro_mmnorm.report.page import Note, Section, page_of
from pyro_mmnorm.report.pictures import Picture
from pyro_mmnorm.results.formatting import interval, number
from pyro_mmnorm.results.person_measures import LEVEL
from pyro_mmnorm.results.schema import TEST_CONTROLS

__all__ = ["study_page"]

HEAD = ["model", "value [95 %]", "n", "over trainings", "gain over the first [95 %]", "Holm p"]
PLACES = {
    "stages": ("Stages", (PRIMARY, "Groups", ON_ITS_SCALE)),
    "maps": ("Deviation maps", ()),
    "frequency": ("Proportion of people with extreme deviations (frequency of significance)", (SIGNIFICANCE, MATCHED)),
    "scores": ("Cognition", ("Scores",)),
    "truth": ("Comparison with the planted effects", (PLANTED,)),
    "healthy": ("Held-out healthy people", ("Calibration", "Held-out evidence")),
}
"""Part of the page -> heading and the parts of the table in it."""

INTERVALS = (
    "Intervals are 95 % and cover the sampling error of the scored people, test controls included, and, where the "
    "caption says so, that of the calibration. They do not cover retraining: 'over trainings' shows the lowest and the "
    "highest value over training seeds, and the value is that of the first seed. Gains are paired, over the first "
    "model; Holm's correction is over all gains on this page except those of the primary endpoint. Models are compared "
    "in the people who were scored by all of them."
)


def study_page(
    title: str, table: pd.DataFrame, models: Sequence[Variant], runs: Mapping[str, Run], truth: Truth | None,
    pictures: Mapping[str, Sequence[Picture]], notes: Sequence[str],
) -> str:  # fmt: skip
    """The HTML of a study.

    Args:
        title: Heading.
        table: From `study_table`.
        models: The models that were run, the reference first.
        runs: Label -> the first run of each model.
        truth: The planted effects, if known.
        pictures: Part of the page -> its figures.
        notes: Notes on what was left out and why.
    """
    first = next(iter(runs.values()))
    sections = [_models(table, models, first, notes), _verdicts(table, models)]
    labels = {model.name: model.label for model in models}
    shown = set()
    for key, (heading, parts) in PLACES.items():
        rows = table[table["part"].isin(parts)]
        shown |= set(parts)
        if len(rows) or pictures.get(key):
            tables = [_table(part, block, labels) for part, block in _blocks(rows)]
            about = list(_notes(key, first, truth))
            sections.append(Section(key, heading, about, tables, pictures.get(key, ())))
    if len(rest := table[~table["part"].isin(shown)]):
        tables = [_table(part, block, labels) for part, block in _blocks(rest)]
        sections.append(Section("rest", "Further metrics", [], tables))
    people = first.results.subjects["split"].value_counts()
    lead = (
        f"{len(models)} models on the same people: {first.results.counts.get('train', 0):,} for training, "
        f"{first.results.counts.get('calibrate', 0):,} for calibration, {people.get('test', 0):,} {TEST_CONTROLS}, "
        f"{people.get('target', 0):,} target subjects; {first.results.z.shape[1]} regions."
    )
    return page_of(title, lead, sections)


def _models(table: pd.DataFrame, models: Sequence[Variant], first: Run, notes: Sequence[str]) -> Section:
    trainings = table.groupby("model")["seeds"].max()
    rows = [
        [
            Cell(model.label, right=False),
            Cell(model.description, right=False),
            Cell(str(int(trainings.get(model.name, 1))) if model.trained else "–"),
            Cell(f"runs/{model.name}", right=False),
        ]
        for model in models
    ]
    groups = first.label.value_counts().reindex([TEST_CONTROLS, *first.results.groups]).dropna().astype(int)
    tables = [
        Table("Models", ["model", "description", "trainings", "folder"], rows),
        pairs("Scored people", ("group", "n"), groups.to_dict()),
    ]
    return Section("run", "Models and people", [Note(INTERVALS), *(Note(text) for text in notes)], tables)


def _verdicts(table: pd.DataFrame, models: Sequence[Variant]) -> Section:
    """Per other model: metrics in which the first model is significantly worse or better after Holm's correction."""
    first, notes = models[0], []
    for model in models[1:]:
        rows = table[(table["model"] == model.name) & table["gain"].notna()]
        significant = rows[rows["p_holm"] < LEVEL]
        won, lost = significant[significant["gain"] < 0], significant[significant["gain"] > 0]
        text = (
            f"{first.label} against {model.label}: of {len(rows)} metrics {len(won)} better, {len(lost)} worse, "
            f"{len(rows) - len(significant)} not significantly different (Holm p < 0.05)."
        )
        tone = "bad" if len(lost) > len(won) else "good" if len(won) > len(lost) else "unclear"
        points = [f"Worse: {row}" for row in lost["sentence"]] + list(won["sentence"])
        notes.append(Note(text, tone, points))
    return Section("verdict", "Comparison of the first model with the others", notes, [])


def _notes(key: str, first: Run, truth: Truth | None) -> Iterator[Note]:
    """Notes on a part of the page."""
    primary = first.results.findings.get("primary", {})
    if key == "stages" and "value" in primary:
        estimate = f"{interval('', primary)}, n {number('n', primary['n'])}, p {number('p', primary['p'])}"
        yield Note(f"Primary endpoint (prespecified): {primary['endpoint']}: {estimate} (0.5 without a trend).")
    if key == "stages":
        yield Note(
            "Slopes are compared in SDs of the test controls, since z that are too wide would otherwise have larger "
            "slopes. The expected mean |z| of healthy people under calibration is 0.798."
        )
    if key == "frequency":
        yield from _healthy_rates(first)
    if key == "scores" and truth is not None:
        ceilings = [
            f"{score}, {method}: {interval('', one.to_dict())}, n {one.n:,}"
            for score, method, one in truth.ceilings(first)
        ]
        if ceilings:
            text = (
                "Ceiling: the correlation of the true severity with each score, the upper limit expected for any model."
            )
            yield Note(text, "unclear", ceilings)
    if key == "truth" and truth is not None:
        yield Note(
            f"The cohort is simulated; the planted effect is {truth.about}. Localisation is the AUC of |z| for changed "
            "against unchanged regions within a person; 0.5 is expected by chance."
        )


def _healthy_rates(first: Run) -> Iterator[Note]:
    """Share of test controls with p < 0.05 by region, against the nominal 5 %."""
    rows = first.results.regions
    rows = rows[rows["group"] == TEST_CONTROLS].dropna(subset="share_significant")
    if not len(rows):
        return
    off = rows[(rows["share_significant_low"] > 0.05) | (rows["share_significant_high"] < 0.05)]
    n = int(rows["n"].max())
    low, high = (100 * rows["share_significant"].agg(end) for end in ("min", "max"))
    text = (
        f"In {n:,} test controls the share of p < .05 is between {low:.1f} and {high:.1f} % by region; the exact "
        f"95 % interval excludes 5 % in {len(off)} of {len(rows)} regions (at most about 5 % of them by chance)."
    )
    named = [_share(row) for row in off.to_dict("records")]
    yield Note(text, "unclear" if named else "", named)


def _share(row: Mapping[Any, Any]) -> str:
    share = {end: row[f"share_significant{name}"] for end, name in (("value", ""), ("low", "_low"), ("high", "_high"))}
    return f"{row['region']}: {interval('share_', share)}, n {int(row['n'])}"


def _blocks(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (_, measure, about), block in rows.groupby(["part", "measure", "about"], sort=False):
        ideal = block["ideal"].iloc[0]
        yield f"{measure}, {about}" + (f" (ideal {number('', float(ideal))})" if np.isfinite(ideal) else ""), block


def _table(caption: str, rows: pd.DataFrame, labels: Mapping[str, str]) -> Table:
    head = HEAD if rows["gain"].notna().any() else HEAD[:4]
    tests = "; ".join(dict.fromkeys(rows["test"].dropna()))
    tests = f"{tests[:1].upper()}{tests[1:]}"
    lines = [_line(row, labels)[: len(head)] for row in rows.to_dict("records")]
    return Table(f"{caption[:1].upper()}{caption[1:]}. {tests}", head, lines)


def _line(row: Mapping[Any, Any], labels: Mapping[str, str]) -> list[Cell]:
    ends = {"value": row["seeds_low"], "low": row["seeds_low"], "high": row["seeds_high"]}
    size = max(abs(row["seeds_low"]), abs(row["seeds_high"]))
    low, high = (number("", ends[end], size=size) for end in ("low", "high"))
    lost = row["p_holm"] < LEVEL and row["gain"] > 0
    gain = {"value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}
    return [
        Cell(labels[row["model"]], right=False),
        Cell(interval("", row)),
        Cell(number("n", int(row["n"]))),
        Cell(f"{low} to {high} ({int(row['seeds'])})" if row["seeds"] > 1 else "–"),
        Cell(interval("", gain) if np.isfinite(row["gain"]) else "–", tone="bad" if lost else ""),
        Cell(number("p", row["p_holm"])),
    ]
