"""Contribution of each part of the model, on the simulated UK Biobank and ADNI cohort: docs/results/ablations.md.

`uv run python -m benchmarks ablations --write --keep FOLDER`. Two classes of planted effect, declared beforehand
and never averaged: local (in regions, by severity and subtype) and along normal variation. Everything except the
planted effect is equal in both, so every model is trained once and evaluated on both. The cohort seeds are used nowhere
else.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

import pyro_mmnorm as mm
from benchmarks.ablated import CEILING, CLASSES, DEFAULT, LINEAR, Row, document
from pyro_mmnorm.app.compare.planted import person_auc
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.hippocampal_ratio import select_baseline_regions

__all__ = ["ABLATIONS", "MODELS", "Ablation", "add_options", "measured", "rows", "run"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "results" / "ablations.md"
PEOPLE = {"healthy": 1500, "controls": 269, "patients": 430}
SEEDS = (101, 102, 103, 104, 105)
REPEATS, DRAWS, ACTIVE = 200, 64, 0.01
PUBLISHED = {
    "hidden": (512, 256, 128), "latent_dim": 64, "skip": False, "activation": "relu", "scaling": "minmax",
    "likelihood": {"name": "normal", "scale": 0.7071},
}  # fmt: skip
AS_PUBLISHED = {
    "batch_size": 256, "learning_rate": 1e-5, "start": "random", "warmup_epochs": 0, "weight_decay": 0.0,
    "early_stopping": False, "epochs": 500,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One row: what differs from the default."""

    name: str
    parts: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    norm: dict[str, Any] = field(default_factory=dict)
    kind: str = "reconstruction"
    baseline: str | None = None
    changed: Callable[[Cohort], Cohort] = lambda cohort: cohort


def without(modality: str) -> Callable[[Cohort], Cohort]:
    return lambda cohort: replace(cohort, values={m: x for m, x in cohort.values.items() if m != modality})


def calibrated_on_training_study(cohort: Cohort) -> Cohort:
    """The controls of ADNI are excluded from calibration; as many people of UK Biobank take their place."""
    split, rng = cohort.split.copy(), np.random.default_rng(0)
    own, theirs = (cohort.ids[split == part] for part in ("train", "calibrate"))
    split[rng.choice(own, len(theirs), replace=False)] = "calibrate"
    return replace(cohort, split=split)[~cohort.ids.isin(theirs)]


MODELS = [
    Ablation(name=DEFAULT),
    Ablation(name=LINEAR, baseline="factor_analysis"),
    Ablation(name="regression", baseline="regression"),
    Ablation(name="unimodal VAEs", parts={"latent_dim": 0, "private_dim": 16}),
    Ablation(name="concatenated VAE", parts={"experts": "joint"}),
    Ablation(name="hippocampal volume", baseline="hippocampal_volume"),
    Ablation(name="default, normative z", kind="normative", norm={"normative_draws": 1024}),
    Ablation(name=CEILING),
]
"""The models of the study, evaluated on every cohort seed."""

ABLATIONS = [
    Ablation(name="published", parts=PUBLISHED, train=AS_PUBLISHED, norm={"refine": 0}),
    Ablation(
        name="published, not calibrated", parts=PUBLISHED, train=AS_PUBLISHED,
        norm={"refine": 0, "calibrator": "none"},
    ),
    Ablation(
        name="published, rate 1e-3, 40 epochs", parts=PUBLISHED, norm={"refine": 0},
        train={**AS_PUBLISHED, "epochs": 40, "learning_rate": 1e-3},
    ),
    Ablation(name="fusion gpoe", parts={"fusion": "gpoe"}),
    Ablation(name="fusion moe", parts={"fusion": "moe"}),
    Ablation(name="fusion mopoe", parts={"fusion": "mopoe"}),
    Ablation(name="sub-sampled training", train={"objective": "subsampled", "subsets": 1}),
    Ablation(name="calibrated on UK Biobank, not adapted", changed=calibrated_on_training_study),
    Ablation(name="without cortical", changed=without("cortical")),
    Ablation(name="without subcortical", changed=without("subcortical")),
    Ablation(name="without hippocampal", changed=without("hippocampal")),
    Ablation(name="20 members", parts={"members": 20}, train={"resample": "bootstrap"}),
]  # fmt: skip
"""Models that differ in one part, on the first cohort seed."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A model on one cohort: its z, and its number of active latents."""

    test: pd.DataFrame
    target: dict[str, pd.DataFrame]
    active: float
    score: Callable[[pd.DataFrame], pd.Series]


def judged(one: Ablation, cohorts: dict[str, Cohort]) -> Judged:
    """Fit once, and score the patients of both classes of effect."""
    parts = {name: select_baseline_regions(one.baseline, one.changed(cohort)) for name, cohort in cohorts.items()}
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


def flagged(table: pd.DataFrame) -> np.ndarray:
    """Share of regions with p < .05 of each person."""
    return table.abs().gt(1.959964).where(table.notna()).astype(float).mean(axis=1).to_numpy()


