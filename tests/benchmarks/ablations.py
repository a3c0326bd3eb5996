"""What each part of the model is worth on the simulated UK Biobank and ADNI cohort: docs/ablations.md.

`uv run python -m tests.benchmarks.ablations --write`. Two classes of planted effect, declared beforehand and never
averaged: local (in regions, by severity and subtype) and along normal variation. Everything but the planted effect is
the same in both, so every model is trained once and judged on both. Cohort seeds are used for nothing else.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

import pyro_mmnorm as mm
from pyro_mmnorm.cohort import Cohort
from pyro_mmnorm.comparison.truth import person_auc
from pyro_mmnorm.linear_gaussian import seen_by
from pyro_mmnorm.statistics import correlation
from pyro_mmnorm.threads import one_thread

DOCUMENT = Path(__file__).parents[2] / "docs" / "ablations.md"
PEOPLE = {"healthy": 1500, "controls": 269, "patients": 430}
SEEDS = (101, 102)
CLASSES = {"local": "local", "along": "along normal variation"}
REPEATS, DRAWS, ACTIVE = 200, 64, 0.01
PUBLISHED = {
    "hidden": (512, 256, 128), "latent_dim": 64, "skip": False, "activation": "relu", "scaling": "minmax",
    "likelihood": {"name": "normal", "scale": 0.7071},
}  # fmt: skip
AS_PUBLISHED = {
    "batch_size": 256, "learning_rate": 1e-5, "start": "random", "warmup_epochs": 0, "weight_decay": 0.0,
    "early_stopping": False,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One row: what is built in place of the default."""

    name: str
    parts: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    norm: dict[str, Any] = field(default_factory=dict)
    kind: str = "reconstruction"
    baseline: str | None = None
    changed: Callable[[Cohort], Cohort] = lambda cohort: cohort


def without(modality: str) -> Callable[[Cohort], Cohort]:
    return lambda cohort: replace(cohort, values={m: x for m, x in cohort.values.items() if m != modality})


def calibrated_at_home(cohort: Cohort) -> Cohort:
    """No control of ADNI calibrates: as many people of UK Biobank do."""
    split, rng = cohort.split.copy(), np.random.default_rng(0)
    own, theirs = (cohort.ids[split == part] for part in ("train", "calibrate"))
    split[rng.choice(own, len(theirs), replace=False)] = "calibrate"
    return replace(cohort, split=split)[~cohort.ids.isin(theirs)]


MODELS = [
    Ablation(name="default"),
    Ablation(name="factor analysis", baseline="factor_analysis"),
    Ablation(name="regression", baseline="regression"),
    Ablation(name="unimodal VAEs", parts={"latent_dim": 0, "private_dim": 16}),
    Ablation(name="concatenated VAE", parts={"experts": "joint"}),
    Ablation(name="hippocampal volume", baseline="hippocampal_volume"),
    Ablation(name="default, normative z", kind="normative", norm={"normative_draws": 1024}),
]
"""Those of the study, judged on every cohort seed."""

ABLATIONS = [
    Ablation(
        name="published, 100 epochs", parts=PUBLISHED, train={**AS_PUBLISHED, "epochs": 100}, norm={"refine": 0}
    ),
    Ablation(
        name="published, learning rate 1e-3, 40 epochs", parts=PUBLISHED, norm={"refine": 0},
        train={**AS_PUBLISHED, "epochs": 40, "learning_rate": 1e-3},
    ),
    Ablation(name="fusion gpoe", parts={"fusion": "gpoe"}),
    Ablation(name="fusion moe", parts={"fusion": "moe"}),
    Ablation(name="fusion mopoe", parts={"fusion": "mopoe"}),
    Ablation(name="sub-sampled training", train={"objective": "subsampled", "subsets": 1}),
    Ablation(name="5 members", parts={"members": 5}, train={"resample": "bootstrap"}),
    Ablation(name="calibrated on UK Biobank, not adapted", changed=calibrated_at_home),
    Ablation(name="without cortical", changed=without("cortical")),
    Ablation(name="without subcortical", changed=without("subcortical")),
    Ablation(name="without hippocampal", changed=without("hippocampal")),
]  # fmt: skip
"""Those of one part each, on the first cohort seed."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A model on one cohort: its z, and how many latents it uses."""

    test: pd.DataFrame
    target: dict[str, pd.DataFrame]
    active: float
    score: Callable[[pd.DataFrame], pd.Series]


