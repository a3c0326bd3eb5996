"""The page of the ablations: a table, the differences from the default, and a summary in words."""

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
"""The smallest difference that is not 0 with two digits."""
MARGIN = 0.02
"""Margin of non-inferiority to factor analysis."""
USUAL = 0.03, 0.07
"""Range of the share of p < .05 in healthy people that counts as calibrated."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model on a cohort.

    Args:
        seed: Seed of the cohort.
        name: Name of the model.
        active: Number of active latents; NaN for a model without latents.
        seconds: CPU time.
        people: Numbers of people: `tested`, `scored`, `smc`.
        figures: Figure -> its value, then its bootstrap values; the same resampled people for every model.
        places: Class of effect -> for each patient, the AUC for the changed regions.
    """

    seed: int
    name: str
    active: float
    seconds: float
    people: dict[str, int]
    figures: dict[str, list[float]]
    places: dict[str, list[float]]

    def text(self, figure: str, percent: bool = False) -> str:
        """A figure with its interval, or a dash."""
        if not np.isfinite(self.figures.get(figure, [np.nan])[0]):
            return "–"
        column = np.array(self.figures[figure]) * (100 if percent else 1)
        return interval_text(column[0], *np.quantile(column[1:], [0.025, 0.975]), digits=1 if percent else 2)

    def cells(self) -> tuple[str, ...]:
        """The cells of its row."""
        active = "–" if np.isnan(self.active) else f"{self.active:.0f}"
        shares = (self.text(name, percent=True) for name in ("healthy", "local AD"))
        return (str(self.seed), self.name, active, *shares, *(self.text(f"{c} {f}") for f in ASKED for c in CLASSES))