def figures(found: Judged, drawn: dict[str, Any], cohort: Cohort) -> tuple[pd.DataFrame, dict[str, list[float]]]:
    """A column per figure: row 0 is the estimate, the others are bootstrap values over people within groups.

    Also, by class of effect, the AUC for the changed regions of each patient.
    """
    rng, out, places = np.random.default_rng(0), {}, {}
    flags, controls = flagged(found.test), found.score(found.test).to_numpy()
    rows = np.vstack([np.arange(len(flags)), rng.integers(0, len(flags), (REPEATS, len(flags)))])
    out["healthy"] = np.nanmean(flags[rows], axis=1)
    base = np.nanmean(controls[rows], axis=1), np.nanstd(controls[rows], axis=1, ddof=1)
    adas = cohort.scores["ADAS13"]
    for name, table in found.target.items():
        score, group = found.score(table), cohort.group[table.index].to_numpy()
        planted = drawn[name].effect.reindex(index=table.index, columns=table.columns)
        place = person_auc(table.to_numpy(), planted.to_numpy()) if table.shape[1] > 1 else np.full(len(table), np.nan)
        own, outcome = score.to_numpy(), adas[table.index].to_numpy()
        members = [np.flatnonzero(group == stage) for stage in cohort.groups[1:]]
        again = np.hstack([part[rng.integers(0, len(part), (REPEATS, len(part)))] for part in members])
        drawn_rows = np.vstack([np.hstack(members), again])
        stage = np.repeat(np.arange(1, len(members) + 1), [len(part) for part in members])
        ill, values = flagged(table), []
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
            smc, auc, last = np.nanmean(x[at == 1]), place[people], np.nanmean(ill[people[stage == len(members)]])
            values.append((slope, smc, abs(r), np.nanmean(auc) if np.isfinite(auc).any() else np.nan, last))
        for figure, column in zip(("slope", "SMC", "ADAS13", "place", "AD"), np.array(values).T, strict=True):
            out[f"{name} {figure}"] = column
        places[name] = place.tolist()
    return pd.DataFrame(out), places


@cache
def people(seed: int, sizes: tuple[tuple[str, int], ...]) -> tuple[dict[str, Any], dict[str, Cohort]]:
    """The people of a seed, by class of effect: as drawn, and as a cohort."""
    drawn = {name: mm.simulate(kind="ukb_adni", effect=name, seed=seed, **dict(sizes)) for name in CLASSES}
    cohorts = {name: one.to_cohort() for name, one in drawn.items()}
    first, other = (cohort[cohort.split != "target"] for cohort in cohorts.values())
    for m in first.values:  # only the patients differ
        pd.testing.assert_frame_equal(first.values[m], other.values[m])
    return drawn, cohorts


def ceiling(drawn: dict[str, Any], cohort: Cohort) -> pd.DataFrame:
    """|Spearman| of the true severity itself with ADAS13, over test controls and patients."""
    adas, out, rng = cohort.scores["ADAS13"].dropna(), {}, np.random.default_rng(0)
    ids = cohort.ids[cohort.split.isin(["test", "target"]) & cohort.ids.isin(adas.index)]
    again = np.vstack([np.arange(len(ids)), rng.integers(0, len(ids), (REPEATS, len(ids)))])
    for name, one in drawn.items():
        x, y = one.hidden.loc[ids, "severity"].to_numpy(float), adas[ids].to_numpy()
        out[f"{name} ADAS13"] = [abs(stats.spearmanr(x[rows], y[rows]).statistic) for rows in again]
    return pd.DataFrame(out)


def measured(one: Ablation, seed: int, sizes: dict[str, int]) -> Row:
    """Measure one row."""
    began = time.process_time()
    drawn, cohorts = people(seed, tuple(sizes.items()))
    cohort, active, places = cohorts["local"], np.nan, {}
    if one.name == CEILING:
        table = ceiling(drawn, cohort)
    else:
        result = judged(one, cohorts)
        active = result.active
        table, places = figures(result, drawn, cohort)
    numbers = {
        "tested": len(cohort.test),
        "scored": len(cohort.test) + len(cohort.target),
        "smc": int((cohort.target.group == cohort.groups[1]).sum()),
        **{f"placed_{name}": int(np.isfinite(place).sum()) for name, place in places.items()},
    }
    columns = {str(name): column.tolist() for name, column in table.items()}
    return Row(
        seed=seed, name=one.name, active=active, seconds=time.process_time() - began, people=numbers, figures=columns,
        places=places,
    )  # fmt: skip


def rows(
    seeds: Sequence[int], models: Sequence[Ablation], ablations: Sequence[Ablation], sizes: dict[str, int],
    keep: Path | None,
) -> Iterator[Row]:  # fmt: skip
    """The models on every seed, the ablations on the first; rows in the folder `keep` are read."""
    for seed, one in [*product(seeds, models), *product(seeds[:1], ablations)]:
        file = keep / f"{seed} {one.name}.json".replace(" ", "-") if keep else None
        if file and file.is_file():
            yield Row(**json.loads(file.read_text()))
            continue
        row = measured(one, seed, sizes)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(asdict(row)))
        yield row


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m benchmarks ablations`."""
    parser.add_argument("--keep", type=Path, help="folder for the figures of each row, to continue from after a stop")


def run(options: argparse.Namespace) -> None:
    """Measure and print; write the page again after each row on request."""
    found: list[Row] = []
    with one_thread():
        for row in rows(SEEDS, MODELS, ABLATIONS, PEOPLE, options.keep):
            found.append(row)
            print(*row.cells(), f"{row.seconds:.0f} s", sep=" | ", flush=True)
            if options.write:
                DOCUMENT.write_text(document(found, PEOPLE, REPEATS, DRAWS))