def judged(one: Ablation, cohorts: dict[str, Cohort]) -> Judged:
    """Fitted once, and scored on the patients of both classes."""
    parts = {name: seen_by(one.baseline, one.changed(cohort)) for name, cohort in cohorts.items()}
    first, active = next(iter(parts.values())), np.nan
    if one.baseline:
        model = mm.LinearGaussian.for_cohort(first, one.baseline, latent_dim=16)
    else:
        model = mm.MMVAE.for_cohort(first, seed=1, **one.parts)
        mm.fit(model, first.train, mm.TrainConfig(**one.train), seed=1, progress=False)
        with torch.no_grad():
            means = model.posterior(model.preprocess(first.calibrate)).mean
        active = float((means.var(-2) > ACTIVE).sum(-1).double().mean())
    norm = mm.NormativeModel(model, **{"draws": DRAWS, "seed": 1, **one.norm}).calibrate(first.calibrate, (one.kind,))

    def z(part: Cohort) -> pd.DataFrame:
        dev = norm.deviations(part, one.kind)
        return pd.DataFrame(dev["z"].to_numpy(), index=dev["subject"].to_numpy(), columns=dev["region"].to_numpy())

    small = one.baseline == "hippocampal_volume"
    return Judged(
        test=z(first.test),
        target={name: z(part.target) for name, part in parts.items()},
        active=active,
        score=lambda table: -table.mean(axis=1) if small else table.abs().mean(axis=1),
    )


def figures(found: Judged, drawn: dict[str, Any], cohort: Cohort) -> pd.DataFrame:
    """A column per figure; row 0 is the figure, the others those of people drawn anew within their groups."""
    rng, out = np.random.default_rng(0), {}
    flags = found.test.abs().gt(1.959964).where(found.test.notna()).astype(float).mean(axis=1).to_numpy()
    controls = found.score(found.test).to_numpy()
    rows = np.vstack([np.arange(len(flags)), rng.integers(0, len(flags), (REPEATS, len(flags)))])
    out["healthy"] = np.nanmean(flags[rows], axis=1)
    base = np.nanmean(controls[rows], axis=1), np.nanstd(controls[rows], axis=1, ddof=1)
    for name, table in found.target.items():
        score, group = found.score(table), cohort.group[table.index].to_numpy()
        planted = drawn[name].effect.reindex(index=table.index, columns=table.columns)
        place = person_auc(table.to_numpy(), planted.to_numpy()) if table.shape[1] > 1 else np.full(len(table), np.nan)
        adas = cohort.scores["ADAS13"]
        own, outcome = score.to_numpy(), adas[table.index].to_numpy()
        members = [np.flatnonzero(group == stage) for stage in cohort.groups[1:]]
        again = np.hstack([part[rng.integers(0, len(part), (REPEATS, len(part)))] for part in members])
        drawn_rows = np.vstack([np.hstack(members), again])
        stage = np.repeat(np.arange(1, len(members) + 1), [len(part) for part in members])
        values = []
        for i, people in enumerate(drawn_rows):
            mean, sd = base[0][i], base[1][i]
            x = np.r_[(controls[rows[i]] - mean) / sd, (own[people] - mean) / sd]
            at, y = (
                np.r_[np.zeros(len(rows[i])), stage],
                np.r_[adas[found.test.index].to_numpy()[rows[i]], outcome[people]],
            )
            seen = np.isfinite(x)
            r = stats.spearmanr(x[seen], y[seen]).statistic
            slope = np.polyfit(at[seen], x[seen], 1)[0]
            smc, auc = np.nanmean(x[at == 1]), place[people]
            values.append((slope, smc, abs(r), np.nanmean(auc) if np.isfinite(auc).any() else np.nan))
        for figure, column in zip(("slope", "SMC", "ADAS13", "place"), np.array(values).T, strict=True):
            out[f"{name} {figure}"] = column
    return pd.DataFrame(out)


def ceiling(drawn: Any, cohort: Cohort) -> str:
    """|Spearman| of the true severity itself with ADAS13, in test controls and patients."""
    ids = cohort.ids[cohort.split.isin(["test", "target"])]
    r = correlation(drawn.hidden.loc[ids, "severity"], cohort.scores.loc[ids, "ADAS13"], method="spearman")
    return f"{abs(r.value):.2f} [{r.low:.2f}, {r.high:.2f}], n {r.n}"


def told(column: pd.Series, share: bool = False) -> str:
    low, high = column[1:].quantile([0.025, 0.975])
    if not np.isfinite(column[0]):
        return "–"
    if share:
        return f"{100 * column[0]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{column[0]:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Measure, print, and keep on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep docs/ablations.md, anew after each model")
    parser.add_argument("--only", default="", help="print the models whose name holds this, on the first cohort seed")
    chosen = parser.parse_args()
    began, lines, gains = time.process_time(), [], {}
    for seed in SEEDS[:1] if chosen.only else SEEDS:
        drawn = {name: mm.simulate(kind="ukb_adni", effect=name, seed=seed, **PEOPLE) for name in CLASSES}
        cohorts = {name: one.to_cohort() for name, one in drawn.items()}
        first, other = (cohort[cohort.split != "target"] for cohort in cohorts.values())
        for m in first.values:  # everybody but the patients is the same
            pd.testing.assert_frame_equal(first.values[m], other.values[m])
        cohort, found = cohorts["local"], {}
        for one in MODELS + (ABLATIONS if seed == SEEDS[0] else []):
            if chosen.only not in one.name:
                continue
            start = time.process_time()
            result = judged(one, cohorts)
            found[one.name] = figures(result, drawn, cohort)
            lines.append((seed, one.name, *row_of(result, found[one.name])))
            print(*lines[-1], f"{time.process_time() - start:.0f} s", sep=" | ", flush=True)
            if chosen.only:
                continue
            gains[seed] = {name: found["default"] - table for name, table in found.items()}
            if chosen.write:
                keep(lines, gains, cohort, time.process_time() - began)
        best = [ceiling(one, cohort) for one in drawn.values()]
        lines.append((seed, "ceiling: the true severity itself", *["–"] * 6, *best, "–", "–"))
        print(*lines[-1], sep=" | ", flush=True)
    if chosen.only:
        return
    if chosen.write:
        keep(lines, gains, cohort, time.process_time() - began)
    print(*gained(gains), sep="\n")


