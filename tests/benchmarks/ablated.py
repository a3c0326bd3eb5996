"""What the ablations gave, as a document: a table, what each costs, and the same in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pyro_mmnorm.comparison.truth import mean_over_cohorts, over_cohorts

__all__ = ["CEILING", "CLASSES", "DEFAULT", "Row", "document"]

CLASSES = {"local": "local", "along": "along normal variation"}
DEFAULT, CEILING = "default", "ceiling: the true severity itself"
ASKED = ("slope", "SMC", "ADAS13", "place")
COLLAPSED = 1.0
"""Active latents (mean over members) at or below which a posterior has collapsed."""
USUAL = 0.03, 0.07
"""Share of p < .05 among healthy people that is taken for calibrated."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model on a cohort.

    Args:
        seed: Of the cohort.
        name: Of the model.
        active: Active latents; NaN where there are none to be active.
        seconds: Of one core.
        people: What there was of whom: `tested`, `scored`, `smc`.
        figures: Figure -> its value, then the values of people drawn anew; the same people for every model.
        places: Class of effect -> how well the changed regions of each patient are found.
    """

    seed: int
    name: str
    active: float
    seconds: float
    people: dict[str, int]
    figures: dict[str, list[float]]
    places: dict[str, list[float]]

    def told(self, figure: str, percent: bool = False) -> str:
        """A figure with its interval, or a dash."""
        if not np.isfinite(self.figures.get(figure, [np.nan])[0]):
            return "–"
        column = np.array(self.figures[figure]) * (100 if percent else 1)
        return spoken(column[0], *np.quantile(column[1:], [0.025, 0.975]), digits=1 if percent else 2)

    def cells(self) -> tuple[str, ...]:
        """Its line of the table."""
        active = "–" if np.isnan(self.active) else f"{self.active:.0f}"
        shares = (self.told(name, percent=True) for name in ("healthy", "local AD"))
        return (str(self.seed), self.name, active, *shares, *(self.told(f"{c} {f}") for f in ASKED for c in CLASSES))


def spoken(value: float, low: float, high: float, digits: int = 2) -> str:
    value, low, high = (round(x, digits) + 0.0 for x in (value, low, high))  # no minus zero
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def document(rows: Sequence[Row], sizes: dict[str, int], repeats: int, latent_draws: int) -> str:
    """The whole of docs/ablations.md."""
    first, names = rows[0], dict.fromkeys(row.name for row in rows if row.name not in (DEFAULT, CEILING))
    gains = {name: gained(rows, name) for name in names}
    cells = [(f"{name} ({cohorts(rows, name)})", *(told for told, _ in line.values())) for name, line in gains.items()]
    return TEXT.format(
        **sizes, **first.people, repeats=repeats, latent_draws=latent_draws,
        minutes=sum(row.seconds for row in rows) / 60, seeds=", ".join(dict.fromkeys(str(row.seed) for row in rows)),
        rows=listed(HEAD, [row.cells() for row in rows]), gains=listed(GAIN_HEAD, cells),
        words="\n".join(in_words(rows, name, gains[name]) for name in names),
    )  # fmt: skip


def cohorts(rows: Sequence[Row], name: str) -> int:
    return sum(row.name == name for row in rows)


def gained(rows: Sequence[Row], name: str) -> dict[str, tuple[str, int]]:
    """Figure -> default less this model, told; and 1 where that is a gain for sure, -1 a loss, 0 not known."""
    found = [(one, row) for row in rows if row.name == name for one in rows if one.name == DEFAULT]
    pairs = [(one, row) for one, row in found if one.seed == row.seed]
    out = {}
    for figure in ASKED:
        for effect in CLASSES:
            column = f"{effect} {figure}"
            x = np.array([np.subtract(one.figures[column], row.figures[column]) for one, row in pairs])
            if not np.isfinite(x).all():
                out[f"{figure}, {effect}"] = "–", 0
                continue
            if len(x) == 1:
                ends = float(x[0, 0]), *np.quantile(x[0, 1:], [0.025, 0.975])
            elif figure == "place":
                frames = [pd.DataFrame({"b": row.places[effect], "a": one.places[effect]}) for one, row in pairs]
                gain = over_cohorts(frames).loc["a"]
                ends = gain["gain"], gain["gain_low"], gain["gain_high"]
            else:
                value, low, high, _ = mean_over_cohorts(x[:, 0], x[:, 1:])
                ends = float(value), float(low), float(high)
            out[f"{figure}, {effect}"] = spoken(*ends), int(ends[1] > 0) - int(ends[2] < 0)
    return out


def in_words(rows: Sequence[Row], name: str, gain: dict[str, tuple[str, int]]) -> str:
    """What there is to say of a model beside the default."""
    own, told = next(row for row in rows if row.name == name), []
    if own.active <= COLLAPSED:
        told.append(
            f"The posterior has collapsed ({own.active:.0f} latents active): its z know the covariates alone, "
            "as those of regression do."
        )
    share, low, high = own.figures["healthy"][0], *np.quantile(own.figures["healthy"][1:], [0.025, 0.975])
    healthy, ill = own.told("healthy", percent=True), own.told("local AD", percent=True)
    shares = f"p < .05 in {healthy} % of the regions of healthy people and in {ill} % of those in AD (local)"
    if share < USUAL[0] and high < 0.05:
        told.append(f"Flattened: {shares}.")
    if share > USUAL[1] and low > 0.05:
        told.append(f"Inflated: {shares}.")
    for sign, words in ((-1, "The default loses"), (1, "The default gains")):
        if there := [f"{figure} {ends}" for figure, (ends, sure) in gain.items() if sure == sign]:
            told.append(f"{words}: {'; '.join(there)}.")
    known = [sure for ends, sure in gain.values() if ends != "–"]
    told.append(f"Not told apart: {known.count(0)} of {len(known)} figures.")
    return f"* **{name}**. {' '.join(told)}"


def listed(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(table + ["| " + " | ".join(line) + " |" for line in lines])


COLUMNS = tuple(f"{figure}, {effect}" for figure in ASKED for effect in CLASSES)
HEAD = ("seed", "model", "active latents", "healthy, % of p < .05", "AD, % of p < .05, local", *COLUMNS)
GAIN_HEAD = ("default less (cohorts)", *COLUMNS)
TEXT = """# Ablations

