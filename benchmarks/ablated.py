"""What the ablations gave, as a document: a table, what each costs, and the same in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from pyro_mmnorm.app.compare.planted import mean_over_cohorts, over_cohorts

__all__ = ["CEILING", "CLASSES", "DEFAULT", "LINEAR", "Row", "document"]

CLASSES = {"local": "local", "along": "along normal variation"}
DEFAULT, LINEAR, CEILING = "default", "factor analysis", "ceiling: the true severity itself"
ASKED = ("slope", "SMC", "ADAS13", "place")
COLLAPSED = 1.0
"""Active latents (mean over members) at or below which a posterior has collapsed."""
SHOWN = 0.005
"""A difference that is not 0 in two digits."""
MARGIN = 0.02
"""Of non-inferiority to factor analysis."""
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
        return cli_command(column[0], *np.quantile(column[1:], [0.025, 0.975]), digits=1 if percent else 2)

    def cells(self) -> tuple[str, ...]:
        """Its line of the table."""
        active = "–" if np.isnan(self.active) else f"{self.active:.0f}"
        shares = (self.told(name, percent=True) for name in ("healthy", "local AD"))
        return (str(self.seed), self.name, active, *shares, *(self.told(f"{c} {f}") for f in ASKED for c in CLASSES))


def cli_command(value: float, low: float, high: float, digits: int = 2) -> str:
    value, low, high = (round(x, digits) + 0.0 for x in (value, low, high))  # no minus zero
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def document(rows: Sequence[Row], sizes: dict[str, int], repeats: int, latent_draws: int) -> str:
    """The whole of docs/results/ablations.md."""
    first, names = rows[0], dict.fromkeys(row.name for row in rows if row.name not in (DEFAULT, CEILING))
    gains = {name: gained(rows, name) for name in names}
    cells = [
        (f"{name} ({cohorts(rows, name)})", *(cli_command(*line[key]) if key in line else "–" for key in COLUMNS))
        for name, line in gains.items()
    ]
    return TEXT.format(
        **sizes, **first.people, repeats=repeats, latent_draws=latent_draws,
        minutes=sum(row.seconds for row in rows) / 60, seeds=", ".join(dict.fromkeys(str(row.seed) for row in rows)),
        rows=listed(HEAD, [row.cells() for row in rows]), gains=listed(GAIN_HEAD, cells),
        words="\n".join(in_words(rows, name, gains[name]) for name in names),
    )  # fmt: skip


def cohorts(rows: Sequence[Row], name: str) -> int:
    return sum(row.name == name for row in rows)


class Gain(NamedTuple):
    """The default less another model, with its interval."""

    value: float
    low: float
    high: float

    @property
    def sure(self) -> int:
        """1 for a gain of the default, -1 for a loss, 0 where that is not known or too small to be seen."""
        return 0 if abs(self.value) < SHOWN else int(self.low > 0) - int(self.high < 0)


def gained(rows: Sequence[Row], name: str) -> dict[str, Gain]:
    """Figure -> the default less this model, on the cohorts that both have; figures that both have."""
    found = [(one, row) for row in rows if row.name == name for one in rows if one.name == DEFAULT]
    pairs = [(one, row) for one, row in found if one.seed == row.seed]
    out = {}
    for figure, effect in product(ASKED, CLASSES):
        column = f"{effect} {figure}"
        x = np.array([np.subtract(one.figures[column], row.figures[column]) for one, row in pairs])
        if not np.isfinite(x).all():
            continue
        if len(x) == 1:
            ends = x[0, 0], *np.quantile(x[0, 1:], [0.025, 0.975])
        elif figure == "place":
            frames = [pd.DataFrame({"other": row.places[effect], "one": one.places[effect]}) for one, row in pairs]
            ends = over_cohorts(frames).loc["one", ["gain", "gain_low", "gain_high"]]
        else:
            ends = mean_over_cohorts(x[:, 0], x[:, 1:])[:3]
        out[f"{figure}, {effect}"] = Gain(*map(float, ends))
    return out


def in_words(rows: Sequence[Row], name: str, gain: dict[str, Gain]) -> str:
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
        if there := [f"{figure} {cli_command(*one)}" for figure, one in gain.items() if one.sure == sign]:
            told.append(f"{words}: {'; '.join(there)}.")
    told.append(f"Not told apart: {sum(one.sure == 0 for one in gain.values())} of {len(gain)} figures.")
    if name == LINEAR:
        held = {figure: one.low > -MARGIN for figure, one in gain.items() if figure.startswith(("ADAS13", "place"))}
        told.append(
            f"Not inferior by more than {MARGIN:g}, the margin for depth, in {sum(held.values())} of the {len(held)} "
            "figures of ADAS13 and place."
        )
    return f"* **{name}**. {' '.join(told)}"


def listed(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(table + ["| " + " | ".join(line) + " |" for line in lines])


COLUMNS = tuple(f"{figure}, {effect}" for figure in ASKED for effect in CLASSES)
HEAD = ("seed", "model", "active latents", "healthy, % of p < .05", "AD, % of p < .05, local", *COLUMNS)
GAIN_HEAD = ("default less (cohorts)", *COLUMNS)
TEXT = """# Ablations

`uv run python -m benchmarks ablations --write`, {minutes:.0f} core-minutes; with `--keep FOLDER` it goes on
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
  fixed variance gives them. *20 members*: an ensemble, each member trained on a bootstrap sample of the people.

{rows}

The numbers of people are those of the first cohort; they differ by a few in the others.

## The default less each other model

A positive number is a gain of the default, a negative one a loss: mean over the cohorts, whose number stands in
brackets. Intervals of one cohort are by bootstrap over its people, those of several by bootstrap over cohorts and
people with the t quantile for as many cohorts. They are not corrected for their number: of twenty, one is off by
chance.

{gains}

## In words

`reconstruction` z, those of the default, ask whether a region fits the rest of the same brain. They cannot see an
effect along normal variation, and less of one that half a brain shares; z that know the covariates alone can
(regression, normative z, a posterior that has collapsed). So a model that learned nothing may look better here than
one that learned, which is why a table like the poster's needs such rows. Where early stopping goes back to the linear
start that networks begin at, ways to train them and rules that agree there cannot differ.

Whatever interval above does not hold 0 is named, losses first; *collapsed*: at most one latent is active; *flattened*
and *inflated*: the healthy share is below 3 % or above 7 %, and its interval does not hold 5 %.

{words}
"""
