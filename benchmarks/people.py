"""Cohorts on which deviations are evaluated: linear and Gaussian or not, with a new site, and their exact z."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

import pyro_mmnorm as mm
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.simulation.simulated import Simulation

__all__ = ["LOCAL_CONTROLS", "People", "people"]

REGIONS = {"cortical": 64, "subcortical": 35, "hippocampal": 16}
TRAIN, CALIBRATE, TEST, PATIENTS = 2500, 1000, 1200, 240
LOCAL_CONTROLS, LOCAL_TEST, LOCAL_SCALE = 30, 200, 1.25
SITES = 4
COVARIATES = {"age": "spline", "sex": "category", "site": "category"}


@dataclass(frozen=True, kw_only=True)
class People:
    """A study of four sites, controls of a fifth one, and the truth.

    Args:
        cohort: Training, calibration and test controls and patients of the first four sites.
        local, elsewhere: Controls of the fifth site: those to adapt on, and the others.
        drawn: All people, with the planted effect and the exact z.
    """

    cohort: Cohort
    local: Cohort
    elsewhere: Cohort
    drawn: Simulation


def people(seed: int, *, small: int = 1, **scenario: Any) -> People:
    """Draw the people. In the second half of the patients every effect is a loss.

    The fifth site has its own shift, and SDs 1.25 times those of the truth. Effects and noise are those of
    `mm.simulate`; only the site of each person is drawn here.

    Args:
        seed: Seed of truth, people and sites.
        small: Factor by which the numbers of people are divided, for trials.
        scenario: Fields of `Scenario`.
    """
    sizes = {"train": TRAIN // small, "calibrate": CALIBRATE // small, "test": TEST // small}
    outside = LOCAL_CONTROLS + LOCAL_TEST
    healthy, patients = sum(sizes.values()) + outside, PATIENTS // small
    parts = {"latents": 10, "regions": REGIONS, "sites": SITES + 1, "site_scale": (1.0, 1.0), **scenario}
    drawn = mm.simulate(healthy=healthy, patients=patients, seed=seed, **parts)
    rng, n = np.random.default_rng([seed, 4]), healthy + patients
    share = 1 / np.arange(1, SITES + 1)
    site = rng.choice(drawn.truth.sites[:SITES], n, p=share / share.sum())
    site[healthy - outside : healthy] = drawn.truth.sites[SITES]
    split = ["test"] * outside + ["target"] * patients
    known = rng.permutation(np.repeat(list(sizes), list(sizes.values())))
    scale = drawn.truth.site_scale.copy()
    scale[SITES] = LOCAL_SCALE
    participants = drawn.participants.assign(site=site, split=[*known, *split])
    losses = np.arange(n) >= n - patients // 2
    return _apart(_moved(drawn, participants, scale, losses), n - patients - outside, outside)


def _moved(drawn: Simulation, participants: pd.DataFrame, scale: np.ndarray, losses: np.ndarray) -> Simulation:
    """The same people at these sites, with these scales of sites; where `losses`, gains become losses."""
    truth = replace(drawn.truth, site_scale=scale)
    x = np.hstack([frame.to_numpy() for frame in drawn.values.values()])
    before, after = drawn.truth.norm(drawn.participants), truth.norm(participants)
    gain = np.where(losses[:, None], drawn.effect.clip(lower=0).to_numpy(), 0.0)
    if drawn.scenario.effect == "latent":
        gain = np.zeros_like(gain)  # its direction is that of the latent
    table = pd.DataFrame(
        after[0] + after[1] * ((x - before[0]) / before[1] - 2 * gain), participants.index, drawn.effect.columns
    )
    values = {
        m: table[[f"{m}.{name}" for name in frame.columns]].set_axis(frame.columns, axis=1)
        for m, frame in drawn.values.items()
    }
    return replace(drawn, values=values, participants=participants, effect=drawn.effect - 2 * gain, truth=truth)


def _apart(drawn: Simulation, begin: int, outside: int) -> People:
    ids = drawn.participants.index
    away = ids[begin : begin + outside]

    def of(rows: pd.Index) -> Simulation:
        return replace(
            drawn, values={m: x.loc[rows] for m, x in drawn.values.items()}, participants=drawn.participants.loc[rows]
        )

    def new(rows: pd.Index) -> Cohort:
        part = of(rows)
        return Cohort.from_frames(part.values, part.participants, covariates=COVARIATES, everyone="target")

    local, elsewhere = new(away[:LOCAL_CONTROLS]), new(away[LOCAL_CONTROLS:])
    return People(cohort=of(ids.difference(away)).to_cohort(), local=local, elsewhere=elsewhere, drawn=drawn)
