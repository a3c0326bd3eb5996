"""How well planted effects are found on simulated cohorts of known truth, by our default and by the alternatives."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import pyro_mmnorm as mm
from pyro_mmnorm.cohort import Cohort
from pyro_mmnorm.evidence import log_evidence
from pyro_mmnorm.simulation import Simulation

REGIONS = {"cortical": 64, "subcortical": 35, "hippocampal": 16}
STEEP = {"latents": 3, "nonlinear": 3.0}
"""Few latents through a steep network: what a linear method cannot follow."""
UNIMODAL = {"latent_dim": 0, "private_dim": 16}
CONCATENATED = {"experts": "joint"}


def simulation(seed: int, *, train: int = 2500, calibrate: int = 1000, test: int = 1200, **scenario: Any) -> Simulation:
    """A cohort of 115 regions with splits of these sizes and 400 patients."""
    parts = {"latents": 10, "regions": REGIONS, "effect": "sparse", **scenario}
    drawn = mm.simulate(healthy=train + calibrate + test, patients=400, seed=seed, **parts)
    split = ["train"] * train + ["calibrate"] * calibrate + ["test"] * test
    healthy = drawn.participants["diagnosis"] == "CN"
    drawn.participants.loc[healthy, "split"] = np.random.default_rng(seed).permutation(split)
    return drawn


def trained(cohort: Cohort, seed: int, train: dict[str, Any] | None = None, **parts: Any) -> mm.MMVAE:
    """A model of these parts."""
    model = mm.MMVAE.for_cohort(cohort, seed=seed, **parts)
    mm.fit(model, cohort.train, mm.TrainConfig(**(train or {})), seed=seed, progress=False)
    return model


def linear(cohort: Cohort, seed: int) -> mm.MMVAE:
    """Factor analysis with the covariates, as the model at its linear start."""
    train = {"epochs": 1, "learning_rate": 1e-12, "early_stopping": False}
    return trained(cohort, seed, train, hidden=[])


def found(z: pd.DataFrame, drawn: Simulation, reference: pd.DataFrame | None) -> dict[str, float]:
    """Correlation of z with the planted effect and rank AUC of |z|, as shares of the reference's where there is one."""
    sick = drawn.participants.index[drawn.participants["diagnosis"] != "CN"]
    effect = drawn.effect.loc[sick].to_numpy().ravel()
    seen = np.isfinite(z.loc[sick].to_numpy().ravel())

    def figures(table: pd.DataFrame) -> tuple[float, float]:
        values = table.loc[sick].to_numpy().ravel()[seen]
        hit = effect[seen] != 0
        u = stats.mannwhitneyu(np.abs(values[hit]), np.abs(values[~hit])).statistic
        return np.corrcoef(values, effect[seen])[0, 1], u / (hit.sum() * (~hit).sum())

    own = figures(z)
    best = figures(reference) if reference is not None else (1.0, 1.0)
    return {"correlation": own[0] / best[0], "auc": own[1] / best[1]}


def deviations(norm: mm.NormativeModel, cohort: Cohort, kind: str) -> pd.DataFrame:
    """Calibrated z of some people as a table."""
    dev = norm.deviations(cohort, kind)
    return pd.DataFrame(dev["z"].to_numpy(), index=dev["subject"].to_numpy(), columns=dev["region"].to_numpy())


def judged(
    model: mm.MMVAE, cohort: Cohort, drawn: Simulation, kind: str = "reconstruction", **norm: Any
) -> dict[str, float]:
    """Detection, calibration on test controls and held-out evidence of a model."""
    fitted = mm.NormativeModel(model, **norm).calibrate(cohort.calibrate, (kind,))
    reference = drawn.reference_z(kind) if drawn._has_closed_form else None
    z = deviations(fitted, cohort.test, kind)
    sick = deviations(fitted, cohort.target, kind)
    figures = found(sick, drawn, reference) | {"sd": float(np.nanstd(z)), "mean": float(np.nanmean(z))}
    if reference is not None:
        theirs = reference.loc[z.index, z.columns].to_numpy().ravel()
        ours = z.to_numpy().ravel()
        ok = np.isfinite(ours)
        figures["agreement"] = np.corrcoef(ours[ok], theirs[ok])[0, 1]
    return figures | {"evidence": float(log_evidence(model, cohort.test, draws=64, refine=fitted._steps()).mean())}
