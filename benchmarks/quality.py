"""Detection of planted effects on simulated cohorts of known truth, by the default and by other models."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

import pyro_mmnorm as mm
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.inference.evidence import log_evidence
from pyro_mmnorm.simulation.simulated import Simulation

REGIONS = {"cortical": 64, "subcortical": 35, "hippocampal": 16}
UNIMODAL = {"latent_dim": 0, "private_dim": 16}
CONCATENATED = {"experts": "joint"}
WITHIN, EXACT_UNIMODAL = "within modality", "exact z within the modality"


def simulation(seed: int, *, train: int = 2500, calibrate: int = 1000, test: int = 1200, **scenario: Any) -> Simulation:
    """A cohort of 115 regions with these splits and 400 patients, in whom 6 % of the regions are shifted by 1 SD.

    This is as subtle as an early stage; a shift of 4 SD is detected by almost any model.
    """
    parts = {"latents": 10, "regions": REGIONS, "effect": "sparse", "effect_size": 1.0, **scenario}
    drawn = mm.simulate(healthy=train + calibrate + test, patients=400, seed=seed, **parts)
    split = ["train"] * train + ["calibrate"] * calibrate + ["test"] * test
    healthy = drawn.participants["diagnosis"] == "CN"
    drawn.participants.loc[healthy, "split"] = np.random.default_rng(seed).permutation(split)
    return drawn


class Known(NamedTuple):
    """A cohort, its planted effects, and the exact z of each kind."""

    cohort: Cohort
    effect: pd.DataFrame
    reference: dict[str, pd.DataFrame]


def simulated(seed: int, *, kinds: tuple[str, ...] = ("reconstruction",), **scenario: Any) -> Known:
    """A linear-Gaussian cohort (or other scenario with a closed form)."""
    drawn = simulation(seed, **scenario)
    reference = {kind: drawn.reference_z(kind) for kind in kinds}
    return Known(drawn.to_cohort(), drawn.effect, reference | {WITHIN: within_modality(drawn)})


def within_modality(drawn: Simulation) -> pd.DataFrame:
    """Exact z of each region given the other regions of its own modality: the target of unimodal models."""
    parts = []
    for own in drawn.values:
        values = {m: frame if m == own else frame * np.nan for m, frame in drawn.values.items()}
        z = replace(drawn, values=values).reference_z("reconstruction")
        parts.append(z.dropna(axis=1, how="all"))
    return pd.concat(parts, axis=1)[drawn.effect.columns]


def curved(
    seed: int,
    *,
    train: int = 2500,
    calibrate: int = 1000,
    test: int = 1200,
    patients: int = 400,
    exact: bool = True,
) -> Known:
    """A strongly curved cohort: two latents through a steep network, whose exact z comes from integration on a grid.

    Region j is f_j(z) + noise with f = B tanh(3 A z + a), 90 % of the variance being f's. Patients have 6 % of their
    regions shifted by 4 SDs of the noise, up or down. `exact`: whether the exact z is computed, which is slow.
    """
    rng = np.random.default_rng([seed, 77])
    n, d, units = train + calibrate + test + patients, sum(REGIONS.values()), 100
    a, offset, b = rng.normal(size=(2, units)), rng.normal(size=units), rng.normal(size=(units, d))

    def f(z: np.ndarray) -> np.ndarray:
        return np.tanh(3 * (z @ a) + offset) @ b

    many = f(rng.normal(size=(20_000, 2)))
    centre, unit = many.mean(0), many.std(0) / np.sqrt(0.9)
    noise = np.sqrt(0.1)
    x = (f(rng.normal(size=(n, 2))) - centre) / unit + noise * rng.normal(size=(n, d))
    sick = np.arange(n) >= n - patients
    effect = np.where(rng.random((n, d)) < 0.06, rng.choice([-4.0, 4.0], (n, d)), 0.0) * sick[:, None]
    x += noise * effect
    ids = pd.Index([f"sub-{i:05d}" for i in range(n)], name="participant_id")
    names = [(m, f"region{j + 1:02d}") for m, size in REGIONS.items() for j in range(size)]
    table = pd.DataFrame(1000 + 100 * x, index=ids, columns=pd.MultiIndex.from_tuples(names))
    split = ["train"] * train + ["calibrate"] * calibrate + ["test"] * test + ["target"] * patients
    people = pd.DataFrame({"diagnosis": np.where(sick, "AD", "CN"), "split": split}, index=ids)
    cohort = Cohort.from_frames(
        {m: table[m] for m in REGIONS},
        people,
        reference=("diagnosis", ["CN"]),
        split="split",
        zeros=dict.fromkeys(REGIONS, "keep"),
    )
    axis = np.linspace(-4.2, 4.2, 57)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    judged_rows = people["split"].isin(["test", "target"]).to_numpy()
    z = np.full_like(x, np.nan)
    if exact:
        z[judged_rows] = _left_out_z(x[judged_rows], (f(grid) - centre) / unit, -0.5 * (grid**2).sum(1), noise)
    columns = [f"{m}.{region}" for m, region in names]
    frames = [pd.DataFrame(part, index=ids, columns=columns) for part in (effect, z)]
    return Known(cohort, frames[0], {"reconstruction": frames[1]})


def _left_out_z(x: np.ndarray, mean: np.ndarray, log_prior: np.ndarray, noise: float) -> np.ndarray:
    """z of each region given the person's other regions, with z of the latents integrated on a grid."""
    out = np.empty_like(x)
    for begin in range(0, len(x), 20):
        unit = (x[begin : begin + 20, None] - mean) / noise  # [people, grid, d]
        log = -0.5 * unit**2
        rest = log.sum(-1, keepdims=True) - log + log_prior[:, None]
        weight = special.softmax(rest, axis=1)
        low, high = (special.ndtr(sign * unit) for sign in (1, -1))
        below, above = (np.maximum((weight * tail).sum(1), 1e-300) for tail in (low, high))
        out[begin : begin + 20] = np.where(below < above, special.ndtri(below), -special.ndtri(above))
    return out


