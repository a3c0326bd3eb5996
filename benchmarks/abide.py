"""ABIDE-I, five split seeds: calibration in test controls; AUC of people with autism and of training controls."""

import sys

import numpy as np
import pandas as pd

import pyro_mmnorm as mm
from pyro_mmnorm.calibration.conformal import mean_square
from pyro_mmnorm.config import Config, shipped_config
from pyro_mmnorm.core.threads import one_thread
from pyro_mmnorm.data.preprocess import Preprocess
from pyro_mmnorm.data.tables import read_cohort
from pyro_mmnorm.norm.normative_model import NormativeModel
from pyro_mmnorm.stats.associations import adjusted
from pyro_mmnorm.stats.ranks import auc

__all__ = ["main"]

SEEDS = range(1, 6)
FOLDS = 5


def one_seed(config: Config) -> dict[str, float]:
    """Figures of one split of the controls."""
    cohort = read_cohort(config)
    model = mm.MMVAE.for_cohort(cohort, seed=config.seed, **config.model.model_dump())
    mm.fit(model, cohort.train, config.train, seed=config.seed, progress=False)
    norm = NormativeModel(model, seed=config.seed).calibrate(cohort.calibrate)
    parts = {name: getattr(cohort, name) for name in ("train", "test", "target")}
    z = {name: norm.deviations(part)["z"].to_numpy() for name, part in parts.items()}
    score = {name: mean_square(x) for name, x in z.items()}
    test = z["test"][np.isfinite(z["test"])]
    both = np.concatenate([score["test"], score["target"]])
    nuisance = pd.concat([parts["test"].adjust, parts["target"].adjust])
    healthy = np.arange(len(both)) < len(score["test"])
    rest = adjusted(both, {name: nuisance[name].to_numpy() for name in nuisance}, healthy)
    known = np.isfinite(rest)
    return {
        "sd": test.std(),
        "mean": test.mean(),
        "beyond_1.96": (np.abs(test) > 1.96).mean(),
        "auc_autism": auc(score["test"], score["target"]).value,
        "auc_autism_adjusted": auc(rest[healthy & known], rest[~healthy & known]).value,
        "auc_signed_mean": auc(np.nanmean(z["test"], 1), np.nanmean(z["target"], 1)).value,
        "auc_train_in_sample": auc(score["train"], score["test"]).value,
        "auc_train_left_out": left_out_auc(config, cohort),
        "regions": len(norm.preprocess.names),
    }


def left_out_auc(config: Config, cohort: mm.Cohort) -> float:
    """AUC of training controls against test controls, both scored by a model that was fitted without their fold."""
    rng = np.random.default_rng(config.seed)
    fold = rng.permutation(len(cohort.train)) % FOLDS
    figures = []
    for held in range(FOLDS):
        keep, out = cohort.train[fold != held], cohort.train[fold == held]
        model = mm.MMVAE.build(Preprocess.fit(keep), seed=config.seed, **config.model.model_dump())
        mm.fit(model, keep, config.train, seed=config.seed, progress=False)
        norm = NormativeModel(model, draws=64, seed=config.seed).calibrate(cohort.calibrate)
        held_score, test_score = (mean_square(norm.deviations(part)["z"].to_numpy()) for part in (out, cohort.test))
        figures.append(auc(held_score, test_score).value)
    return float(np.mean(figures))


def main() -> dict[str, float]:
    """Means over the split seeds."""
    with one_thread():
        rows = [one_seed(shipped_config("abide.yaml", overrides=[f"seed={seed}"])) for seed in SEEDS]
    table = pd.DataFrame(rows)
    return {**table.mean().to_dict(), **{f"{name}_sd_over_seeds": x for name, x in table.std().items()}}


if __name__ == "__main__":
    sys.stdout.write(pd.Series(main()).to_string() + "\n")
