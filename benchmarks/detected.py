"""Detection in patients, compared with the exact z of the same kind, and false discoveries."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from benchmarks.calibrated import REGIONAL, Norm, z_table
from benchmarks.figure import PRINTED, Ask, Found
from benchmarks.people import People
from benchmarks.quality import found
from pyro_mmnorm.calibration.calibrators import CALIBRATORS
from pyro_mmnorm.calibration.conformal import mean_square
from pyro_mmnorm.stats.ranks import auc

__all__ = ["along_a_factor", "detection", "false_discoveries", "incomplete_detection"]

FALSE_SHARE = {"normative": Ask(high=0.06), "local": Ask(high=0.08)}


def detection(norm: Norm, study: People) -> Iterable[Found]:
    """Detection of planted effects and agreement with the exact z; for `local` that of `reconstruction`."""
    effect = study.drawn.effect
    for kind in REGIONAL:
        exact = study.drawn.reference_z("reconstruction" if kind == "local" else kind)
        sick, healthy = (z_table(norm, part, kind) for part in (study.cohort.target, study.cohort.test))
        ratio, start = found(sick, effect, exact), f"linear, {kind}: "
        least = Ask(low=1.0 if kind == "local" else 0.97)
        yield Found(f"{start}correlation with effects / that of the exact z", ratio["correlation"], least)
        yield Found(f"{start}rank AUC / that of the exact z", ratio["auc"], Ask(low=0.98))
        same = PRINTED if kind == "local" else Ask(low=0.97)
        yield Found(f"{start}correlation with the exact z in controls", _correlation(healthy, exact), same)
    calibrate, target = norm.pair(study.cohort.calibrate), norm.pair(study.cohort.target)
    sick = z_table(norm, study.cohort.target, "reconstruction")
    other = sick.copy()
    other[:] = CALIBRATORS["gaussian"](*calibrate, norm.preprocess.groups)(*target)
    gain = _correlation(sick, effect) - _correlation(other, effect)
    what = "linear, reconstruction: correlation with effects, calibrator empirical less gaussian"
    yield Found(what, gain, Ask(low=-0.002))


def incomplete_detection(norm: Norm, study: People) -> Iterable[Found]:
    """The same with missing cells, against the exact z of what was observed."""
    for kind in ("reconstruction", "cross_modal", "local"):
        exact = study.drawn.reference_z("reconstruction" if kind == "local" else kind)
        ratio = found(z_table(norm, study.cohort.target, kind), study.drawn.effect, exact)["correlation"]
        yield Found(f"missing, {kind}: correlation with effects / that of the exact z", ratio, Ask(low=0.95))


def false_discoveries(norm: Norm, study: People) -> Iterable[Found]:
    """Benjamini-Hochberg at .05 within each patient: V / max(R, 1), and discoveries with the wrong sign."""
    planted = study.drawn.effect.loc[study.cohort.target.ids].to_numpy()
    losses = (planted <= 0).all(1)
    for kind in REGIONAL:
        dev = norm.deviations(study.cohort.target, kind)
        hit, z = dev["q"].to_numpy() < 0.05, dev["z"].to_numpy()
        false, start = hit & (planted == 0), f"linear, {kind}: "
        share = (false.sum(1) / np.maximum(hit.sum(1), 1)).mean()
        yield Found(f"{start}false share of finds, BH at .05", float(share), FALSE_SHARE.get(kind, PRINTED))
        contrary = (false & (z > 0))[losses].sum() / max(1, hit[losses].sum())
        yield Found(f"{start}share of finds that are gains, all changes being losses", float(contrary))


def along_a_factor(norm: Norm, study: People) -> Iterable[Found]:
    """An effect of 3 SD along one latent factor: detected by `normative` and `latent`, not by the other kinds."""
    sick, healthy, effect = study.cohort.target, study.cohort.test, study.drawn.effect
    for kind in REGIONAL:
        z, start = z_table(norm, sick, kind), f"along a factor, {kind}: "
        own = _correlation(z, effect)
        same = study.drawn.reference_z("reconstruction" if kind == "local" else kind)
        exact = _correlation(same.loc[z.index], effect)
        if kind == "normative":
            yield Found(f"{start}correlation with effects / that of the exact z", own / exact, Ask(low=0.97))
        yield Found(f"{start}correlation with effects", own)
        yield Found(f"{start}correlation with effects, exact z", exact)
        scores = [mean_square(z_table(norm, part, kind).to_numpy()) for part in (healthy, sick)]
        yield Found(f"{start}AUC of mean z^2, patients against test controls", auc(*scores).value)
    ill, well = (norm.deviations(part, "latent") for part in (sick, healthy))
    area = auc(well["latent_distance"].to_numpy(), ill["latent_distance"].to_numpy()).value
    yield Found("along a factor, latent: AUC of the distance, patients against test controls", area, Ask(low=0.7))
    yield Found("along a factor, latent: share of patients with p < .05", float((ill["latent_p"] < 0.05).mean()))


def _correlation(z: pd.DataFrame, other: pd.DataFrame) -> float:
    """Correlation over all cells of the people of z."""
    return float(np.corrcoef(z.to_numpy().ravel(), other.loc[z.index, z.columns].to_numpy().ravel())[0, 1])