def trained(cohort: Cohort, seed: int, train: dict[str, Any] | None = None, **parts: Any) -> mm.MMVAE:
    """A trained model with these options."""
    model = mm.MMVAE.for_cohort(cohort, seed=seed, **parts)
    mm.fit(model, cohort.train, mm.TrainConfig(**(train or {})), seed=seed, progress=False)
    return model


def linear(cohort: Cohort, seed: int) -> mm.MMVAE:
    """Factor analysis with the covariates, as the model at its linear start."""
    train = {"epochs": 1, "learning_rate": 1e-12, "early_stopping": False}
    return trained(cohort, seed, train, hidden=[])


def found(z: pd.DataFrame, effect: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """Correlation of z with the planted effect, and rank AUC of |z|, as shares of the reference's."""
    planted = effect.loc[z.index, z.columns].to_numpy().ravel()
    seen = np.isfinite(z.to_numpy().ravel())

    def figures(table: pd.DataFrame) -> tuple[float, float]:
        values = table.loc[z.index, z.columns].to_numpy().ravel()[seen]
        hit = planted[seen] != 0
        u = stats.mannwhitneyu(np.abs(values[hit]), np.abs(values[~hit])).statistic
        return float(np.corrcoef(values, planted[seen])[0, 1]), float(u / (hit.sum() * (~hit).sum()))

    own, best = figures(z), figures(reference)
    return {"correlation": own[0] / best[0], "auc": own[1] / best[1]}


def deviations(norm: mm.NormativeModel, cohort: Cohort, kind: str) -> pd.DataFrame:
    """Calibrated z of some people as a table."""
    dev = norm.deviations(cohort, kind)
    return pd.DataFrame(dev["z"].to_numpy(), index=dev["subject"].to_numpy(), columns=dev["region"].to_numpy())


def judged(model: mm.MMVAE, truth: Known, kind: str = "reconstruction", **norm: Any) -> dict[str, float]:
    """Detection, calibration on test controls and held-out evidence of a model."""
    cohort, exact = truth.cohort, truth.reference[kind]
    fitted = mm.NormativeModel(model, **norm).calibrate(cohort.calibrate, (kind,))
    z, sick = (deviations(fitted, part, kind) for part in (cohort.test, cohort.target))
    figures = found(sick, truth.effect, exact) | {"sd": float(np.nanstd(z)), "mean": float(np.nanmean(z))}
    theirs, ours = exact.loc[z.index, z.columns].to_numpy().ravel(), z.to_numpy().ravel()
    ok = np.isfinite(ours)
    figures["agreement"] = float(np.corrcoef(ours[ok], theirs[ok])[0, 1])
    return figures | {"evidence": float(log_evidence(model, cohort.test, draws=64, refine=fitted.refine_steps).mean())}


class Rival(NamedTuple):
    """A model to compare with: its options, its training, and its refinement steps (None: the default)."""

    parts: dict[str, Any] = {}  # noqa: RUF012
    train: dict[str, Any] = {}  # noqa: RUF012
    refine: int | None = None


def conventional(parts: dict[str, Any]) -> Rival:
    """As in the literature: random weights, no linear path, no refinement; the same networks, latents and budget."""
    return Rival(parts | {"skip": False}, {"start": "random"}, 0)


BIG_FACTOR = "linear, one big factor"
"""Regions share one big positive factor, as brain volumes do; here a gain on every other model is required."""
SAME_START = "(same start)"
"""A rival with the starts, the linear paths and the refinement of the default."""
LINEAR_MODELS: dict[str, Rival | None] = {
    "default": Rival(),
    "factor analysis": None,
    "unimodal": conventional(UNIMODAL),
    f"unimodal {SAME_START}": Rival(UNIMODAL),
    "concatenated": conventional(CONCATENATED),
    f"concatenated {SAME_START}": Rival(CONCATENATED),
}
CURVED_MODELS = {name: LINEAR_MODELS[name] for name in LINEAR_MODELS if not name.startswith("unimodal")}


def compared(truth: Known, models: dict[str, Rival | None], seed: int) -> dict[str, dict[str, float]]:
    """Each model on the same cohort; None is factor analysis."""
    rows = {}
    for name, rival in models.items():
        model = trained(truth.cohort, seed, rival.train, **rival.parts) if rival else linear(truth.cohort, seed)
        rows[name] = judged(model, truth, refine=rival.refine if rival else None)
    if WITHIN in truth.reference:
        z, ids = truth.reference[WITHIN], truth.cohort.target.ids
        rows[EXACT_UNIMODAL] = found(z.loc[ids], truth.effect, truth.reference["reconstruction"])
    return rows


def main(seeds: tuple[int, ...] = (201, 202, 203)) -> dict[str, pd.DataFrame]:
    """Cohort kind -> figures with columns (model, figure), one row per seed."""
    kinds = {
        "linear": lambda seed: (simulated(seed), LINEAR_MODELS),
        BIG_FACTOR: lambda seed: (simulated(seed, common_factor=0.2), LINEAR_MODELS),
        "curved": lambda seed: (curved(seed, test=400), CURVED_MODELS),
    }
    tables = {}
    for kind, make in kinds.items():
        rows = {}
        for seed in seeds:
            truth, models = make(seed)
            found_by = compared(truth, models, seed)
            rows[seed] = {(name, figure): x for name, row in found_by.items() for figure, x in row.items()}
        tables[kind] = pd.DataFrame(rows).T
    return tables