def interval_text(value: float, low: float, high: float, digits: int = 2) -> str:
    value, low, high = (round(x, digits) + 0.0 for x in (value, low, high))  # no minus zero
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def document(rows: Sequence[Row], sizes: dict[str, int], repeats: int, latent_draws: int) -> str:
    """The whole of docs/results/ablations.md."""
    first, names = rows[0], dict.fromkeys(row.name for row in rows if row.name not in (DEFAULT, CEILING))
    gains = {name: gained(rows, name) for name in names}
    cells = [
        (f"{name} ({cohorts(rows, name)})", *(interval_text(*line[key]) if key in line else "–" for key in COLUMNS))
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
    """The difference of the default from another model, with its interval."""

    value: float
    low: float
    high: float

    @property
    def sure(self) -> int:
        """1 for a gain of the default, -1 for a loss, 0 for an uncertain sign or a difference below `SHOWN`."""
        return 0 if abs(self.value) < SHOWN else int(self.low > 0) - int(self.high < 0)


def gained(rows: Sequence[Row], name: str) -> dict[str, Gain]:
    """Figure -> the default minus this model, over the cohorts and figures that both have."""
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
    """The comparison of a model with the default, in sentences."""
    own, sentences = next(row for row in rows if row.name == name), []
    if own.active <= COLLAPSED:
        sentences.append(
            f"The posterior has collapsed ({own.active:.0f} latents active): its z depend on the covariates alone, "
            "as those of regression do."
        )
    share, low, high = own.figures["healthy"][0], *np.quantile(own.figures["healthy"][1:], [0.025, 0.975])
    healthy, ill = own.text("healthy", percent=True), own.text("local AD", percent=True)
    shares = f"p < .05 in {healthy} % of the regions of healthy people and in {ill} % of those in AD (local)"
    if share < USUAL[0] and high < 0.05:
        sentences.append(f"Too few: {shares}.")
    if share > USUAL[1] and low > 0.05:
        sentences.append(f"Too many: {shares}.")
    for sign, words in ((-1, "The default loses"), (1, "The default gains")):
        if there := [f"{figure} {interval_text(*one)}" for figure, one in gain.items() if one.sure == sign]:
            sentences.append(f"{words}: {'; '.join(there)}.")
    sentences.append(f"No difference shown: {sum(one.sure == 0 for one in gain.values())} of {len(gain)} figures.")
    if name == LINEAR:
        held = {figure: one.low > -MARGIN for figure, one in gain.items() if figure.startswith(("ADAS13", "place"))}
        sentences.append(
            f"Not inferior by more than {MARGIN:g}, the margin for depth, in {sum(held.values())} of the {len(held)} "
            "figures of ADAS13 and place."
        )
    return f"* **{name}**. {' '.join(sentences)}"


def listed(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(table + ["| " + " | ".join(line) + " |" for line in lines])


COLUMNS = tuple(f"{figure}, {effect}" for figure in ASKED for effect in CLASSES)
HEAD = ("seed", "model", "active latents", "healthy, % of p < .05", "AD, % of p < .05, local", *COLUMNS)
GAIN_HEAD = ("default minus (cohorts)", *COLUMNS)
TEXT = """# Ablations

`uv run python -m benchmarks ablations --write`, {minutes:.0f} core-minutes; with `--keep FOLDER` a stopped
run continues. The command writes the whole page. Simulated UK Biobank and ADNI cohorts (`mm.simulate(kind="ukb_adni")`,
cohort seeds {seeds}) with {healthy:,} training controls, {controls} controls of ADNI (70 % for calibration, 30 % for
testing) and {patients} patients. The poster has more (9,875 and 862); fewer keep the cost low. Two classes of planted
effect were declared beforehand and are never averaged: **local**, in regions, and **along** normal
variation. Every model is trained once and evaluated on both. The models of the study are evaluated on every cohort,
those in which one part is changed on the first.

* healthy: share of p < .05 among the {tested} test controls, mean over regions; nominal 5. AD: the same in patients.
* slope: per stage, of the person's score (mean |z|; minus z for the hippocampal volume), in SDs of the test controls.
  SMC: first stage ({smc} people) minus test controls, in the same SDs. ADAS13: |Spearman| with the score. Slope and
  ADAS13 are over {scored} people, some fewer where a cell is missing.
* place: in each person, the AUC of |z| for regions whose planted effect is 1 SD or more; mean over the people who
  have regions with and without such an effect ({placed_local} and {placed_along}). Without a modality, over the
  remaining regions.
* 95 % intervals by bootstrap over people within groups, {repeats} draws, with models and calibration fixed. One
  training per model; z from {latent_draws} draws of the latents (1,024 for normative z).
* *published*: networks 512-256-128 without a linear path, 64 latents, variance fixed at .5, features in 0..1, from
  random weights, Adam at 1e-5, 500 epochs (fewer steps than the poster's, whose cohort is larger). *rate 1e-3* is a
  hundred times that for 40 epochs, which excludes too little training as the reason. *not calibrated* uses z as
  computed with the fixed variance. *20 members*: an ensemble, each member trained on a bootstrap sample of the people.

{rows}

The numbers of people are those of the first cohort; they differ by a few in the others.

## The default minus each other model

A positive number is a gain of the default, a negative one a loss: mean over the cohorts (their number in
brackets). Intervals of one cohort are by bootstrap over its people, those of several by bootstrap over cohorts and
people with the t quantile for as many cohorts. They are not corrected for multiplicity: of
twenty, one excludes the truth by chance.

{gains}

## In words

`reconstruction` z, those of the default, measure whether a region fits the rest of the same brain. They do not detect
an effect along normal variation, and detect less of an effect that half of the brain shares. z that depend on the
covariates alone do (regression, normative z, a posterior that has collapsed). A model that learned nothing may
therefore look better here than one that learned; a table like the poster's needs such rows. Where early stopping
returns to the linear start, training options and fusion rules that agree at this start cannot differ.

Every interval above that excludes 0 is named, losses first. *Collapsed*: at most one latent is active. *Too few* and
*too many*: the share in healthy people is below 3 % or above 7 %, and its interval excludes 5 %.

{words}
"""