`uv run python -m tests.benchmarks.ablations --write`, {minutes:.0f} core-minutes; with `--keep FOLDER` it goes on
after a stop. The whole page is written by it. Simulated UK Biobank and ADNI cohorts (`mm.simulate(kind="ukb_adni")`,
cohort seeds {seeds}) with {healthy:,} people to train on, {controls} controls of ADNI, of whom 70 % calibrate and 30
% are tested, and {patients} patients: fewer than the poster has (9,875 and 862), to keep all of it affordable. Two
classes of planted effect, declared beforehand and never averaged: **local**, in regions, and **along** normal
variation. Every model is trained once and judged on both; the models of the study on every cohort, those in which one
part is changed on the first.

* healthy: share of p < .05 among the {tested} test controls, mean over regions; 5 is right. AD: the same in patients.
* slope: per stage, of the person's score (mean |z|; minus z for the hippocampal volume), in SDs of the test controls.
  SMC: first stage ({smc} people) less test controls, in the same SDs. ADAS13: |Spearman| with the score. Slope and
  ADAS13 are over {scored} people, some fewer where a cell is missing.
* place: in each person, the AUC of |z| for regions whose planted effect is 1 SD or more; mean over the people who
  have both sorts ({placed_local} and {placed_along}). With a modality left out, over the regions that are left.
* 95 % intervals by bootstrap over people within groups, {repeats} draws; models and calibration as they are. One
  training a model, z from {latent_draws} draws of the latents (1,024 for normative z).
* *published*: networks 512-256-128 without a linear path, 64 latents, variance fixed at .5, features in 0..1, from
  random weights, Adam at 1e-5, 500 epochs (fewer steps than the poster's, whose cohort is larger). *rate 1e-3* is a
  hundred times that for 40 epochs, so that nobody can say it was trained too little. *not calibrated* takes z as the
  fixed variance gives them.

{rows}

The numbers of people are those of the first cohort; they differ by a few in the others.

## The default less each other model

A positive number is a gain of the default, a negative one a loss: mean over the cohorts, whose number stands in
brackets. Intervals of one cohort are by bootstrap over its people, those of several by bootstrap over cohorts and
people with the t quantile for as many cohorts. They are not corrected for their number: of twenty, one is off by
chance.

{gains}

## In words

Whatever interval above does not hold 0 is named, losses first; *collapsed*: at most one latent is active; *flattened*
and *inflated*: the healthy share is below 3 % or above 7 %, and its interval does not hold 5 %.

{words}
"""