def keep(
    lines: list[tuple[Any, ...]], gains: dict[int, dict[str, pd.DataFrame]], cohort: Cohort, seconds: float
) -> None:
    """The document with the rows that there are."""
    tested, patients = len(cohort.test), len(cohort.target)
    text = TEXT.format(
        **PEOPLE, tested=tested, scored=tested + patients, smc=int((cohort.target.group == "SMC").sum()),
        repeats=REPEATS, latent_draws=DRAWS, minutes=seconds / 60, rows=listed(HEAD, lines),
        gains=listed(GAIN_HEAD, gained(gains)),
    )  # fmt: skip
    DOCUMENT.write_text(text)


def row_of(result: Judged, table: pd.DataFrame) -> tuple[str, ...]:
    """The cells of one model."""
    active = "–" if np.isnan(result.active) else f"{result.active:.0f}"
    columns = [f"{name} {figure}" for figure in ("slope", "SMC", "ADAS13", "place") for name in CLASSES]
    return (active, told(table["healthy"], share=True), *(told(table[column]) for column in columns))


def gained(gains: dict[int, dict[str, pd.DataFrame]]) -> list[tuple[str, ...]]:
    """default less each other model: mean over cohort seeds, by bootstrap over people and cohort seeds."""
    rng, rows = np.random.default_rng(1), []
    for name in [one.name for one in MODELS[1:]]:
        there = [found[name] for found in gains.values() if name in found]
        line = [f"{name} ({len(there)} cohort seeds)"]
        if not there:
            continue
        for figure in ("slope", "ADAS13", "place"):
            for effect in CLASSES:
                columns = np.array([table[f"{effect} {figure}"].to_numpy() for table in there])
                picked = rng.integers(0, len(columns), (REPEATS, len(columns)))
                again = np.array([columns[pick, 1 + rng.integers(0, REPEATS, len(pick))].mean() for pick in picked])
                line.append(told(pd.Series([columns[:, 0].mean(), *again])))
        rows.append(tuple(line))
    return rows


def listed(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows])


HEAD = (
    "seed", "model", "active latents", "healthy, % of p < .05",
    "slope, local", "slope, along", "SMC, local", "SMC, along",
    "ADAS13, local", "ADAS13, along", "place, local", "place, along",
)  # fmt: skip
GAIN_HEAD = (
    "default less", "slope, local", "slope, along", "ADAS13, local", "ADAS13, along", "place, local", "place, along",
)  # fmt: skip
TEXT = """# Ablations

`uv run python -m tests.benchmarks.ablations --write`, {minutes:.0f} core-minutes. Simulated UK Biobank and ADNI cohorts
(`mm.simulate(kind="ukb_adni")`) with {healthy:,} people to train on, {controls} controls of ADNI, of whom 70 %
calibrate and 30 % are tested, and {patients} patients: fewer than the poster has (9,875 and 862), to keep all of it
affordable. Two classes of planted effect, declared beforehand and never averaged: **local**, in regions, and **along**
normal variation. Every model is trained once and judged on both.

* healthy: share of p < .05 among the {tested} test controls, mean over regions; 5 is right.
* slope: per stage, of the person's score (mean |z|; minus z for the hippocampal volume), in SDs of the test controls.
  SMC: first stage ({smc} people) less test controls, in the same SDs. ADAS13: |Spearman| with the score. Slope and
  ADAS13 are over {scored} people, some fewer where a cell is missing.
* place: in each person, the AUC of |z| for regions whose planted effect is 1 SD or more; mean over the people who have
  both sorts. With a modality left out, over the regions that are left.
* 95 % intervals by bootstrap over people within groups, {repeats} draws; models and calibration as they are. One
  training a model, z from {latent_draws} draws of the latents (1,024 for normative z).

{rows}

## The default less each other model

A positive number is a gain of the default, a negative one a loss; mean over the cohort seeds above, intervals by
bootstrap over people and cohort seeds.

{gains}
"""

if __name__ == "__main__":
    with one_thread():
        main()
